"""Nothing that the system writes about its work names a patient: logs, workflow ids, runs, dead letters, ready files."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path

import httpx
import pytest

from services.adapters import temporal
from services.clients.kafka import Producer
from services.demo.publish import publish_study
from services.demo.subject import Subject, phantom_subject
from services.operate import list_dead_letters, list_runs
from tests.integration.identifiers import named_in, secrets
from tests.integration.system import System

pytestmark = pytest.mark.integration
SEED = 777_123
KEEPERS = ("longview.db", "temporal", "fhir", "archive", "store", "payload", "broker")
"""What holds charts and pixels by its purpose; Temporal's own database is looked at below, since its payloads are encrypted."""


@pytest.fixture(scope="module")
def subject(system: System) -> Subject:
    """A patient who has been through everything: read, failed, refused and dead-lettered."""
    made = phantom_subject(SEED, system.settings.canonical_base, system.settings.accessions)
    system.load(made)
    system.result(system.announce(made).workflow_id)
    prior = made.studies[0].uid
    system.failed_run(publish_study(system.settings, prior, "Patient/not-this-one").study_key)
    producer = Producer(system.settings.kafka_bootstrap)
    try:
        producer.send("hospital.imaging-study.v1", b"k", json.dumps({"patient": made.bundle}).encode()[:5000], [])
    finally:
        producer.close()
    with httpx.Client(base_url=system.settings.inbox_url, trust_env=False) as clinician:
        [(result, _)] = system.inbox_entries(made.studies[-1].uid)
        for path in ("/", f"/results/{result}", f"/results/{result}/evidence/1/current", f"/results/{prior}"):
            clinician.get(path)
        assert "Phantom" in clinician.get("/?shown=all").text
    system.kill("worker")
    system.restart()
    return made


def test_the_list_of_secrets_is_long(subject: Subject) -> None:
    known = secrets(subject)
    assert len(known) > 120
    assert {"PH777123", "19580214"} <= known


def test_no_log_names_a_patient(system: System, subject: Subject) -> None:
    known = secrets(subject)
    logs = sorted(system.logs.glob("*.log"))
    assert {"gateway.log", "worker.log", "model.log", "fhir.log", "archive.log", "inbox.log"} <= {
        log.name for log in logs
    }
    for log in logs:
        assert named_in(log.read_text(errors="replace"), known) == set(), f"{log.name} names a patient"


def test_no_other_file_outside_the_keepers_names_a_patient(system: System, subject: Subject) -> None:
    known = secrets(subject)
    files = [path for path in system.settings.state.rglob("*") if path.is_file() and not kept(system, path)]
    assert files
    for path in files:
        assert named_in(path.read_bytes().decode(errors="replace"), known) == set(), path.name


def kept(system: System, path: Path) -> bool:
    return path.relative_to(system.settings.state).parts[0].startswith(KEEPERS)


def test_temporal_sees_neither_identifiers_nor_payloads(system: System, subject: Subject) -> None:
    """Its database is searched as bytes, and as the base64 that payloads might be written in."""
    known = secrets(subject)
    stored = b"".join(path.read_bytes() for path in (system.settings.state / "temporal").glob("*.db*"))
    assert len(stored) > 100_000
    for secret in known:
        assert secret.encode() not in stored
        assert base64.b64encode(secret.encode()).rstrip(b"=")[:-1] not in stored or len(secret) < 8
    ids = asyncio.run(workflow_ids(system))
    assert ids
    ours = (
        r"(study|patient)-[0-9a-f-]{36}|longview-reconcile-[0-9T:Z-]+"  # a pass of reconciliation is named by its hour
    )
    assert [each for each in ids if not re.fullmatch(ours, each)] == []


async def workflow_ids(system: System) -> list[str]:
    client = await temporal(system.settings)
    return [execution.id async for execution in client.list_workflows()]


def test_what_operators_are_shown_names_no_patient(system: System, subject: Subject) -> None:
    shown = json.dumps([list_runs(system.settings), list_dead_letters(system.settings)], default=str)
    assert named_in(shown, secrets(subject)) == set()


def test_the_events_that_we_publish_carry_references_alone(system: System, subject: Subject) -> None:
    """The StudyInstanceUID and the reference of the patient are what consumers need; names, dates and text are not."""
    uids = {study.uid for study in subject.studies} | {subject.patient.partition("/")[2]}
    key = system.settings.namespace.study_key(subject.studies[-1].uid)
    events = " ".join(event for event, _ in system.query("SELECT event, topic FROM outbox WHERE key = :x", key))
    assert events
    assert named_in(events, secrets(subject) - uids) == set()
