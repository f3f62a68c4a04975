"""Reads elements of FHIR R4 resources that stand under different names in different types."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from schemas.timeline import Coding, Identifier

Resource = dict[str, Any]

_WHEN = (
    "started",
    "effectiveDateTime",
    "effectiveInstant",
    "performedDateTime",
    "onsetDateTime",
    "authoredOn",
    "recordedDate",
    "issued",
)
_WHEN_PERIODS = ("effectivePeriod", "performedPeriod", "onsetPeriod")
_URI = "urn:ietf:rfc:3986"
RESULT_TAG = "/sid/ai-result"
"""How the tag's system ends, under whatever canonical base it was written (`Canonical.sid`)."""
_STATUS_CONCEPTS = ("clinicalStatus", "verificationStatus")


def versioned(resource: Resource) -> str:
    """`Type/id/_history/version`; without a version the server keeps none, and the plain reference must do."""
    reference = f"{resource['resourceType']}/{resource['id']}"
    version = resource.get("meta", {}).get("versionId")
    return f"{reference}/_history/{version}" if version else reference


def unversioned(reference: str) -> str:
    """`Type/id` of a relative or absolute, versioned or plain reference."""
    return "/".join(reference.split("/_history/")[0].split("/")[-2:])


def when(resource: Resource) -> str | None:
    """The clinically relevant time as it stands in the source."""
    for name in _WHEN:
        if resource.get(name):
            return str(resource[name])
    for name in _WHEN_PERIODS:
        if start := resource.get(name, {}).get("start"):
            return str(start)
    return None


def sort_key(text: str | None) -> tuple[int, datetime]:
    """Orders FHIR dates: a partial date counts as its beginning in UTC, none at all comes last."""
    if not text:
        return 1, datetime.min.replace(tzinfo=UTC)
    padded = text + "-01-01"[len(text) - 4 :] if len(text) in (4, 7) else text
    try:
        moment = datetime.fromisoformat(padded)
    except ValueError:
        return 1, datetime.min.replace(tzinfo=UTC)
    return 0, moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def status(resource: Resource) -> str:
    if "status" in resource:
        return str(resource["status"])
    codes = [c.get("code", "") for name in _STATUS_CONCEPTS for c in resource.get(name, {}).get("coding", [])]
    return "/".join(code for code in codes if code) or "unknown"


def codings(concept: Resource | None) -> list[Coding]:
    found = (concept or {}).get("coding", [])
    return [Coding(system=c.get("system"), code=c["code"], display=c.get("display")) for c in found if c.get("code")]


def text_of(concept: Resource | None) -> str | None:
    """The words of a CodeableConcept: its text, else the first display, else the first code."""
    if not concept:
        return None
    if concept.get("text"):
        return str(concept["text"])
    for coding in concept.get("coding", []):
        if coding.get("display") or coding.get("code"):
            return str(coding.get("display") or coding["code"])
    return None


def medication(resource: Resource) -> Resource | None:
    """The medicine of a request or statement: coded, contained, or by the name of the reference."""
    if "medicationCodeableConcept" in resource:
        return dict(resource["medicationCodeableConcept"])
    reference = resource.get("medicationReference", {})
    for contained in resource.get("contained", []):
        if reference.get("reference") == f"#{contained.get('id')}" and "code" in contained:
            return dict(contained["code"])
    return {"text": reference["display"]} if reference.get("display") else None


def said_by_ai(resource: Resource) -> bool:
    """Labelled `AIAST`, or tagged as part of a result of ours by a server that dropped the label; what a clinician put in its place is theirs."""
    meta = resource.get("meta", {})
    labels = {label.get("code") for label in meta.get("security", [])}
    ours = any(str(tag.get("system", "")).endswith(RESULT_TAG) for tag in meta.get("tag", []))
    return "AIAST" in labels or (ours and "CLINAST" not in labels)


def identifiers(resource: Resource) -> list[Identifier]:
    found = []
    for one in resource.get("identifier", []):
        if one.get("value"):
            kinds = [c.get("code") for c in one.get("type", {}).get("coding", [])]
            found.append(Identifier(system=one.get("system"), value=one["value"], type=kinds[0] if kinds else None))
    return found


def subject_of(resource: Resource) -> str | None:
    """Whose the resource is, as `Patient/id`."""
    reference = (resource.get("subject") or resource.get("patient") or {}).get("reference")
    return unversioned(reference) if reference else None


def study_instance_uid(resource: Resource) -> str | None:
    """The StudyInstanceUID among an ImagingStudy's identifiers: under `urn:dicom:uid`, or as a bare OID URN as some sources write it."""
    found = [(one.get("system"), str(one.get("value", ""))) for one in resource.get("identifier", [])]
    named = [value.removeprefix("urn:oid:") for system, value in found if system == "urn:dicom:uid" and value]
    bare = [
        value.removeprefix("urn:oid:") for system, value in found if system == _URI and value.startswith("urn:oid:")
    ]
    return next(iter([*named, *bare]), None)
