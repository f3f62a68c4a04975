"""`longview audit`, as an officer for data protection uses it at the terminal."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from schemas.audit import AuditEntry, AuditPerson, new_audit_id
from services.cli import main
from services.db import AuditTrail, open_migrated
from services.db.audit import now_text
from services.settings import Settings


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Three people looked at one patient, one at another."""
    found = Settings(state_dir=str(tmp_path))
    monkeypatch.setattr("services.parts.launcher.connected_settings", lambda settings: settings)
    monkeypatch.setattr(Settings, "from_environment", classmethod(lambda cls: found))
    database = open_migrated(found.database)
    for name, patient in (("Dr. A", "p1"), ("Dr. B", "p1"), ("Dr. C", "p1"), ("Dr. D", "p2")):
        AuditTrail(database).record(
            AuditEntry(
                event_id=new_audit_id(),
                kind="result-opened",
                at=now_text(),
                process="inbox",
                person=AuditPerson(name=name),
                address="10.0.0.7",
                patient=f"Patient/{patient}",
                data="DiagnosticReport/r/_history/1",
                result_id="result-1",
            )
        )
    database.close()
    return found


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["audit", *arguments], catch_exceptions=False)


def shown(*arguments: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(run("--json", *arguments).output)["audit"]
    return rows


def change(settings: Settings, statement: str) -> None:
    database = open_migrated(settings.database)
    with database.engine.execution_options(longview_write=True).begin() as connection:
        for verb in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER IF EXISTS audit_events_no_{verb}"))
        connection.execute(text(statement))
    database.close()


def test_who_has_looked_at_a_patient(settings: Settings) -> None:
    assert [row["person"]["name"] for row in shown("--patient", "p1")][1:] == ["Dr. C", "Dr. B", "Dr. A"]
    table = run("--patient", "Patient/p2").output
    assert "Dr. D" in table
    assert "Dr. A" not in table
    assert shown("--since", "2099-01-01") == []
    assert len(shown("--limit", "2")) == 2


def test_what_names_no_patient_is_refused_and_not_kept(settings: Settings) -> None:
    result = run("--patient", "Lindqvist, Maren")
    assert (result.exit_code, "a patient is Patient/ID" in result.output) == (1, True)
    assert "Lindqvist" not in json.dumps(shown())


def test_whoever_looks_into_the_trail_is_in_it(settings: Settings) -> None:
    run("--patient", "p1")
    newest = shown("--patient", "p1")[1]
    assert (newest["kind"], newest["person"]["name"], newest["process"]) == (
        "audit-read",
        getpass.getuser(),
        "operator",
    )


def test_an_intact_trail_gives_a_head_to_note_elsewhere(settings: Settings) -> None:
    result = run("--verify")
    assert result.exit_code == 0
    assert "4 entries, none changed or removed. Head: 4:" in result.output
    head = json.loads(run("--verify", "--json").output)["head"]
    assert run("--verify", "--anchor", head).exit_code == 0
    change(settings, "DELETE FROM audit_events WHERE seq = 4")
    assert run("--verify").exit_code == 0
    assert run("--verify", "--anchor", head).exit_code == 1


def test_a_changed_entry_is_status_1_and_one_sentence(settings: Settings) -> None:
    change(settings, "UPDATE audit_events SET document = replace(document, 'Dr. B', 'Dr. X') WHERE seq = 2")
    result = run("--verify")
    assert result.exit_code == 1
    assert "entry 2 of the audit trail does not follow from the entries before it" in result.output


def test_an_anchor_that_is_none_is_refused(settings: Settings) -> None:
    result = run("--verify", "--anchor", "yesterday")
    assert result.exit_code == 1
    assert "SEQ:HASH" in result.output
