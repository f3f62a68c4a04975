"""Which prior a reading fetches: the same region only, and every choice is kept with its reason."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest

from schemas.identifiers import Namespace, canonical_json
from schemas.imaging import SeriesInventory, SeriesVolume, StoredStack, StudyInventory
from schemas.inference import ModelRelease
from schemas.runs import FetchPrior, PriorFetched, StudyFetched
from schemas.timeline import Timeline
from services.store import FolderObjectStore
from workflows.report_study import activities as module
from workflows.report_study.activities import ReportStudyActivities
from workflows.report_study.assembly import Site
from workflows.timeline import build_timeline

PATIENT = {"resourceType": "Patient", "id": "p", "identifier": [{"system": "urn:mrn", "value": "MRN1"}]}
STUDIES = {
    "1.9": ("20260301", "CT chest"),
    "1.1": ("20250801", "CT chest"),
    "1.2": ("20250901", "CT head"),
    "1.3": ("20251001", None),
    "1.4": ("20251101", "CT thorax low dose"),
    "1.5": ("20250901", "CT chest"),
    "1.6": ("20251001", "CT chest"),
    "1.7": ("20240801", "CT chest"),
}


def inventory(uid: str) -> StudyInventory:
    date, description = STUDIES[uid]
    series = SeriesInventory(
        series_instance_uid=f"{uid}.1", modality="CT", series_number=1, description=None, instance_count=30
    )
    return StudyInventory(
        study_instance_uid=uid,
        patient_id="MRN1",
        issuer_of_patient_id=None,
        accession_number=None,
        study_date=date,
        study_time=None,
        description=description,
        series=[series],
        sop_instance_uids=[f"{uid}.1.1"],
    )


def imaging_study(uid: str, *, described: bool = True) -> dict[str, Any]:
    date, description = STUDIES[uid]
    return {
        "resourceType": "ImagingStudy",
        "id": uid,
        "status": "available",
        "subject": {"reference": "Patient/p"},
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
        "started": f"{date[:4]}-{date[4:6]}-{date[6:]}",
        "modality": [{"code": "CT"}],
        **({"description": description} if described and description else {}),
    }


class Archive:
    def find_study(self, study_instance_uid: str) -> StudyInventory:
        return inventory(study_instance_uid)


class Model:
    family = "medgemma-1.5-4b"

    def release(self) -> ModelRelease:
        return cast(ModelRelease, type("Release", (), {"max_slices": 8, "family": self.family})())


def volume() -> StoredStack:
    series = SeriesVolume(
        study_instance_uid="1.9",
        series_instance_uid="1.9.1",
        series_number=1,
        modality="CT",
        description="axial",
        body_part="CHEST",
        frame_of_reference_uid=None,
        rows=1,
        columns=1,
        row_spacing=1,
        column_spacing=1,
        origin=(0, 0, 0),
        row_direction=(1, 0, 0),
        column_direction=(0, 1, 0),
        slice_step=(0, 0, 1),
        units="HU",
        frames=[],
    )
    return StoredStack(series=series, volume_digest="v", model_volume_digest="m", model_slices=[], reason="only")


@pytest.fixture
def fetch(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fetches the prior of study 1.9 in a chart; gives the answer and the choices that were kept."""
    store = FolderObjectStore(tmp_path)
    fetched = StudyFetched(volume="d", sop_instance_uids="u", inventory_digest="i", slices=3)
    monkeypatch.setattr(module, "fetch_stacks", lambda *arguments: fetched)
    site = Site(Namespace("https://b.example", "t"), "urn:x", "o", "r", "http://d", False, {})
    nothing = cast(Any, None)
    steps = ReportStudyActivities(
        site,
        fhir=nothing,
        archive=cast(Any, Archive()),
        model=cast(Any, Model()),
        store=store,
        memory=nothing,
        runs=nothing,
        inbox=nothing,
        builds=nothing,
        text_in_pixels=nothing,
    )

    def run(*studies: dict[str, Any]) -> tuple[PriorFetched, dict[str, str]]:
        timeline: Timeline = build_timeline("Patient/p", [PATIENT, *studies], study_instance_uid="1.9")
        kept = store.put(canonical_json(timeline.model_dump(mode="json")))
        current = StudyFetched(
            volume=store.put(canonical_json(volume().model_dump())),
            sop_instance_uids="u",
            inventory_digest="i",
            slices=3,
        )
        found = steps.fetch_prior(FetchPrior(timeline=kept, current=current))
        choices = orjson.loads(store.get(found.choices)) if found.choices else []
        return found, {one["study_instance_uid"]: one["reason"] for one in choices}

    return run


def test_the_newest_study_of_the_same_region_is_compared_not_the_newest(fetch: Any) -> None:
    found, reasons = fetch(imaging_study("1.9"), imaging_study("1.1"), imaging_study("1.2"))
    assert found.study.study_instance_uid == "1.1"
    assert reasons == {"1.1": "same-region-same-modality", "1.2": "other-region"}


def test_the_archive_tells_the_region_where_fhir_does_not(fetch: Any) -> None:
    found, reasons = fetch(imaging_study("1.9"), imaging_study("1.4", described=False), imaging_study("1.3"))
    assert reasons == {"1.3": "region-unknown", "1.4": "region-unknown"}
    assert found.study.study_instance_uid == "1.4"


def test_a_study_of_an_unknown_region_is_not_compared_and_it_is_said(fetch: Any) -> None:
    found, _ = fetch(imaging_study("1.9"), imaging_study("1.3"))
    assert found.fetched is None
    assert found.reason == "prior-region-unknown"


def test_without_any_prior_nothing_is_asked_of_the_archive(fetch: Any) -> None:
    found, reasons = fetch(imaging_study("1.9"))
    assert (found.reason, found.choices, reasons) == ("no-prior", None, {})


def test_a_model_of_one_picture_at_a_time_is_shown_no_prior_and_it_is_said(
    fetch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "family", "llava-med-1.5")
    found, _ = fetch(imaging_study("1.9"), imaging_study("1.1"))
    assert (found.fetched, found.reason) == (None, "model-one-study")


def test_three_priors_are_shown_the_newest_is_named(fetch: Any) -> None:
    """Oldest first, so that what was asked yesterday is the beginning of what is asked today."""
    found, reasons = fetch(*(imaging_study(uid) for uid in ("1.9", "1.5", "1.7", "1.6", "1.1")))
    assert found.study.study_instance_uid == "1.6"
    assert [prior.study.study_instance_uid for prior in found.earlier] == ["1.1", "1.5"]
    assert len(found.shown) == 3
    assert set(reasons.values()) == {"same-region-same-modality"}
