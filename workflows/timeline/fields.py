"""Reads elements of FHIR R4 resources that stand under different names in different types."""

from __future__ import annotations

from typing import Any

from schemas.codes import LOINC
from schemas.identifiers import without_version
from schemas.timeline import Coding, Identifier, Span
from workflows.timeline.analytes import BY_LOINC, Analyte
from workflows.timeline.dates import NEVER, span_of

Resource = dict[str, Any]

_URI = "urn:ietf:rfc:3986"
RESULT_TAG = "/sid/ai-result"
"""How the tag's system ends, under whatever canonical base it was written (`Canonical.sid`)."""
RESULT_NUMBERS = (RESULT_TAG, "/sid/ai-report-thread", "/sid/ai-finding", "/sid/ai-key-image")
"""The same of the identifiers that our results and their parts are numbered by."""
_STATUS_CONCEPTS = ("clinicalStatus", "verificationStatus")


def versioned(resource: Resource) -> str:
    """`Type/id/_history/version`; without a version the server keeps none, and the plain reference must do."""
    reference = f"{resource['resourceType']}/{resource['id']}"
    version = (resource.get("meta") or {}).get("versionId")
    return f"{reference}/_history/{version}" if version else reference


def unversioned(reference: str) -> str:
    """`Type/id` of a relative or absolute, versioned or plain reference."""
    if reference.count("/") == 1:
        return reference
    return "/".join(without_version(reference).split("/")[-2:])


def referenced(references: list[Any] | None) -> tuple[str, ...]:
    """`Type/id` of each literal reference."""
    return tuple([unversioned(str(one["reference"])) for one in references or () if one.get("reference")])


def sort_key(text: str | None) -> Span:
    """Orders FHIR dates by the interval that they can mean, in UTC; no date at all comes last."""
    return (span_of(text) if text else None) or NEVER


def status(resource: Resource) -> str:
    if "status" in resource:
        return str(resource["status"])
    return "/".join(status_words(resource)) or str(resource.get("lifecycleStatus") or "unknown")


def status_words(resource: Resource) -> list[str]:
    """Codes of clinical and verification status; where one has words alone, the words as such a code would be written."""
    found: list[str] = []
    for name in _STATUS_CONCEPTS:
        concept = resource.get(name)
        if concept:
            codes = [c["code"] for c in concept.get("coding", ()) if c.get("code")]
            found += codes or ["-".join(str(concept.get("text") or "").lower().split())]
    return [word for word in found if word]


Coded = tuple[list[Coding], str | None, Analyte | None]
"""The codings of a CodeableConcept, its words, and what our table of units knows it as."""


class Concepts:
    """Reads the CodeableConcepts of one build: a history says the same few hundred over and over, so each is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Coded] = {}

    def read(self, concept: Resource | None) -> Coded:
        """What `coded` gives; the same objects for the same concept."""
        if not concept:
            return [], None, None
        try:
            [one] = concept["coding"]
        except (LookupError, ValueError, TypeError):
            return coded(concept)
        key = (one.get("code"), concept.get("text"), one.get("display"), one.get("system"))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = coded(concept)
        return known


def coded(concept: Resource | None) -> Coded:
    if not concept:
        return [], None, None
    analyte, found = None, []
    for one in concept.get("coding") or ():
        code, display = one.get("code"), one.get("display")
        if code:
            system = one.get("system")
            found.append(Coding(system=system, code=code, display=display))
            if analyte is None and system == LOINC:
                analyte = BY_LOINC.get(code)
    return found, text_of(concept), analyte


def codings(concept: Resource | None) -> list[Coding]:
    return coded(concept)[0]


def text_of(concept: Resource | None) -> str | None:
    """The words of a CodeableConcept: its text, else the first display, else the first code."""
    if not concept:
        return None
    words: str | None = concept.get("text")
    for one in () if words else concept.get("coding") or ():
        if words := one.get("display") or one.get("code"):
            break
    return words or None


def said_by_ai(resource: Resource) -> bool:
    """Labelled `AIAST`; or, where a server dropped the label, a part of a result of ours by its tag or its identifiers.

    What a clinician put in its place is theirs.
    """
    meta = resource.get("meta") or {}
    labels = [label.get("code") for label in meta["security"]] if "security" in meta else ()
    if "AIAST" in labels:
        return True
    if "CLINAST" in labels:
        return False
    if "tag" in meta and any(str(tag.get("system", "")).endswith(RESULT_TAG) for tag in meta["tag"]):
        return True
    return "identifier" in resource and _numbered_by_us(resource["identifier"])


def _numbered_by_us(found: Any) -> bool:
    """An ImagingStudy, order or result of others bears none of these, under whatever canonical base."""
    numbers = found if isinstance(found, list) else [found]
    return any(str(one.get("system", "")).endswith(RESULT_NUMBERS) for one in numbers)


def identifiers(resource: Resource) -> list[Identifier]:
    found = []
    for one in resource.get("identifier") or ():
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
    numbers = [one for one in resource.get("identifier") or () if isinstance(one, dict)]
    found = [(one.get("system"), str(one.get("value", ""))) for one in numbers]
    named = [value.removeprefix("urn:oid:") for system, value in found if system == "urn:dicom:uid" and value]
    bare = [
        value.removeprefix("urn:oid:") for system, value in found if system == _URI and value.startswith("urn:oid:")
    ]
    return next(iter([*named, *bare]), None)
