"""Which later observations concern which finding: the table of rules, applied by code."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.codes import LABEL_BY_CODE, PRESENCE, coding, concept
from tests.contract.written_bundles import CANONICAL
from workflows.report.rules import RULE_BY_CODE, RULES, rules_naming

STUDIED = "2026-11-23T09:12:00Z"


def finding(label: str, presence: Any = "detected") -> dict[str, Any]:
    return {
        "code": concept(coding(CANONICAL.code_system("finding-label"), label)),
        "valueCodeableConcept": concept(PRESENCE[presence]),
    }


def lab(loinc: str, value: float | None = 1.0, unit: str = "1", **more: Any) -> dict[str, Any]:
    quantity = {} if value is None else {"valueQuantity": {"value": value, "code": unit}}
    return {
        "resourceType": "Observation",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "effectiveDateTime": "2026-11-23T10:00:00Z",
        **quantity,
        **more,
    }


def named(
    label: str, observation: dict[str, Any], presence: Any = "detected", studied: str | None = STUDIED
) -> list[str]:
    return [rule.code for rule in rules_naming(CANONICAL, [finding(label, presence)], observation, studied)]


def test_coagulation_concerns_a_haemorrhage_and_nothing_else() -> None:
    assert named("intracranial-haemorrhage", lab("6301-6", 3.1)) == ["haemorrhage-coagulation"]
    assert named("pulmonary-nodule", lab("6301-6", 3.1)) == []
    assert named("intracranial-haemorrhage", lab("1988-5", 80.0)) == []


@pytest.mark.parametrize(("presence", "concerned"), [("detected", 1), ("indeterminate", 1), ("not-detected", 0)])
def test_a_finding_that_is_not_there_is_concerned_by_nothing(presence: str, concerned: int) -> None:
    assert len(named("consolidation", lab("33959-8", 0.9, "ng/mL"), presence)) == concerned


@pytest.mark.parametrize(
    ("value", "unit", "concerned"),
    [
        (80, "10*9/L", True),
        (240, "10*9/L", False),
        (80, "10*3/uL", True),
        (80_000, "/uL", True),
        (240_000, "/uL", False),
        (240, "G/l-as-the-lab-writes-it", True),
    ],
)
def test_a_limit_holds_in_every_unit_and_what_cannot_be_compared_is_told(
    value: float, unit: str, concerned: bool
) -> None:
    told = named("intracranial-haemorrhage", lab("777-3", value, unit)) == ["haemorrhage-platelets"]
    assert told is concerned


def test_a_value_beyond_the_analyser_is_told_and_no_value_is_no_news() -> None:
    beyond = lab("777-3", None, valueQuantity={"value": 150, "comparator": ">", "code": "10*9/L"})
    assert named("intracranial-haemorrhage", beyond) == ["haemorrhage-platelets"]
    assert named("intracranial-haemorrhage", lab("777-3", None, dataAbsentReason={"text": "clotted"})) == []


@pytest.mark.parametrize(
    ("measured", "news"),
    [("2026-11-24", True), ("2026-11-17", True), ("2026-11-10", False), ("2019", False), (None, True)],
)
def test_what_was_measured_long_before_the_study_is_history(measured: str | None, news: bool) -> None:
    old = lab("1988-5", 4.0) | ({"effectiveDateTime": measured} if measured else {})
    if measured is None:
        del old["effectiveDateTime"]
    assert (named("pulmonary-nodule", old) != []) is news
    assert named("pulmonary-nodule", old, studied=None) != []


def test_a_code_of_another_system_is_not_loinc() -> None:
    local = lab("6301-6") | {"code": {"coding": [{"system": "https://lab.example.org", "code": "6301-6"}]}}
    assert named("intracranial-haemorrhage", local) == []


def test_every_rule_is_about_a_finding_that_can_be_asked_for_and_says_why() -> None:
    assert len(RULE_BY_CODE) == len(RULES)
    for rule in RULES:
        assert rule.finding in LABEL_BY_CODE
        assert rule.loinc
        assert len(rule.reason) > 20
        assert len(rule.source) > 20
        assert "not-detected" not in rule.presence
