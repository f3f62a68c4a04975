"""Which study is the earlier one: by DICOM's dates, and by FHIR's order only where they do not tell."""

from __future__ import annotations

import pytest

from schemas.imaging import StudyInventory
from workflows.report_study.imaging import is_earlier


def study(date: str | None, time: str | None = None) -> StudyInventory:
    return StudyInventory(
        study_instance_uid="1.2",
        patient_id="p",
        issuer_of_patient_id=None,
        accession_number=None,
        study_date=date,
        study_time=time,
        description=None,
        series=[],
        sop_instance_uids=[],
    )


@pytest.mark.parametrize(
    ("prior", "current", "known", "earlier"),
    [
        (study("20250905"), study("20260310"), False, True),
        (study("20260311"), study("20260310"), True, False),
        (study("20260310", "080000"), study("20260310", "093000"), False, True),
        (study("20260310", "100000"), study("20260310", "093000"), True, False),
        (study("20260310"), study("20260310", "093000"), True, True),
        (study("20260310"), study("20260310", "093000"), False, False),
        (study(None), study("20260310"), True, True),
        (study("20250905"), study(None), False, False),
    ],
)
def test_a_later_study_is_never_taken_for_a_prior(
    prior: StudyInventory, current: StudyInventory, known: bool, earlier: bool
) -> None:
    assert is_earlier(prior, current, known_to_fhir=known) is earlier
