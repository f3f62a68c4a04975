"""A result as it stands in FHIR now: read back, in the versions that any change to it is conditional on."""

from __future__ import annotations

import uuid
from copy import deepcopy
from dataclasses import dataclass
from typing import get_args

from schemas.codes import ADDENDUM_OF, STATUS_REASON, Canonical, Json, concept
from schemas.errors import PermanentFailure
from schemas.lifecycle import CloseReason
from schemas.terms import RESULT_STATUS_REASON, REVIEW_STATUS
from workflows.report.context import versioned_reference
from workflows.timeline.fields import unversioned, versioned


@dataclass(frozen=True)
class PostedResult:
    """The resources of one result; `observations` are those that the report names."""

    report: Json
    observations: list[Json]
    task: Json

    @property
    def unread(self) -> bool:
        """No human has acted on it."""
        return bool(self.report["status"] == "partial")

    @property
    def reviewed(self) -> bool:
        """A human has accepted, amended or rejected it, and that still stands; a report that the system has closed was not."""
        return not self.unread and not self.withdrawn

    @property
    def withdrawn(self) -> bool:
        """The system has closed it: by its reason, or by its task where the server has dropped the reason."""
        reasons = {CLOSED_BY_US & _codes(e["valueCodeableConcept"]) != set() for e in _reasons(self.report)}
        return True in reasons or bool({"superseded", "withdrawn"} & self.task_status)

    @property
    def taken_back(self) -> bool:
        """Whether the system withdrew it although nothing took its place: the same inputs may be read again."""
        codes = set().union(*(_codes(e["valueCodeableConcept"]) for e in _reasons(self.report)))
        return bool(codes & TAKEN_BACK)

    @property
    def task_status(self) -> set[str]:
        """Codes of the task's business status."""
        return _codes(self.task.get("businessStatus", {}))

    @property
    def adds_to(self) -> str | None:
        """`DiagnosticReport/<id>` that this result is an addendum to."""
        found = [e["valueReference"]["reference"] for e in self.report.get("extension", []) if e["url"] == ADDENDUM_OF]
        return unversioned(found[0]) if found else None

    def result_id(self, canonical: Canonical) -> str:
        for identifier in self.report["identifier"]:
            if identifier.get("system") == canonical.sid("ai-result"):
                return str(identifier["value"])
        raise PermanentFailure("result-without-identifier", "a report of ours has lost its result identifier")


SUPERSEDED_BY_NEW_INPUTS = "superseded-by-new-inputs"
TAKEN_BACK: set[str] = {"order-cancelled", "patient-unmerged", "result-wrong"}
CLOSED_BY_US = {*get_args(CloseReason), SUPERSEDED_BY_NEW_INPUTS}


def _reasons(resource: Json) -> list[Json]:
    return [e for e in resource.get("extension", []) if e["url"] == STATUS_REASON]


def _codes(value: Json) -> set[str]:
    return {str(c.get("code")) for c in value.get("coding", [])}


def update(resource: Json) -> Json:
    """A transaction entry that replaces exactly the version that was read (`If-Match`).

    Its `fullUrl` is a UUID derived from that version: HL7's validator wants one on every entry whose resource has relative references, and
    the server's own base URL is not known here (proxies change it).
    """
    version = resource.get("meta", {}).get("versionId")
    if not version:
        raise PermanentFailure("fhir-no-versions", "the FHIR server keeps no versions; a safe update is not possible")
    body = deepcopy(resource)
    for name in ("versionId", "lastUpdated", "source"):
        body["meta"].pop(name, None)
    if not body["meta"]:
        del body["meta"]  # an element of FHIR without a value and without children is not valid (ele-1)
    place = f"{resource['resourceType']}/{resource['id']}"
    full_url = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, versioned(resource))}"
    request = {"method": "PUT", "url": place, "ifMatch": f'W/"{version}"'}
    return {"fullUrl": full_url, "resource": body, "request": request}


def with_reason(canonical: Canonical, resource: Json, status: str, code: str, text: str) -> Json:
    """A copy with another status and the reason for it."""
    body = deepcopy(resource)
    body["status"] = status
    reason = concept(RESULT_STATUS_REASON.coding(canonical, code), text=text)
    kept = [e for e in body.get("extension", []) if e["url"] != STATUS_REASON]
    body["extension"] = [*kept, {"url": STATUS_REASON, "valueCodeableConcept": reason}]
    return body


def revision_entity(canonical: Canonical, resource: Json) -> Json:
    return {"role": "revision", "what": versioned_reference(canonical, versioned(resource))}


def closed_task(canonical: Canonical, task: Json, reason: str, at: str) -> Json:
    """The review task of a result that the system has closed before anyone decided."""
    superseded = reason in ("superseded-by-final-report", SUPERSEDED_BY_NEW_INPUTS)
    body = with_business_status(canonical, task, "superseded" if superseded else "withdrawn", at)
    body["status"] = "cancelled"
    body["statusReason"] = concept(RESULT_STATUS_REASON.coding(canonical, reason))
    return body


def with_business_status(canonical: Canonical, task: Json, code: str, at: str) -> Json:
    """A copy of the task with another business status."""
    body = deepcopy(task)
    body["businessStatus"] = concept(REVIEW_STATUS.coding(canonical, code))
    body["lastModified"] = at
    return body
