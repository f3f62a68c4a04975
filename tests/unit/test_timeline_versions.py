"""Corrections, withdrawals, preliminaries and the moment that is asked for: what stands, in whatever order it is told."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import PermanentFailure
from schemas.timeline import Timeline
from services.bench.timeline import PATIENT as BENCH
from services.bench.timeline import make_resources
from workflows.timeline import build_timeline

UID = "1.2.3.1"
PATIENT = {"resourceType": "Patient", "id": "p"}
CRP = {"coding": [{"system": "http://loinc.org", "code": "1988-5"}], "text": "CRP"}


def result(id: str, version: int, value: float, *, status: str = "final", **fields: Any) -> dict[str, Any]:
    meta = {"versionId": str(version), "lastUpdated": f"2026-03-0{version}T12:00:00Z"}
    quantity = {"value": value, "unit": "mg/L", "system": "http://unitsofmeasure.org", "code": "mg/L"}
    return {
        "resourceType": "Observation",
        "id": id,
        "meta": meta,
        "status": status,
        "subject": {"reference": "Patient/p"},
        "code": CRP,
        "effectiveDateTime": "2026-03-01T08:00:00Z",
        "valueQuantity": quantity,
        **fields,
    }


def timeline_of(*resources: dict[str, Any], **arguments: Any) -> Timeline:
    return build_timeline("Patient/p", [PATIENT, *resources], study_instance_uid=UID, **arguments)


def values(timeline: Timeline) -> list[str | None]:
    return [entry.value for entry in timeline.entries]


def test_the_newest_version_counts_whatever_comes_first() -> None:
    old, new = result("crp", 1, 5), result("crp", 2, 50, status="corrected")
    for given_order in ((old, new), (new, old), (new, old, new)):
        kept = timeline_of(*given_order)
        assert values(kept) == ["50"]
        assert kept.sources()[0] == "Observation/crp/_history/2"


def test_versions_without_numbers_are_ordered_by_time() -> None:
    old, new = result("crp", 1, 5), result("crp", 2, 50)
    old["meta"]["versionId"], new["meta"]["versionId"] = "zzz", "aaa"
    assert values(timeline_of(new, old)) == ["50"]


def test_what_was_entered_in_error_is_gone_even_if_its_first_version_comes_last() -> None:
    wrong = result("crp", 2, 5, status="entered-in-error")
    kept = timeline_of(wrong, result("crp", 1, 5))
    assert values(kept) == []
    assert kept.left_out == {"entered-in-error": 1}


def same(id: str, value: float, status: str, system: str = "urn:lab", **fields: Any) -> dict[str, Any]:
    return result(id, 1, value, status=status, identifier=[{"system": system, "value": "A17"}], **fields)


def test_a_preliminary_and_a_final_of_one_result_are_one() -> None:
    early, final = same("a", 5, "preliminary"), same("b", 50, "final")
    for given_order in ((early, final), (final, early)):
        kept = timeline_of(*given_order)
        assert values(kept) == ["50"]
        assert kept.left_out == {"replaced": 1}


def test_a_final_that_was_withdrawn_takes_its_preliminary_with_it() -> None:
    kept = timeline_of(same("a", 5, "preliminary"), same("b", 50, "entered-in-error"))
    assert values(kept) == []


def test_one_specimen_gives_one_result_unless_both_are_final() -> None:
    tube = {"specimen": {"reference": "Specimen/t"}}
    early, final, repeat = (
        result("a", 1, 5, status="preliminary", **tube),
        result("b", 1, 6, **tube),
        result("c", 1, 7, **tube),
    )
    assert values(timeline_of(early, final, repeat)) == ["6", "7"]
    assert values(timeline_of(early)) == ["5"]


def test_the_orders_number_on_every_result_does_not_make_them_one() -> None:
    other = same("b", 6, "final", code={"coding": [{"system": "http://loinc.org", "code": "718-7"}]})
    later = same("c", 7, "final", effectiveDateTime="2026-03-02T08:00:00Z")
    assert values(timeline_of(same("a", 5, "final"), other, later)) == ["5", "6", "7"]


# -- as of -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({"issued": "2026-03-01T09:00:00Z"}, True),
        ({"issued": "2026-03-01T10:30:00Z"}, False),
        ({"issued": "2026-03-01T11:30:00+02:00"}, True),
        ({"meta": {"lastUpdated": "2026-03-01T10:30:00Z"}}, False),
        ({"meta": {}}, True),
        ({"meta": {}, "effectiveDateTime": "2026-03-02"}, False),
    ],
)
def test_what_was_knowable_counts(fields: dict[str, Any], known: bool) -> None:
    kept = timeline_of(result("crp", 1, 5) | fields, as_of="2026-03-01T10:00:00Z")
    assert values(kept) == (["5"] if known else [])
    assert kept.left_out == ({} if known else {"after-as-of": 1})
    assert kept.as_of == "2026-03-01T10:00:00Z"


def test_a_correction_that_came_later_does_not_reach_back() -> None:
    first, second = result("crp", 1, 5), result("crp", 2, 50)
    assert values(timeline_of(first, second, as_of="2026-03-01T13:00:00Z")) == ["5"]
    assert values(timeline_of(first, second, as_of="2026-03-02T13:00:00Z")) == ["50"]


def test_a_later_version_alone_is_not_taken_for_what_was_known() -> None:
    corrected = result("crp", 2, 50, issued="2026-03-01T09:00:00Z")
    kept = timeline_of(corrected, as_of="2026-03-01T10:00:00Z")
    assert values(kept) == []
    assert kept.left_out == {"changed-after-as-of": 1}


def test_the_study_that_is_asked_about_is_known_to_itself() -> None:
    study = {
        "resourceType": "ImagingStudy",
        "id": "now",
        "meta": {"lastUpdated": "2026-03-01T11:00:00Z"},
        "status": "available",
        "subject": {"reference": "Patient/p"},
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"}],
        "started": "2026-03-01T10:00:00Z",
    }
    kept = timeline_of(study, result("crp", 1, 5), as_of="2026-03-01T10:00:00Z")
    assert kept.study is not None
    assert kept.left_out == {"after-as-of": 1}


def test_a_moment_that_is_no_date_is_refused() -> None:
    with pytest.raises(PermanentFailure, match="as-of-unreadable"):
        timeline_of(as_of="yesterday")


def test_one_malformed_resource_is_counted_and_the_others_are_read() -> None:
    broken = result("broken", 1, 5) | {"code": "CRP"}
    number = result("number", 1, 5) | {"effectiveDateTime": 2026}
    kept = timeline_of(broken, number, result("crp", 1, 7))
    assert values(kept) == ["7"]
    assert kept.left_out == {"unreadable": 2}


# -- properties ------------------------------------------------------------------------------------------------------------------


@st.composite
def charts(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Versions of a few results, some of them the same result under two ids."""
    made = []
    for _ in range(draw(st.integers(1, 8))):
        status = draw(st.sampled_from(["preliminary", "final", "corrected", "entered-in-error"]))
        one = result(draw(st.sampled_from("abc")), draw(st.integers(1, 3)), draw(st.integers(1, 9)), status=status)
        if draw(st.booleans()):
            one["identifier"] = [{"system": "urn:lab", "value": draw(st.sampled_from(["A", "B"]))}]
        if draw(st.booleans()):
            one["specimen"] = {"reference": "Specimen/t"}
        if draw(st.booleans()):
            one["issued"] = f"2026-03-0{draw(st.integers(1, 4))}T09:00:00Z"
        made.append(one)
    return made


