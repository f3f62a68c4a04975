"""Which study is compared with, and why not the others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codes import LOINC, SCT
from schemas.imaging import SeriesInventory, StudyInventory
from schemas.timeline import Coding, StudyEntry
from workflows.report_study.priors import shows_region
from workflows.timeline import PriorPolicy, Subject, build_timeline, choose_priors
from workflows.timeline.dates import span_of
from workflows.timeline.regions import region_of, side_of

NOW = Subject("1.9", span_of("2026-03-01T10:00:00Z"), frozenset({"CT"}), "chest")


def prior(uid: str, started: str, region: str | None = "chest", modality: str = "CT", **fields: Any) -> StudyEntry:
    return StudyEntry(
        resource=f"ImagingStudy/{uid}",
        study_instance_uid=uid,
        started=started,
        modalities=[modality],
        description=fields.pop("description", None),
        span=span_of(started),
        region=region,
        **fields,
    )


def decided(*studies: StudyEntry, subject: Subject = NOW, **policy: int) -> dict[str, str]:
    choices = choose_priors(studies, subject, PriorPolicy(**policy))
    return {choice.study_instance_uid: choice.reason for choice in choices}


def test_every_other_study_is_decided_with_a_reason() -> None:
    assert decided(
        prior("1.1", "2025-08-02"),
        prior("1.2", "2025-08-03", "head"),
        prior("1.3", "2025-08-04", modality="MR"),
        prior("1.4", "2001-01-01"),
        prior("1.5", "2026-03-02"),
        prior("1.6", "2026-03"),
        prior("1.7", "2025-01-01", None),
        prior("1.9", "2026-03-01T10:00:00Z"),
    ) == {
        "1.1": "same-region-same-modality",
        "1.2": "other-region",
        "1.3": "other-modality",
        "1.4": "too-old",
        "1.5": "not-earlier",
        "1.6": "date-unclear",
        "1.7": "region-unknown",
    }


def test_the_newest_are_taken_and_the_rest_is_beyond_the_limit() -> None:
    studies = [prior(f"1.{year}", f"{year}-01-01") for year in range(2018, 2026)]
    choices = choose_priors(studies, NOW, PriorPolicy(limit=2))
    assert [choice.study_instance_uid for choice in choices if choice.taken] == ["1.2025", "1.2024"]
    assert {choice.reason for choice in choices if not choice.taken} == {"beyond-limit"}


def test_a_known_region_goes_before_a_newer_unknown_one() -> None:
    choices = choose_priors([prior("1.1", "2020"), prior("1.2", "2025", None)], NOW)
    assert [choice.study_instance_uid for choice in choices if choice.taken] == ["1.1", "1.2"]


def test_two_unknown_regions_are_one_only_by_the_same_examination() -> None:
    unknown = Subject("1.9", NOW.span, NOW.modalities, None, examination=frozenset({"ct fuss rechts"}))
    same, other = prior("1.1", "2025", None, description="CT Fuss rechts"), prior("1.2", "2025", None)
    assert decided(same, other, subject=unknown) == {"1.1": "same-examination", "1.2": "region-unknown"}


def test_the_other_wrist_is_no_prior() -> None:
    wrist = Subject("1.9", NOW.span, frozenset({"DX"}), "wrist", side="left")
    right = prior("1.1", "2025", "wrist", "DX", side="right")
    assert decided(right, subject=wrist) == {"1.1": "other-side"}


@pytest.mark.parametrize(
    ("codings", "words", "region"),
    [
        ([Coding(system=SCT, code="51185008", display="Thoracic structure")], ["knee"], "chest"),
        ([Coding(system=LOINC, code="24627-2")], [], "chest"),
        ([], ["CT Brain without contrast"], "head"),
        ([], [None, "XR KNEE 2 views"], "knee"),
        ([], ["Röntgen"], None),
    ],
)
def test_codes_tell_the_region_before_words(codings: list[Coding], words: list[str | None], region: str | None) -> None:
    assert region_of(codings, words) == region


def test_a_side_is_told_only_where_one_is_named() -> None:
    assert side_of([], ["left wrist"]) == "left"
    assert side_of([], ["left and right wrist"]) is None
    assert side_of([Coding(system=SCT, code="24028007")], []) == "right"


@given(
    st.permutations([prior(f"1.{n}", f"20{10 + n}", region) for n, region in enumerate(["chest", "head", None] * 2)])
)
def test_the_choice_does_not_depend_on_the_order(studies: list[StudyEntry]) -> None:
    assert choose_priors(studies, NOW) == choose_priors(sorted(studies, key=lambda s: s.resource), NOW)


# -- what the archive adds -------------------------------------------------------------------------------------------------------


def inventory(uid: str, description: str | None, date: str | None = "20250802") -> StudyInventory:
    series = SeriesInventory(
        series_instance_uid=f"{uid}.1", modality="CT", series_number=1, description=None, instance_count=30
    )
    return StudyInventory(
        study_instance_uid=uid,
        patient_id="p",
        issuer_of_patient_id=None,
        accession_number=None,
        study_date=date,
        study_time="101500.000",
        description=description,
        series=[series],
        sop_instance_uids=[],
    )


def test_the_archive_tells_the_region_that_fhir_does_not_know() -> None:
    choice = choose_priors([prior("1.1", "2025", None)], NOW)[0]
    assert shows_region(choice, inventory("1.1", "CT thorax"), NOW)
    assert not shows_region(choice, inventory("1.1", "CT head"), NOW)
    assert not shows_region(choice, inventory("1.1", None), NOW)


def test_a_study_that_only_the_archive_knows_is_part_of_the_history() -> None:
    patient = {"resourceType": "Patient", "id": "p"}
    known = {
        "resourceType": "ImagingStudy",
        "id": "s",
        "subject": {"reference": "Patient/p"},
        "status": "available",
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.1"}],
    }
    kept = build_timeline(
        "Patient/p",
        [patient, known],
        study_instance_uid="1.9",
        studies=[inventory("1.1", "CT thorax"), inventory("1.2", "CT head", "20240101")],
    )
    assert [(p.resource, p.region, p.started) for p in kept.priors] == [
        ("ImagingStudy/s", "chest", "2025-08-02T10:15:00.000"),
        ("urn:oid:1.2", "head", "2024-01-01T10:15:00.000"),
    ]
    assert "urn:oid:1.2" in [entry.resource for entry in kept.entries]
    assert kept.sources() == ["ImagingStudy/s", "Patient/p"]
