"""What a result rests on, read from its Provenance and its Device (contract 1.4)."""

from __future__ import annotations

from schemas.codes import URI, Canonical, Json
from schemas.errors import PermanentFailure
from schemas.identifiers import hex_from_ni
from schemas.model import Record
from schemas.runs import Digest
from workflows.report.kept import (
    ANSWER,
    FURTHER_VOLUME,
    MANIFEST,
    PRIOR_VOLUME,
    READING,
    RENDERED_PROMPT,
    TIMELINE,
    VOLUME,
    WEIGHTS,
)


class ResultOrigin(Record):
    """Digests address the object store. What an older version of ours did not write down is None."""

    result_id: str
    thread_id: str
    manifest: Digest
    request: Digest
    weights: Digest
    timeline: Digest | None
    volume: Digest | None
    prior_volume: Digest | None
    further: list[Digest] = []
    """Other stacks that the model was shown: of the study, of its named prior, of earlier ones."""
    answer: Digest | None
    reading: Digest | None
    study_instance_uid: str
    release: str
    versions: dict[str, str]
    """`Device.version` by its type: system-release, prompt-digest, serving-runtime, reading-code."""
    documents: list[str]
    """References to the model card and the prompt template."""


def read_origin(canonical: Canonical, report: Json, provenance: Json, device: Json) -> ResultOrigin:
    """`PermanentFailure`: `provenance-incomplete` if it names no manifest, prompt or weights."""
    whats = [entity.get("what", {}) for entity in provenance.get("entity", [])]
    digests = {str(what["display"]): digest for what in whats if what.get("display") and (digest := _digest(what))}
    if not {MANIFEST, RENDERED_PROMPT, WEIGHTS} <= set(digests):
        raise PermanentFailure(
            "provenance-incomplete", "the result's Provenance names no input manifest, prompt or weights: not a reading"
        )
    return ResultOrigin(
        result_id=_identifier(report, canonical.sid("ai-result")),
        thread_id=_identifier(report, canonical.sid("ai-report-thread")),
        manifest=digests[MANIFEST],
        request=digests[RENDERED_PROMPT],
        weights=digests[WEIGHTS],
        timeline=digests.get(TIMELINE),
        volume=digests.get(VOLUME),
        prior_volume=digests.get(PRIOR_VOLUME),
        further=[d for what in whats if what.get("display") == FURTHER_VOLUME and (d := _digest(what))],
        answer=digests.get(ANSWER),
        reading=digests.get(READING),
        study_instance_uid=_study(report),
        release=_identifier(device, canonical.sid("ai-release")),
        versions={v.get("type", {}).get("text", ""): str(v.get("value", "")) for v in device.get("version", [])},
        documents=[r for what in whats if "DocumentReference/" in (r := str(what.get("reference", "")))],
    )


def author_of(provenance: Json) -> str:
    """The reference to the Device that wrote the result."""
    for agent in provenance.get("agent", []):
        reference = str(agent.get("who", {}).get("reference", ""))
        if "Device/" in reference:
            return reference
    raise PermanentFailure("provenance-incomplete", "the result's Provenance names no Device")


def rests_on_a_reading(provenance: Json) -> bool:
    """Whether this Provenance is that of a reading: others of the same result tell of reviews and replacements."""
    return any(entity.get("what", {}).get("display") == MANIFEST for entity in provenance.get("entity", []))


def document_digest(document: Json) -> Digest | None:
    """The SHA-256 that a content-addressed DocumentReference bears as its master identifier."""
    return _digest({"identifier": document.get("masterIdentifier", {})})


def _digest(what: Json) -> Digest | None:
    identifier = what.get("identifier", {})
    if identifier.get("system") != URI:
        return None
    try:
        return hex_from_ni(str(identifier.get("value", "")))
    except ValueError:
        return None


def _identifier(resource: Json, system: str) -> str:
    for identifier in resource.get("identifier", []):
        if identifier.get("system") == system:
            return str(identifier["value"])
    raise PermanentFailure("result-without-identifier", "a resource of this result has lost its identifier")


def _study(report: Json) -> str:
    for study in report.get("imagingStudy", []):
        value = str(study.get("identifier", {}).get("value", ""))
        if value.startswith("urn:oid:"):
            return value.removeprefix("urn:oid:")
    raise PermanentFailure("result-without-identifier", "the report names no StudyInstanceUID")
