"""A reviewer reads a value of a document otherwise than the AI did: an Observation of their own, in the same unit (contract 2)."""

from __future__ import annotations

import re
from copy import deepcopy
from decimal import Decimal

from schemas.codes import CLINAST, OBSERVATION_REPLACES, Canonical, Json, concept
from schemas.identifiers import Namespace
from schemas.report import AmendedValue, ReviewAct
from workflows.documents.notation import against_range, written_value
from workflows.report.context import by_identifier, create, person
from workflows.report.text import line_name, narrative
from workflows.report.values import INTERPRETATION, bounds_of, json_number

_KEPT = ("basedOn", "partOf", "category", "code", "subject", "effectiveDateTime", "referenceRange")


def clinician_value(namespace: Namespace, old: Json, amendment: AmendedValue, act: ReviewAct) -> Json:
    """The entry of the clinician's own Observation: same analyte, unit, range and lines."""
    key = namespace.key("review-finding", act.act_id, amendment.label)
    replaced = {"reference": f"Observation/{old['id']}"}
    resource: Json = {
        "resourceType": "Observation",
        "meta": {"security": [CLINAST], "tag": old["meta"]["tag"]},
        "text": narrative(amended_value_sentence(old, amendment)),
        "extension": [*deepcopy(old.get("extension", [])), {"url": OBSERVATION_REPLACES, "valueReference": replaced}],
        "identifier": [{"system": Canonical(namespace.base).sid("review-finding"), "value": key}],
        "status": "final",
        **{name: deepcopy(old[name]) for name in _KEPT if name in old},
        "issued": act.at,
        "performer": [person(act.reviewer, act.identity)],
        "valueQuantity": _quantity(old, amendment),
        "interpretation": _interpretation(old, amendment),
        "note": [{"text": amendment.text}] if amendment.text else [],
        "derivedFrom": [*old.get("derivedFrom", []), replaced],
    }
    body = {name: value for name, value in resource.items() if value != []}
    return create("urn:uuid:" + namespace.key("entry", "review-finding", key), body, by_identifier(body))


def _quantity(old: Json, amendment: AmendedValue) -> Json:
    written = written_value(amendment.value)
    assert written is not None  # the record's pattern is narrower
    same = {name: old["valueQuantity"][name] for name in ("unit", "system", "code") if name in old["valueQuantity"]}
    return (
        {"value": json_number(written.digits)}
        | same
        | ({"comparator": written.comparator} if written.comparator else {})
    )


def _interpretation(old: Json, amendment: AmendedValue) -> list[Json]:
    """By the document's range; none where the range decides nothing."""
    written, bounds = written_value(amendment.value), bounds_of(old)
    if written is None or bounds is None:
        return []
    said = against_range(Decimal(written.digits), written.comparator, bounds)
    return [concept(INTERPRETATION[said])] if said else []


def told_quantity(quantity: Json) -> str:
    return f"{quantity.get('comparator', '')}{quantity['value']} {quantity.get('unit', '')}".strip()


def amended_value_sentence(old: Json, amendment: AmendedValue) -> str:
    """The value as the reviewer states it."""
    unit = old["valueQuantity"].get("unit", "")
    said = f" Reviewer: {amendment.text.rstrip('.')}." if amendment.text else ""
    return (
        f"{old['code']['text']}: {amendment.value} {unit}, amended by the reviewer, {line_name(amendment.label)}.{said}"
    )


def value_pattern(old: Json, label: str) -> re.Pattern[str]:
    """The sentence of `text.value_sentence` about this line."""
    name = re.escape(f"{old['code']['text']}: ")
    return re.compile(f"{name}(?:(?!{name}).)*?, {re.escape(line_name(label))}\\.")
