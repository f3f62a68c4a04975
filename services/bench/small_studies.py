"""Small CT studies of patients with a chart, as many as are wanted: in the archive, in FHIR, and an event to announce each."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import func, select

from schemas.events import CloudEvent
from schemas.identifiers import Namespace
from services.adapters import archive, fhir
from services.db import open_database
from services.db.models import InboxEntry
from services.demo.ct import PatientTags, StudyTags, ct_series
from services.demo.load import Index, SeriesIndex, StudyIndex, load_chart, store_images
from services.demo.phantom import Grid
from services.demo.publish import study_event
from services.settings import Settings

GRID = Grid(slices=3, thickness=5.0, first_z=-5.0, rows=64, columns=64, pixel=5.0)
STARTED = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)


class SmallStudies:
    """Each of a patient of its own; `name` keeps those of one run apart from others."""

    def __init__(self, settings: Settings, name: str, started: datetime = STARTED, grid: Grid = GRID) -> None:
        self._settings = settings
        self._name = name
        self._started = started
        self._grid = grid
        self._made = 0

    def load(self, history: int) -> CloudEvent:
        """A patient with a chart of `history` observations and one study of three slices; the event that will announce it."""
        number, self._made, grid = self._made, self._made + 1, self._grid
        base, accessions = self._settings.canonical_base, self._settings.accessions
        patient, label = f"Patient/{self._name}-{number}", f"{self._name}{number}".upper()
        tags = PatientTags(label, "Bench^Mark", "19600101", "F")
        uids = Namespace(base, self._name)
        study = StudyTags(f"{self._name}-{number}", uids, label, self._started, "CT CHEST", "AXIAL 5.0")
        voxels = np.random.default_rng(number).integers(-1000, 400, (grid.slices, grid.rows, grid.columns))
        series = SeriesIndex(study.series_uid, "CT", 1, study.series_description, grid.slices)
        day = self._started.date().isoformat()
        index = StudyIndex(study.study_uid, tags.patient_id, "", day, "CT CHEST", study.accession, [series])
        with closing(fhir(self._settings)) as server, closing(archive(self._settings)) as pacs:
            load_chart(server, _chart(patient, history, self._started), patient, [index], Index(base, accessions))
            store_images(pacs, ct_series(tags, study, grid, voxels.astype(np.int16)))
            return study_event(self._settings, pacs.find_study(study.study_uid), patient)


def count_entries(settings: Settings) -> int:
    """Results in the inbox: one more for each study that has been read."""
    database = open_database(settings.database)
    try:
        with database.reading() as session:
            return session.scalar(select(func.count()).select_from(InboxEntry)) or 0
    finally:
        database.close()


def _chart(patient: str, history: int, started: datetime) -> dict[str, Any]:
    """Patient and observations as a transaction Bundle."""
    name = patient.partition("/")[2]
    resources: list[dict[str, Any]] = [{"resourceType": "Patient", "id": name, "birthDate": "1960-01-01"}]
    resources += [
        {
            "resourceType": "Observation",
            "id": f"{name}-{number}",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "2951-2"}], "text": "Sodium"},
            "subject": {"reference": patient},
            "effectiveDateTime": (started - timedelta(days=number)).isoformat(),
            "valueQuantity": {
                "value": 135 + number % 9,
                "unit": "mmol/L",
                "system": "http://unitsofmeasure.org",
                "code": "mmol/L",
            },
        }
        for number in range(history)
    ]
    entries = [
        {"resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}}
        for resource in resources
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}
