"""A thin FHIR R4 client: conditional creates, versions, transactions, paging; nothing else is needed here.

Every answer is checked against what was asked, because servers ignore search parameters that they do not know and then answer with
everything. Neither URLs nor the server's words enter errors or logs: both hold identifiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import orjson

from schemas.errors import PermanentFailure, StaleWrite, TransientFailure
from workflows.ports import Resource
from workflows.timeline.fields import subject_of, unversioned, versioned

PAGE = "200"
MAX_PAGES = 500
RECORD_TYPES = {
    "ImagingStudy": "patient",
    "DiagnosticReport": "patient",
    "Observation": "patient",
    "Condition": "patient",
    "MedicationRequest": "patient",
    "Procedure": "patient",
    "AllergyIntolerance": "patient",
    "ServiceRequest": "patient",
}
_JSON = "application/fhir+json"


class FhirClient:
    """One FHIR R4 server."""

    def __init__(
        self, base_url: str, *, token: str = "", timeout: float = 60.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._base = base_url.rstrip("/")
        headers = {"Accept": _JSON, "Content-Type": _JSON} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._http = httpx.Client(headers=headers, timeout=httpx.Timeout(timeout, connect=5.0), transport=transport)

    def close(self) -> None:
        self._http.close()

    # -- reading ---------------------------------------------------------------------------------------------------------------

    def read(self, reference: str) -> Resource:
        """One resource by `Type/id` or `Type/id/_history/v`; `PermanentFailure` `fhir-not-found` if it is not there."""
        response = self._send("GET", f"{self._base}/{reference}")
        if response.status_code in (404, 410):
            raise PermanentFailure("fhir-not-found", "the FHIR server does not know a resource that was named")
        resource = self._body(response)
        if f"{resource.get('resourceType')}/{resource.get('id')}" != unversioned(reference):
            raise PermanentFailure(
                "fhir-wrong-resource", "the FHIR server answered with another resource than the one asked for"
            )
        return resource

    def find(self, resource_type: str, system: str, value: str) -> list[Resource]:
        """Resources that really carry the identifier `system|value`."""
        found = self._search(resource_type, {"identifier": f"{system}|{value}"})
        wanted = (system, value)
        return [r for r in found if wanted in [(i.get("system"), i.get("value")) for i in r.get("identifier", [])]]

    def find_tagged(self, resource_type: str, system: str, code: str) -> list[Resource]:
        """Resources that really carry the tag `system|code`."""
        found = self._search(resource_type, {"_tag": f"{system}|{code}"})
        return [
            r
            for r in found
            if (system, code) in [(t.get("system"), t.get("code")) for t in r.get("meta", {}).get("tag", [])]
        ]

    def patient_record(self, patient: str) -> list[Resource]:
        """The Patient and all that belongs to it. A resource of another patient stops the run: the server cannot be trusted to filter."""
        reference = unversioned(patient)
        resources = [self._patient(reference)]
        for resource_type, parameter in RECORD_TYPES.items():
            for resource in self._search(resource_type, {parameter: reference}):
                if subject_of(resource) != reference:
                    raise PermanentFailure(
                        "fhir-wrong-patient", "the FHIR server answered with a resource of another patient"
                    )
                resources.append(resource)
        return resources

    def _patient(self, reference: str) -> Resource:
        if not reference.startswith("Patient/"):
            raise PermanentFailure("patient-not-found", "the event's patient is not a reference to a Patient")
        try:
            patient = self.read(reference)
        except PermanentFailure as failure:
            if failure.code == "fhir-not-found":
                raise PermanentFailure("patient-not-found", "FHIR does not know the event's patient") from None
            raise
        if any(link.get("type") == "replaced-by" for link in patient.get("link", [])):
            raise PermanentFailure("patient-replaced", "the event's patient was merged into another one")
        return patient

    def _search(self, resource_type: str, parameters: dict[str, str]) -> list[Resource]:
        """All pages; each entry must be of the type asked for, each resource is kept once."""
        found: dict[str, Resource] = {}
        for bundle in self._pages(f"{self._base}/{resource_type}", parameters | {"_count": PAGE}):
            for entry in bundle.get("entry", []):
                resource = entry.get("resource", {})
                if (
                    resource.get("resourceType") == "OperationOutcome"
                    or entry.get("search", {}).get("mode") == "include"
                ):
                    continue
                if resource.get("resourceType") != resource_type or "id" not in resource:
                    raise PermanentFailure(
                        "fhir-wrong-resource", "the FHIR server answered with another type than the one asked for"
                    )
                found[resource["id"]] = resource
        return list(found.values())

    def _pages(self, url: str, parameters: dict[str, str]) -> Iterator[Resource]:
        bundle = self._searched(self._send("GET", url, params=parameters))
        for _ in range(MAX_PAGES):
            yield bundle
            following = [link["url"] for link in bundle.get("link", []) if link.get("relation") == "next"]
            if not following:
                return
            bundle = self._searched(self._send("GET", self._same_server(following[0])))
        raise PermanentFailure("fhir-too-many-pages", "a search did not come to an end")

    def _searched(self, response: httpx.Response) -> Resource:
        bundle = self._body(response)
        if bundle.get("resourceType") != "Bundle":
            raise PermanentFailure("fhir-wrong-resource", "the FHIR server did not answer a search with a Bundle")
        return bundle

    def _same_server(self, url: str) -> str:
        """A next link on our own base: its path and query may be the server's, its host never is (proxies rewrite it)."""
        parts, base = urlsplit(url), urlsplit(self._base)
        path = parts.path if parts.path.startswith("/") else f"{base.path}/{parts.path}"
        return f"{base.scheme}://{base.netloc}{path}" + (f"?{parts.query}" if parts.query else "")

    # -- writing ---------------------------------------------------------------------------------------------------------------

    def transaction(self, bundle: bytes) -> list[str]:
        """Post the bytes as they are; the versioned reference of each entry, in order.

        `StaleWrite` when the whole or one entry answers 409 or 412. Every entry's status is checked: some servers answer 200 for a failed one.
        """
        response = self._send("POST", self._base, content=bundle)
        answer = self._body(response)
        entries = answer.get("entry", [])
        if len(entries) != len(orjson.loads(bundle)["entry"]):
            raise PermanentFailure(
                "fhir-transaction", "the FHIR server answered a transaction with another number of entries"
            )
        return [self._written(entry) for entry in entries]

    def _written(self, entry: dict[str, Any]) -> str:
        response = entry.get("response", {})
        self._check(int(str(response.get("status", "500"))[:3]))
        location = str(response.get("location") or "")
        if "/_history/" in location:
            place, version = location.split("/_history/", 1)
            return f"{unversioned(place)}/_history/{version}"
        resource = entry.get("resource") or (self.read(unversioned(location)) if location else None)
        if resource is None:
            raise PermanentFailure("fhir-transaction", "the FHIR server did not say where it put an entry")
        return versioned(resource)

    def create(self, resource: Resource) -> str:
        """Create one resource (demo and tests); the plain reference."""
        created = self._body(
            self._send("POST", f"{self._base}/{resource['resourceType']}", content=orjson.dumps(resource))
        )
        return f"{created['resourceType']}/{created['id']}"

    # -- transport -------------------------------------------------------------------------------------------------------------

    def _send(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        try:
            return self._http.request(method, url, **arguments)
        except httpx.HTTPError as error:
            raise TransientFailure("fhir-unavailable", "the FHIR server does not answer") from error

    def _body(self, response: httpx.Response) -> Resource:
        self._check(response.status_code)
        try:
            return cast(Resource, orjson.loads(response.content))
        except orjson.JSONDecodeError as error:
            raise TransientFailure("fhir-not-json", "the FHIR server did not answer with JSON") from error

    def _check(self, status: int) -> None:
        if status in (409, 412):
            raise StaleWrite("fhir-stale", "another version is there already, or another write came first")
        if status in (408, 425, 429) or status >= 500:
            raise TransientFailure("fhir-unavailable", f"the FHIR server answered {status}")
        if status in (401, 403):
            raise PermanentFailure("fhir-forbidden", "the FHIR server does not allow this: check LONGVIEW_FHIR_TOKEN")
        if status >= 400:
            raise PermanentFailure("fhir-refused", f"the FHIR server refused with {status}")

    def preflight(self) -> list[str]:
        """What the server must be able to do (contract 6), one sentence for each problem; for `longview doctor`."""
        statement = self._body(self._send("GET", f"{self._base}/metadata"))
        problems = []
        if not str(statement.get("fhirVersion", "")).startswith("4."):
            problems.append("The FHIR server is not R4: point LONGVIEW_FHIR_URL at an R4 endpoint.")
        rest = (statement.get("rest") or [{}])[0]
        served = {resource.get("type") for resource in rest.get("resource", [])}
        needed = (*RECORD_TYPES, "Patient", "Device", "Provenance", "Task", "Media", "DocumentReference")
        missing = [name for name in needed if served and name not in served]
        problems += [f"The FHIR server does not serve {name}: enable it there." for name in missing]
        return problems
