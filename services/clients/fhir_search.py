"""Searches on a FHIR R4 server, page by page. Every answer is checked against what was asked, because servers ignore search parameters that they
do not know and then answer with everything; and for whether it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from schemas.errors import PermanentFailure, TransientFailure
from services.clients.fhir_pages import entries_of, missing_by_outcome, name_of_server, next_page
from services.clients.fhir_transport import FhirTransport
from workflows.ports import Resource
from workflows.timeline.completeness import SUBSETTED, TOTAL_NOT_REACHED

PAGE = "200"
MAX_PAGES = 500
_GONE, _NOT_FOUND = 410, 404


class FhirSearch(FhirTransport):
    """Adds searches."""

    def _search(self, resource_type: str, parameters: dict[str, str]) -> list[Resource]:
        """All pages, each resource once; `TransientFailure` `fhir-incomplete` where results are known to be missing."""
        missing: set[str] = set()
        found = {r["id"]: r for r, _ in self._matches(resource_type, parameters, missing)}
        if missing - {SUBSETTED}:
            raise TransientFailure("fhir-incomplete", "the FHIR server did not give all that a search has found")
        return list(found.values())

    def _matches(
        self, resource_type: str, parameters: dict[str, str], missing: set[str], *, decimals: bool = False
    ) -> Iterator[tuple[Resource, str]]:
        """Each match, of the type asked for, with the base of its `fullUrl`: what the server calls itself.

        Once all are read, codes of what is missing are in `missing`.
        """
        matched, total = 0, 0
        for bundle in self._pages(resource_type, parameters | {"_count": PAGE}, decimals):
            if isinstance(bundle.get("total"), int):
                total = max(total, bundle["total"])
            for entry in entries_of(bundle):
                resource = _resource_of(entry)
                if resource.get("resourceType") == "OperationOutcome":
                    missing.update(missing_by_outcome(resource))
                    continue
                if _is_included(entry):
                    continue
                if resource.get("resourceType") != resource_type or not isinstance(resource.get("id"), str):
                    raise PermanentFailure(
                        "fhir-wrong-resource", "the FHIR server answered with another type than the one asked for"
                    )
                matched += 1
                if _is_cut(resource):
                    missing.add(SUBSETTED)
                yield resource, _base_of(entry, resource)
        if total > matched:
            missing.add(TOTAL_NOT_REACHED)

    def _pages(self, resource_type: str, parameters: dict[str, str], decimals: bool) -> Iterator[Resource]:
        asked = str(httpx.URL(f"{self._base}/{resource_type}", params=parameters))
        bundle = self._searched(self._send("GET", asked), decimals)
        seen, names = {asked}, set[str]()
        for _ in range(MAX_PAGES):
            names |= _names_in(bundle, resource_type)
            yield bundle
            following = next_page(bundle, asked, self._base, sorted(names))
            if following is None:
                return
            if following in seen:
                raise PermanentFailure("fhir-next-page", "the FHIR server's pages lead back to one that was read")
            seen.add(following)
            asked, bundle = following, self._followed(self._send("GET", following), decimals)
        raise PermanentFailure("fhir-too-many-pages", "a search did not come to an end")

    def _followed(self, response: httpx.Response, decimals: bool) -> Resource:
        """A next page. One that is not there is no empty page: what it held would be missing without a mark."""
        if response.status_code == _GONE:
            raise TransientFailure(
                "fhir-page-gone", "the FHIR server has forgotten a search before all pages were read"
            )
        if response.status_code == _NOT_FOUND:
            raise PermanentFailure(
                "fhir-next-page",
                "the FHIR server's link to a next page leads nowhere: where a proxy changes paths, tell the server its public address",
            )
        return self._searched(response, decimals)

    def _searched(self, response: httpx.Response, decimals: bool) -> Resource:
        bundle = self._body(response, decimals=decimals)
        if bundle.get("resourceType") != "Bundle":
            raise PermanentFailure("fhir-wrong-resource", "the FHIR server did not answer a search with a Bundle")
        return bundle


def _names_in(bundle: Resource, resource_type: str) -> set[str]:
    """The bases that the server calls itself by, in its entries and in its link to this search."""
    bases = {_base_of(entry, _resource_of(entry)) for entry in entries_of(bundle)}
    own = name_of_server(bundle, resource_type)
    return {base for base in (*bases, own) if base and base.startswith("http")}


def _resource_of(entry: Resource) -> Resource:
    found = entry.get("resource")
    return found if isinstance(found, dict) else {}


def _base_of(entry: Resource, resource: Resource) -> str:
    url, place = str(entry.get("fullUrl") or ""), f"/{resource.get('resourceType')}/{resource.get('id')}"
    return url.removesuffix(place).rstrip("/") if url.endswith(place) else url


def _is_included(entry: Resource) -> bool:
    search = entry.get("search")
    return isinstance(search, dict) and search.get("mode") == "include"


def _is_cut(resource: Resource) -> bool:
    """Tagged as given without all of its elements (R4 3.1.1.5.8)."""
    meta = resource.get("meta")
    tags = meta.get("tag") if isinstance(meta, dict) else None
    return isinstance(tags, list) and any(isinstance(tag, dict) and tag.get("code") == "SUBSETTED" for tag in tags)
