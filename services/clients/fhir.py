"""A thin FHIR R4 client: conditional creates, versions, transactions, paging; nothing else is needed here.

Every answer is checked against what was asked, because servers ignore search parameters that they do not know and then answer with
everything. Neither URLs nor the server's words enter errors or logs: both hold identifiers.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

import httpx
import orjson

from schemas.errors import PermanentFailure
from services.clients.fhir_json import SourceDecimal
from services.clients.fhir_record import INDISPENSABLE, RECORD_TYPES, PatientRecords
from services.clients.fhir_transport import READ_PAUSES
from workflows.ports import Resource
from workflows.timeline.fields import unversioned, versioned

__all__ = ["READ_PAUSES", "RECORD_TYPES", "WRITTEN_TYPES", "FhirClient", "SourceDecimal"]
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
PRECONDITION_FAILED = 412
_SEARCH_MARKS = re.compile(r"([\\$,|])")


class FhirClient(PatientRecords):
    """One FHIR R4 server: reading, searching, writing."""

    # -- reading ---------------------------------------------------------------------------------------------------------------

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
            self._check(response.status_code, response.headers)

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
    asked = ("Patient", *(name for name in RECORD_TYPES if name in INDISPENSABLE))
    missing = [n for n in asked if n not in (*types, *WRITTEN_TYPES, "MedicationStatement")]
    return [f"The FHIR server does not serve {name}: the history would lack it." for name in missing]
