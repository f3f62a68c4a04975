"""A value of a document as an Observation: as it is written, in UCUM, with the lines that it stands in."""

from __future__ import annotations

from datetime import datetime, tzinfo

from schemas.codes import ABNORMAL, AIAST, HIGH, LOINC, LOW, NORMAL, THO, UCUM, Json, coding, concept
from schemas.conformance.document_line import NAME as DOCUMENT_LINE
from schemas.conformance.document_line import PART_BY_NAME
from schemas.documents import Abnormality, Citation, LabValue, WrittenRange
from workflows.report.context import ResultContext
from workflows.report.observation import image_region, performer
from workflows.report.text import UNTRAINED, narrative, value_sentence

INTERPRETATION: dict[Abnormality, Json] = {"low": LOW, "high": HIGH, "abnormal": ABNORMAL, "normal": NORMAL}
"""By the document's own range, or its own flag: never the model's judgement."""


def value_urn(context: ResultContext, value: LabValue) -> str:
    return context.urn("value", context.result_id, value.label)


def value_observation(context: ResultContext, value: LabValue) -> Json:
    """The Observation of one value; without a time where the document gives none that is sure."""
    warning = "" if context.model.trained else f" {UNTRAINED}"
    key = context.namespace.key("value", context.result_id, value.label)
    resource: Json = {
        "resourceType": "Observation",
        "meta": {"security": [AIAST], "tag": [context.tag]},
        "text": narrative(f"AI-generated, not verified: {value_sentence(value)}{warning}"),
        "extension": _extensions(context, value.citation, value),
        "identifier": [{"system": context.canonical.sid("ai-finding"), "value": key}],
        "basedOn": context.based_on,
        "partOf": [context.imaging_study],
        "status": "preliminary",
        "category": [concept(coding(THO + "observation-category", "laboratory", "Laboratory"))],
        "code": concept(*([coding(LOINC, value.loinc)] if value.loinc else []), text=value.name),
        "subject": context.patient,
        **_effective(value.collected, context.time_zone),
        "issued": context.issued,
        "performer": [performer(context)],
        "valueQuantity": quantity(value.number, value.ucum, value.unit)
        | ({"comparator": value.comparator} if value.comparator else {}),
        "interpretation": [concept(INTERPRETATION[value.interpretation])] if value.interpretation else [],
        "referenceRange": [_range(value.range, value)] if value.range else [],
        "method": {"text": f"Extraction from a document (release {context.release})"},
        "device": {"reference": context.device_urn},
        "derivedFrom": [context.imaging_study],
    }
    return {name: value for name, value in resource.items() if value != []}


def quantity(number: str, ucum: str, unit: str | None) -> Json:
    """The number without digits that it does not have; `unit` as it is written, the code alone where none is."""
    return {"value": json_number(number), "unit": unit or ucum, "system": UCUM, "code": ucum}


def json_number(number: str) -> int | float:
    """At most 15 significant digits are read, which a double keeps; zeros at the end stand in the cited line."""
    return float(number) if "." in number else int(number)


def _range(bounds: WrittenRange, value: LabValue) -> Json:
    limits = {"low": bounds.low, "high": bounds.high}
    told = {name: quantity(limit, value.ucum, value.unit) for name, limit in limits.items() if limit is not None}
    return told | {"text": bounds.text}


def bounds_of(observation: Json) -> WrittenRange | None:
    """The reference range as it was posted."""
    for told in observation.get("referenceRange", []):
        limits = {name: str(told[name]["value"]) for name in ("low", "high") if name in told}
        return WrittenRange(text=told.get("text", ""), low=limits.get("low"), high=limits.get("high"))
    return None


def _effective(collected: str | None, zone: tzinfo) -> Json:
    """A date as it is; a time of day in the site's zone, which the document does not name."""
    if collected is None or "T" not in collected:
        return {"effectiveDateTime": collected} if collected else {}
    return {"effectiveDateTime": datetime.fromisoformat(collected).replace(tzinfo=zone).isoformat()}


def _extensions(context: ResultContext, citation: Citation, value: LabValue) -> list[Json]:
    parts: list[tuple[str, object]] = [
        ("page", citation.page),
        *(("line", line) for line in citation.lines),
        ("text", citation.text),
        ("source", citation.source),
        ("secondReading", value.second_reading),
    ]
    sub = [{"url": name, PART_BY_NAME[name].value: part} for name, part in parts]
    lines: Json = {"url": context.canonical.structure(DOCUMENT_LINE), "extension": sub}
    return [*([image_region(context.canonical, citation.region)] if citation.region else []), lines]
