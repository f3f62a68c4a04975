"""`longview timeline`: what an operator sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.errors import TransientFailure
from services import show_timeline
from services.cli import main
from services.db import AuditTrail, open_migrated
from services.settings import Settings

CHART: list[dict[str, Any]] = [
    {"resourceType": "Patient", "id": "p", "meta": {"versionId": "2"}, "name": [{"family": "Doe"}], "gender": "female"},
    {
        "resourceType": "Observation",
        "id": "crea",
        "meta": {"versionId": "4"},
        "status": "final",
        "subject": {"reference": "Patient/p"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "14682-9"}], "text": "Creatinine"},
        "effectiveDateTime": "2026-01-05T08:00:00Z",
        "valueQuantity": {"value": 88.4, "unit": "µmol/l", "system": "http://unitsofmeasure.org", "code": "umol/L"},
    },
    {
        "resourceType": "ImagingStudy",
        "id": "old",
        "status": "available",
        "subject": {"reference": "Patient/p"},
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.1"}],
        "started": "2025-01-01",
        "modality": [{"code": "CT"}],
        "description": "CT chest",
    },
]


class Chart:
    """A FHIR server of one chart."""

    def patient_record(self, patient: str) -> list[dict[str, Any]]:
        assert patient == "Patient/p"
        return CHART

    def close(self) -> None:
        pass


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr("services.adapters.fhir", lambda settings: Chart())
    monkeypatch.setattr("services.parts.launcher.connected_settings", lambda settings: settings)
    monkeypatch.setattr(Settings, "from_environment", classmethod(lambda cls: cls(state_dir=str(tmp_path))))
    return lambda *arguments: CliRunner().invoke(main, ["timeline", *arguments], catch_exceptions=False)


def test_a_person_sees_values_in_one_unit_with_their_source_and_priors_with_reasons(run: Any) -> None:
    result = run("p", "--tokens", "40")
    assert result.exit_code == 0
    assert "1 mg/dL" in result.output
    assert "Observation/crea/_history/4" in result.output
    assert "region-unknown" in result.output, "without --study nobody knows what is compared"
    assert "The history was shortened to" in result.output


def test_a_machine_gets_the_timeline_as_it_is_kept(run: Any) -> None:
    document = json.loads(run("Patient/p", "--as-of", "2025-06-01", "--json").output)
    assert [entry["resource"] for entry in document["timeline"]["entries"]] == ["ImagingStudy/old"]
    assert document["timeline"]["left_out"] == {"after-as-of": 1}


def test_a_moment_that_is_no_date_is_one_sentence(run: Any) -> None:
    result = run("p", "--as-of", "yesterday")
    assert result.exit_code == 1
    assert result.output.startswith("longview: the moment asked for is no FHIR date")


def test_control_characters_of_a_chart_do_not_reach_the_terminal() -> None:
    rude = [CHART[0], CHART[1] | {"code": {"text": "\x1b[31mCreatinine\x07"}}]
    chart = Chart()
    chart.patient_record = lambda patient: rude  # type: ignore[method-assign]
    shown = show_timeline.show(chart, Settings(), "Patient/p", "", None, None)  # type: ignore[arg-type]
    assert show_timeline._row(shown.timeline.entries[0])[3] == "[31mCreatinine"


def test_who_looked_at_a_history_is_recorded_before_it_is_shown(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def away(*_: Any) -> Any:
        raise TransientFailure("fhir-unavailable", "away")

    monkeypatch.setattr(Chart, "patient_record", away)
    assert run("p").exit_code == 1, "the control: nothing could be shown"
    database = open_migrated(Settings(state_dir=str(tmp_path)).database)
    [row] = AuditTrail(database).entries()
    database.close()
    assert (row.entry.kind, row.entry.process, row.entry.patient) == ("history-read", "operator", "Patient/p")
    assert row.entry.person is not None
    assert row.entry.person.name