@given(charts(), st.randoms(use_true_random=False), st.sampled_from([None, "2026-03-02T10:00:00Z"]))
def test_order_and_repetition_change_nothing(
    chart: list[dict[str, Any]], chance: random.Random, as_of: str | None
) -> None:
    told_again = chart + [chance.choice(chart) for _ in range(3)]
    chance.shuffle(told_again)
    assert timeline_of(*told_again, as_of=as_of) == timeline_of(*chart, as_of=as_of)


def test_a_long_history_is_the_same_in_any_order_and_travels_unchanged() -> None:
    chart = make_resources(400)
    shuffled = chart + chart[::7]
    random.Random(3).shuffle(shuffled)
    one, other = (build_timeline(BENCH, each, study_instance_uid=UID) for each in (chart, shuffled))
    assert one == other
    assert Timeline.model_validate_json(one.model_dump_json()) == one
    assert Timeline.model_validate(one.model_dump()) == one, (
        "entries that were made fast are what pydantic would have made"
    )
    assert one.left_out == {}


# -- one number on several results -----------------------------------------------------------------------------------------------


def test_two_glucose_values_of_one_order_and_minute_are_two_results() -> None:
    assert values(timeline_of(same("a", 60, "final"), same("b", 250, "final"))) == ["60", "250"]
    assert values(timeline_of(same("a", 60, "preliminary"), same("b", 250, "preliminary"))) == ["60", "250"]


def test_the_same_value_sent_twice_is_one_result_however_it_is_written() -> None:
    kept = timeline_of(same("a", 60, "final"), same("b", 60.0, "corrected"), same("c", 250, "final"))
    assert values(kept) == ["60.0", "250"]
    assert kept.left_out == {"replaced": 1}


def test_one_value_at_two_sites_is_two_results() -> None:
    left, right = (same(side, 60, "final", bodySite={"text": side}) for side in ("left", "right"))
    assert len(timeline_of(left, right).entries) == 2


def test_two_reports_of_one_number_that_conclude_otherwise_both_stand() -> None:
    def report(id: str, conclusion: str) -> dict[str, Any]:
        number = {"identifier": [{"system": "urn:ris", "value": "R1"}], "conclusion": conclusion, "valueQuantity": None}
        return {k: v for k, v in (result(id, 1, 0) | number).items() if v is not None} | {
            "resourceType": "DiagnosticReport"
        }

    assert len(timeline_of(report("a", "No nodule."), report("b", "Nodule of 6 mm.")).entries) == 2
    assert len(timeline_of(report("a", "No nodule."), report("b", "No nodule.")).entries) == 1


def test_versions_whose_numbers_keep_their_digits_can_be_put_in_order() -> None:
    from services.clients.fhir import SourceDecimal

    old, new = result("crp", 1, SourceDecimal("5.10")), result("crp", 1, SourceDecimal("5.20"))
    assert len(values(timeline_of(old, new))) == 1
