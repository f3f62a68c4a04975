"""A result as it stands in FHIR now: read back, in the versions that any change to it is conditional on."""

from __future__ import annotations

import uuid
from copy import deepcopy
from dataclasses import dataclass

from schemas.codes import STATUS_REASON, Canonical, Json, concept
from schemas.errors import PermanentFailure
from schemas.terms import RESULT_STATUS_REASON
from workflows.report.context import versioned_reference
from workflows.timeline.fields import versioned


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
        """A human has accepted or rejected it; a report that a later one has cancelled was not."""
        outcomes = {c.get("code") for c in self.task.get("businessStatus", {}).get("coding", [])}
        return not self.unread and "superseded" not in outcomes

    def result_id(self, canonical: Canonical) -> str:
        for identifier in self.report["identifier"]:
            if identifier.get("system") == canonical.sid("ai-result"):
                return str(identifier["value"])
        raise PermanentFailure("result-without-identifier", "a report of ours has lost its result identifier")


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
