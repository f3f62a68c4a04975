"""The story of the demonstration: a nodule of the right lung that grew from 9 to 14 mm in half a year."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.identifiers import Namespace
from services.demo.ct import PatientTags, StudyTags, ct_series
from services.demo.history import Chart, chart_bundle
from services.demo.phantom import Chest, Grid, Sphere, make_vessels, scan

CURRENT_STARTED = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
"""Fixed, so that the same seed always gives the same bytes."""
MONTHS_APART = timedelta(days=186)
PRIOR_DIAMETER, CURRENT_DIAMETER = 9.0, 14.0
PRIOR_GRID = Grid(slices=32, thickness=5.0, first_z=-77.0)
CURRENT_GRID = Grid(slices=40, thickness=4.0, first_z=-78.0)
NODULE_AT = (-82.0, -20.0, 24.0)
NAMES = (("Ada", "F"), ("Bruno", "M"), ("Clara", "F"), ("Dario", "M"), ("Edda", "F"), ("Felix", "M"))


@dataclass(frozen=True)
class DicomStudy:
    """One study as Part 10 files, and what its first file says of it."""

    study_instance_uid: str
    patient_id: str
    issuer: str
    files: list[bytes]


@dataclass(frozen=True)
class Story:
    """A patient's chart and images; the last study is the one to be read."""

    bundle: dict[str, Any]
    patient: str
    studies: list[DicomStudy]


def phantom_story(seed: int, canonical_base: str, accession_system: str) -> Story:
    """Patient, chart, a prior CT and a current one; equal arguments give equal bytes, UIDs included."""
    chart = _chart(seed, canonical_base, accession_system)
    vessels = make_vessels(seed, _nodule(CURRENT_DIAMETER))
    prior = Chest(vessels, _nodule(PRIOR_DIAMETER))
    current = Chest(vessels, _nodule(CURRENT_DIAMETER), shift=(3.0, -2.0, 2.0))
    studies = [
        _study(chart.patient, chart.prior, PRIOR_GRID, prior, 2 * seed),
        _study(chart.patient, chart.current, CURRENT_GRID, current, 2 * seed + 1),
    ]
    return Story(chart_bundle(chart), chart.subject, studies)


def _nodule(diameter: float) -> Sphere:
    return Sphere(*NODULE_AT, diameter)


def _chart(seed: int, canonical_base: str, accession_system: str) -> Chart:
    given, sex = NAMES[seed % len(NAMES)]
    patient = PatientTags(f"PH{seed:06d}", f"Phantom^{given}", "19580214", sex)
    uids = Namespace(canonical_base, "demo")
    prior = StudyTags(
        f"{seed}-prior",
        uids,
        f"D{seed:05d}A",
        CURRENT_STARTED - MONTHS_APART,
        "CT CHEST WITHOUT CONTRAST",
        "AXIAL 5.0 STANDARD",
    )
    current = StudyTags(
        f"{seed}-current", uids, f"D{seed:05d}B", CURRENT_STARTED, "CT CHEST WITHOUT CONTRAST", "AXIAL 4.0 STANDARD"
    )
    return Chart(
        base=canonical_base,
        prefix=f"demo-{seed}",
        patient=patient,
        given=given,
        family="Phantom",
        prior=prior,
        current=current,
        slices=(PRIOR_GRID.slices, CURRENT_GRID.slices),
        mrn_system=f"{canonical_base}/sid/mrn",
        accession_system=accession_system,
    )


def _study(patient: PatientTags, study: StudyTags, grid: Grid, chest: Chest, seed: int) -> DicomStudy:
    return DicomStudy(study.study_uid, patient.patient_id, "", ct_series(patient, study, grid, scan(chest, grid, seed)))
