"""A history that is not all of the chart says so, on the terminal and in the result."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.report import HistoryWeighed
from schemas.timeline import Timeline
from services import show_timeline
from services.settings import Settings
from workflows.report.text import history_sentences
from workflows.timeline import build_timeline
from workflows.timeline.completeness import incomplete_sentence, search_report
from workflows.timeline.dates import age_at, ages_at
from workflows.timeline.line import patient_line

PATIENT = {"resourceType": "Patient", "id": "p", "gender": "male", "birthDate": "2006-03-01"}


def test_what_a_search_left_out_is_in_the_timeline_and_travels_with_it() -> None:
    said = search_report(["total-not-reached:Observation"], {"DocumentReference": 12, "RiskAssessment": 0})
    timeline = build_timeline("Patient/p", [PATIENT, *said, *said], study_instance_uid="1.2")
    assert timeline.incomplete == ["total-not-reached:Observation"]
    assert (timeline.left_out, timeline.other_types) == ({"other-type": 12}, {"DocumentReference": 12})
    assert Timeline.model_validate_json(timeline.model_dump_json()) == timeline
    assert search_report([], {"DocumentReference": 0}) == [], "a whole chart needs no remark"


def test_the_result_says_that_the_history_is_incomplete_and_why() -> None:
    codes = ["server-error:Condition", "total-not-reached:Condition", "total-not-reached:Observation"]
    history = HistoryWeighed(weighed=True, given=["Observation/a"], incomplete=codes)
    assert history_sentences(history)[-1] == (
        "The history is incomplete: the FHIR server reported an error while it searched (Condition); "
        "the FHIR server gave fewer than it counted (Condition, Observation). What is missing may change the reading."
    )
    assert incomplete_sentence([]) is None
    assert history_sentences(HistoryWeighed(weighed=True)) == [
        "The history was weighed after the images were read (0 entries)."
    ]


def test_a_history_with_nothing_to_weigh_is_called_incomplete_all_the_same() -> None:
    history = HistoryWeighed(weighed=False, reason="no-history", incomplete=["server-withholds:Observation"])
    assert "The history is incomplete" in history_sentences(history)[-1]


def test_an_operator_sees_what_is_missing_and_what_was_only_counted() -> None:
    class Server:
        def patient_record(self, patient: str) -> list[dict[str, Any]]:
            return [PATIENT, *search_report(["resources-cut:Observation"], {"Composition": 2})]

    shown = show_timeline.show(Server(), Settings(), "Patient/p", "", None, None)  # type: ignore[arg-type]
    notes = " ".join(show_timeline._notes(shown))
    assert "of other types: 2 Composition" in notes
    assert "The history is incomplete" in notes


# -- age ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "age"),
    [
        ("2024-02-29T23:59:00+01:00", 17),
        ("2024-03-01", 18),
        ("2024-03-01T00:10:00+02:00", 18),  # the day before in UTC: it is the patient's birthday where the patient is
        ("2025-02-28", 18),
        ("2006-03-01", 0),
        ("2006-02-28", None),
        ("", None),
    ],
)
def test_a_patient_is_eighteen_on_the_eighteenth_birthday(when: str, age: int | None) -> None:
    assert age_at("2006-03-01", when) == age


def test_a_partial_date_gives_the_ages_that_it_can_mean() -> None:
    assert ages_at("1960", "2026-03-01") == (65, 66)
    assert ages_at("1960-05", "2026-05-20") == (65, 66)
    assert age_at("1960", "2026-03-01") is None
    assert ages_at("1960-02-29", "2026") == (65, 66)


def test_the_model_is_told_the_age_at_the_study() -> None:
    def line(born: str) -> str:
        return patient_line(
            build_timeline("Patient/p", [PATIENT | {"birthDate": born}], study_instance_uid="1.2", as_of="2024-03-01")
        )

    assert line("2006-03-01") == "Patient: male, 18 years"
    assert line("2006") == "Patient: male, 17 to 18 years"
    assert line("soon") == "Patient: male, age unknown"


def test_list_and_report_agree_on_the_age() -> None:
    from services.inbox import view

    for day in ("2024-02-28", "2024-02-29", "2024-03-01", "2025-02-28", "2023-12-31"):
        for born in ("2006-03-01", "2004-02-29", "1999-12-31"):
            assert view.age_at(born, f"{day}T12:00:00Z") == age_at(born, day)
