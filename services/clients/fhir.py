"""A thin FHIR R4 client: conditional creates, versions, transactions, paging; nothing else is needed here.

Every answer is checked against what was asked, because servers ignore search parameters that they do not know and then answer with
everything. Neither URLs nor the server's words enter errors or logs: both hold identifiers.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import orjson

from schemas.errors import PermanentFailure, StaleWrite, TransientFailure
from schemas.identifiers import without_version
from services.clients.tokens import Access, bearer
from services.connection_rules import is_loopback
from services.operations.requests import MeasuredClient, kind_of_fhir
from workflows.ports import Resource
from workflows.timeline.fields import subject_of, unversioned, versioned

PAGE = "200"
MAX_PAGES = 500
RECORD_TYPES = (
    "ImagingStudy",
    "DiagnosticReport",
    "Observation",
    "Condition",
    "MedicationRequest",
    "MedicationStatement",
    "Procedure",
    "AllergyIntolerance",
    "ServiceRequest",
)
"""What a timeline is made of; each has the search parameter `patient`."""
WRITTEN_TYPES = (
    "Device",
    "DocumentReference",
    "Media",
    "Observation",
    "DiagnosticReport",
    "Provenance",
    "Task",
    "Communication",
)
READ_PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds before a read is tried again. A step of many reads would else hardly ever come to its end while a share of all calls fails."""
PRECONDITION_FAILED = 412
_JSON = "application/fhir+json"
_REFERENCE = re.compile(r"[A-Z][A-Za-z]{1,63}/[A-Za-z0-9.-]{1,64}(/_history/[A-Za-z0-9.-]{1,64})?")
_SEARCH_MARKS = re.compile(r"([\\$,|])")


class SourceDecimal(float):
    """A number that still prints the digits its source wrote (1.10, not 1.1)."""

    def __new__(cls, text: str) -> SourceDecimal:
        number = super().__new__(cls, text)
        number._text = text
        return number

    _text: str

    def __str__(self) -> str:
        return self._text


class FhirClient:
    """One FHIR R4 server, asked with a bearer `token` or by `auth` (`services.clients.smart`)."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str = "",
        auth: Access | None = None,
        verify: ssl.SSLContext | bool = True,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        read_pauses: tuple[float, ...] = READ_PAUSES,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._read_pauses = read_pauses
        self._access = auth or bearer(token)
        self._http = MeasuredClient(
            "fhir",
            kind_of_fhir,
            {urlsplit(self._base).path: "transaction"},
            headers={"Accept": _JSON, "Content-Type": _JSON},
            auth=self._access,
            verify=verify,
            timeout=httpx.Timeout(timeout, connect=5.0),
            transport=transport,
            # a proxy named in the environment cannot reach this machine's loopback
            trust_env=not is_loopback(self._base),
        )

    def close(self) -> None:
        self._http.close()
        if self._access is not None:
            self._access.close()

    # -- reading ---------------------------------------------------------------------------------------------------------------

    def read(self, reference: str) -> Resource:
        """One resource by `Type/id` or `Type/id/_history/v`; `PermanentFailure` `fhir-not-found` if it is not there."""
        return self._read(reference)

    def read_exact(self, reference: str) -> Resource:
        """The same with every decimal digit of the source kept: for reading only."""
        return self._read(reference, decimals=True)

    def _read(self, reference: str, *, decimals: bool = False) -> Resource:
        response = self._send("GET", f"{self._base}/{self._local(reference)}")
        if response.status_code in (404, 410):
            raise PermanentFailure("fhir-not-found", "the FHIR server does not know a resource that was named")
        resource = self._body(response, decimals=decimals)
        same = f"{resource.get('resourceType')}/{resource.get('id')}" == unversioned(reference)
        _, _, version = reference.partition("/_history/")
        if not same or (version and resource.get("meta", {}).get("versionId", version) != version):
            raise PermanentFailure(
                "fhir-wrong-resource", "the FHIR server answered with another resource than the one asked for"
            )
        return resource

    def _local(self, reference: str) -> str:
        """A reference as a path below our base. One to another server, or one that would change the URL, is never followed."""
        path = reference.removeprefix(f"{self._base}/")
        if not _REFERENCE.fullmatch(path) or path.split("/")[1].strip(".") == "":
            raise PermanentFailure("fhir-reference", "a reference does not name a resource of this FHIR server")
        return path

    def find(self, resource_type: str, system: str, value: str) -> list[Resource]:
        """Resources that really carry the identifier `system|value`."""
        found = self._search(resource_type, {"identifier": _token(system, value)})
        wanted = (system, value)
        return [r for r in found if wanted in [(i.get("system"), i.get("value")) for i in r.get("identifier", [])]]

    def find_tagged(self, resource_type: str, system: str, code: str) -> list[Resource]:
        """Resources that really carry the tag `system|code`."""
        found = self._search(resource_type, {"_tag": _token(system, code)})
        return [
            r
            for r in found
            if (system, code) in [(t.get("system"), t.get("code")) for t in r.get("meta", {}).get("tag", [])]
        ]

    def find_definitions(self, resource_type: str, url: str) -> list[Resource]:
        """All versions of the conformance resource with this canonical URL; of a NamingSystem, which has none in R4, with this unique id."""
        by_value = resource_type == "NamingSystem"
        found = self._search(resource_type, {"value" if by_value else "url": _SEARCH_MARKS.sub(r"\\\1", url)})
        return [r for r in found if url in [r.get("url"), *(unique.get("value") for unique in r.get("uniqueId", []))]]

    def find_by_value(self, resource_type: str, value: str) -> list[Resource]:
        """Resources that really carry an identifier of this value, whatever its system (R4 search 3.1.1.4.10: a token without `|`)."""
        found = self._search(resource_type, {"identifier": _SEARCH_MARKS.sub(r"\\\1", value)})
        return [r for r in found if value in [i.get("value") for i in r.get("identifier", [])]]

    def find_issued(self, resource_type: str, system: str, since: date) -> list[Resource]:
        """Resources that really carry an identifier of this system and were issued on or after that day (UTC)."""
        found = self._search(resource_type, {"identifier": _token(system, ""), "issued": f"ge{since.isoformat()}"})
        return [
            r for r in found if system in [i.get("system") for i in r.get("identifier", [])] and _issued_since(r, since)
        ]

    def patient_record(self, patient: str) -> list[Resource]:
        """The Patient and all that belongs to it. A resource of another patient stops the run: the server cannot be trusted to filter."""
        reference = unversioned(patient)
        resources = [self._patient(reference)]
        for resource_type in RECORD_TYPES:
            resources += self._belonging(resource_type, reference)
        return resources

    def _belonging(self, resource_type: str, patient: str) -> list[Resource]:
        """The patient's resources of one type; none where the server's CapabilityStatement says that it does not serve the type."""
        found: dict[str, Resource] = {}
        try:
            for resource, base in self._matches(resource_type, {"patient": patient}, decimals=True):
                if not self._is_of(resource, patient, base):
                    raise PermanentFailure(
                        "fhir-wrong-patient", "the FHIR server answered with a resource of another patient"
                    )
                found[resource["id"]] = resource
        except PermanentFailure as failure:
            if failure.code != "fhir-refused" or self._serves(resource_type):
                raise
        return list(found.values())

    def _is_of(self, resource: Resource, patient: str, base: str) -> bool:
        """Whether the subject is `patient` of this very server: relative, or absolute under our base or the server's own name for itself."""
        reference = (resource.get("subject") or resource.get("patient") or {}).get("reference", "")
        plain = without_version(reference)
        return subject_of(resource) == patient and plain in (patient, f"{self._base}/{patient}", f"{base}/{patient}")

    def _serves(self, resource_type: str) -> bool:
        served = _served(self._body(self._send("GET", f"{self._base}/metadata")))
        return not served or resource_type in served

    def _patient(self, reference: str) -> Resource:
        if not reference.startswith("Patient/"):
            raise PermanentFailure("patient-not-found", "the event's patient is not a reference to a Patient")
        try:
            patient = self.read(reference)
        except PermanentFailure as failure:
            if failure.code == "fhir-not-found":
                raise PermanentFailure("patient-not-found", "FHIR does not know the event's patient") from None
            raise
        merged = any(link.get("type") == "replaced-by" for link in patient.get("link", []))
        if merged or patient.get("active") is False:
            raise PermanentFailure(
                "patient-replaced", "the event's patient record was merged or is out of use: send the one in use"
            )
        return patient

    def _search(self, resource_type: str, parameters: dict[str, str]) -> list[Resource]:
        """All pages, each resource once."""
        return list({resource["id"]: resource for resource, _ in self._matches(resource_type, parameters)}.values())

    def _matches(
        self, resource_type: str, parameters: dict[str, str], *, decimals: bool = False
    ) -> Iterator[tuple[Resource, str]]:
        """Each match, of the type asked for, with the base of its `fullUrl`: what the server calls itself."""
        for bundle in self._pages(f"{self._base}/{resource_type}", parameters | {"_count": PAGE}, decimals):
            for entry in bundle.get("entry", []):
                resource = entry.get("resource", {})
                included = entry.get("search", {}).get("mode") == "include"
                if included or resource.get("resourceType") == "OperationOutcome":
                    continue
                if resource.get("resourceType") != resource_type or "id" not in resource:
                    raise PermanentFailure(
                        "fhir-wrong-resource", "the FHIR server answered with another type than the one asked for"
                    )
                yield resource, entry.get("fullUrl", "").removesuffix(f"/{resource_type}/{resource['id']}")

    def _pages(self, url: str, parameters: dict[str, str], decimals: bool) -> Iterator[Resource]:
        bundle = self._searched(self._send("GET", url, params=parameters), decimals)
        for _ in range(MAX_PAGES):
            yield bundle
            following = [link["url"] for link in bundle.get("link", []) if link.get("relation") == "next"]
            if not following:
                return
            bundle = self._searched(self._send("GET", self._same_server(following[0])), decimals)
        raise PermanentFailure("fhir-too-many-pages", "a search did not come to an end")

    def _searched(self, response: httpx.Response, decimals: bool) -> Resource:
        bundle = self._body(response, decimals=decimals)
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
        for entry in entries:
            self._check_entry(entry.get("response", {}))
        return [self._written(entry) for entry in entries]

    def create_once(self, resource: Resource, system: str, tag: str) -> None:
        """Conditional create of a resource that its tag `system|tag` keys; one that is there already stands (R4 3.1.0.8.1).

        `StaleWrite` if another create came first: the same again then finds it there.
        """
        content = orjson.dumps(resource)
        where = {"If-None-Exist": str(httpx.QueryParams({"_tag": _token(system, tag)}))}
        response = self._send("POST", f"{self._base}/{resource['resourceType']}", content=content, headers=where)
        if response.status_code != PRECONDITION_FAILED:  # several are there: none is missing
            self._check(response.status_code)

    def _check_entry(self, response: dict[str, Any]) -> None:
        status = str(response.get("status", ""))[:3]
        if not status.isdecimal():
            raise PermanentFailure("fhir-transaction", "the FHIR server did not say what became of an entry")
        self._check(int(status))
        issues = (response.get("outcome") or {}).get("issue", [])
        if any(issue.get("severity") in ("error", "fatal") for issue in issues):
            raise PermanentFailure("fhir-refused", "the FHIR server reports an error for an entry it says it took")

    def _written(self, entry: dict[str, Any]) -> str:
        """The versioned reference of an entry; read back where the server names no version."""
        location = str(entry["response"].get("location") or "")
        if "/_history/" in location:
            place, version = location.split("/_history/", 1)
            return f"{unversioned(place)}/_history/{version}"
        resource = entry.get("resource") or (self.read(unversioned(location)) if location else None)
        if resource is None:
            raise PermanentFailure("fhir-transaction", "the FHIR server did not say where it put an entry")
        return versioned(resource)

    # -- transport -------------------------------------------------------------------------------------------------------------

    def _send(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        """One answer. A read is tried again after a refusal or a broken connection, never after a timeout or a 429: those need more patience.

        A write is sent once: whoever wrote looks for its effect before it writes again.
        """
        for pause in self._read_pauses if method == "GET" else ():
            try:
                response = self._http.request(method, url, **arguments)
            except httpx.TimeoutException as error:
                raise TransientFailure("fhir-unavailable", "the FHIR server does not answer in time") from error
            except httpx.HTTPError:
                time.sleep(pause)
                continue
            if response.status_code < 500:
                return response
            time.sleep(pause)
        return self._send_once(method, url, **arguments)

    def _send_once(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        try:
            return self._http.request(method, url, **arguments)
        except httpx.HTTPError as error:
            raise TransientFailure("fhir-unavailable", "the FHIR server does not answer") from error

    def _body(self, response: httpx.Response, *, decimals: bool = False) -> Resource:
        """The JSON of an answer; with `decimals` its numbers keep their digits: for reading only, orjson writes none of them."""
        self._check(response.status_code)
        try:
            if decimals:
                return cast(Resource, json.loads(response.content, parse_float=SourceDecimal))
            return cast(Resource, orjson.loads(response.content))
        except ValueError as error:
            raise TransientFailure("fhir-not-json", "the FHIR server did not answer with JSON") from error

    def _check(self, status: int) -> None:
        if status in (409, 412):
            raise StaleWrite("fhir-stale", "another version is there already, or another write came first")
        if status in (408, 425, 429) or status >= 500:
            raise TransientFailure("fhir-unavailable", f"the FHIR server answered {status}")
        if status in (401, 403):
            raise PermanentFailure(
                "fhir-forbidden", "the FHIR server does not allow this: check our token, or the scopes it was granted"
            )
        if not 200 <= status < 300:
            raise PermanentFailure("fhir-refused", f"the FHIR server refused with {status}: its own log says why")

    def preflight(self) -> list[str]:
        """What the server must be able to do (contract 6) and does not declare, one sentence for each problem; for `longview doctor`."""
        statement = self._body(self._send("GET", f"{self._base}/metadata"))
        rest = (statement.get("rest") or [{}])[0]
        problems = []
        if not str(statement.get("fhirVersion", "")).startswith("4.0"):
            problems.append("The FHIR server is not R4: point LONGVIEW_FHIR_URL at an R4 endpoint.")
        if "transaction" not in [interaction.get("code") for interaction in rest.get("interaction", [])]:
            problems.append("The FHIR server declares no transaction: a result cannot be written in one piece.")
        types = {resource.get("type"): resource for resource in rest.get("resource", [])}
        return problems + [sentence for name in WRITTEN_TYPES for sentence in _lacks(types, name)] + _not_read(types)


def _token(system: str, code: str) -> str:
    """`system|code` with the marks of a search escaped (R4 search 3.1.1.5.1): `,` would mean "or"."""
    return "|".join(_SEARCH_MARKS.sub(r"\\\1", part) for part in (system, code))


def _issued_since(resource: Resource, since: date) -> bool:
    """An instant that cannot be read is kept: the caller must see it, not lose it."""
    try:
        return datetime.fromisoformat(str(resource["issued"])).astimezone(UTC).date() >= since
    except (KeyError, ValueError):
        return "issued" in resource


def _served(statement: Resource) -> Iterable[str]:
    rest = (statement.get("rest") or [{}])[0]
    return {resource["type"] for resource in rest.get("resource", []) if "type" in resource}


def _lacks(types: dict[str, Resource], name: str) -> list[str]:
    """What a type that we write is declared not to do."""
    if name not in types:
        return [f"The FHIR server does not serve {name}: enable it there."]
    found = []
    if types[name].get("conditionalCreate") is not True:
        found.append(f"The FHIR server declares no conditional create of {name}: a retry could write a result twice.")
    if types[name].get("versioning") == "no-version":
        found.append(f"The FHIR server keeps no versions of {name}: a review could overwrite another.")
    return found


def _not_read(types: dict[str, Resource]) -> list[str]:
    missing = [n for n in ("Patient", *RECORD_TYPES) if n not in (*types, *WRITTEN_TYPES, "MedicationStatement")]
    return [f"The FHIR server does not serve {name}: the history would lack it." for name in missing]
