"""One study through Apache Kafka, HAPI FHIR, Orthanc and PostgreSQL, by the command that a person types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition

from schemas.events import RESULT_AVAILABLE, RESULT_TOPIC, parse_event
from tests.contract.written_bundles import CANONICAL
from tests.real import parts
from tests.real.hl7_validator import validator
from tests.real.test_fhir_validator import PROFILES

pytestmark = pytest.mark.real
FHIR_JSON = {"Accept": "application/fhir+json", "Cache-Control": "no-cache"}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings that name the real parts; the database is a new one."""
    folder = tmp_path_factory.mktemp("parts")
    with ExitStack() as started:
        bootstrap = started.enter_context(parts.kafka(folder))
        archive = started.enter_context(parts.orthanc(folder))
        server = started.enter_context(parts.postgres(folder))
        fhir = started.enter_context(parts.hapi(folder))
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute("DROP DATABASE IF EXISTS journey WITH (FORCE)")
            admin.execute("CREATE DATABASE journey")
        yield {
            "LONGVIEW_KAFKA_BOOTSTRAP": bootstrap,
            "LONGVIEW_DICOMWEB_URL": archive,
            "LONGVIEW_DATABASE_URL": server.rpartition("/")[0] + "/journey",
            "LONGVIEW_FHIR_URL": fhir,
        }


@pytest.fixture(scope="module")
def told(real: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the demonstration said at its end."""
    folder = tmp_path_factory.mktemp("journey")
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LONGVIEW_") or name == "LONGVIEW_CACHE"
    }
    environment = ours | real | {"LONGVIEW_STATE_DIR": str(folder / "state")}
    command = [str(Path(sys.executable).with_name("longview")), "demo", "--once", "--json"]
    run = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=800, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-6000:]
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def get(real: dict[str, str], reference: str) -> Any:
    response = httpx.get(f"{real['LONGVIEW_FHIR_URL']}/{reference}", headers=FHIR_JSON, timeout=30.0, trust_env=False)
    assert response.status_code == 200, response.text[:500]
    return response.json()


def test_the_command_tells_what_happened(told: dict[str, Any]) -> None:
    assert told["status"] == "partial"
    assert "AIAST" in told["labels"]
    assert told["report"].startswith("DiagnosticReport/")
    assert told["task"].startswith("Task/")
    assert isinstance(told["findings"], list)
    assert told["steps"]
    assert all(seconds >= 0 for seconds in told["steps"].values())
    assert told["inbox_url"].startswith("http://127.0.0.1:")


def test_an_untrained_model_is_said_to_be_untrained(told: dict[str, Any]) -> None:
    assert told["release"] == "untrained"
    assert told["notice"]


def test_hapi_holds_exactly_one_labelled_report_and_its_task(real: dict[str, str], told: dict[str, Any]) -> None:
    report = get(real, told["report"])
    assert report["status"] == "partial"
    assert "AIAST" in [label["code"] for label in report["meta"]["security"]]
    ours = get(real, f"DiagnosticReport?_security=AIAST&subject={report['subject']['reference']}&_summary=count")
    assert ours["total"] == 1
    task = get(real, told["task"])
    assert (task["intent"], task["status"]) == ("order", "requested")
    assert any(told["report"] in json.dumps(task.get(field, "")) for field in ("focus", "input", "output", "basedOn"))
    for finding in report.get("result", []):
        observation = get(real, finding["reference"].split("/_history/")[0])
        assert observation["status"] == "preliminary"
        assert "AIAST" in [label["code"] for label in observation["meta"]["security"]]
    provenance = get(real, f"Provenance?target={told['report']}")
    assert len(provenance["entry"]) == 1


def test_what_was_written_passes_hl7s_validator(real: dict[str, str], told: dict[str, Any], tmp_path: Path) -> None:
    report = get(real, told["report"])
    references = [
        told["report"],
        told["task"],
        *(r["reference"].split("/_history/")[0] for r in report.get("result", [])),
    ]
    resources = [get(real, reference) for reference in references]
    resources += [entry["resource"] for entry in get(real, f"Provenance?target={told['report']}")["entry"]]
    entries = [
        {"fullUrl": f"{real['LONGVIEW_FHIR_URL']}/{r['resourceType']}/{r['id']}", "resource": r} for r in resources
    ]
    with validator(tmp_path, CANONICAL, PROFILES) as running:
        assert running.errors({"resourceType": "Bundle", "type": "collection", "entry": entries}) == []


def test_kafka_holds_one_result_event_without_identifiers_of_the_study(
    real: dict[str, str], told: dict[str, Any]
) -> None:
    consumer = KafkaConsumer(
        bootstrap_servers=real["LONGVIEW_KAFKA_BOOTSTRAP"], enable_auto_commit=False, consumer_timeout_ms=5000
    )
    consumer.assign([TopicPartition(RESULT_TOPIC, n) for n in sorted(consumer.partitions_for_topic(RESULT_TOPIC))])
    consumer.seek_to_beginning()
    events = [parse_event(message.headers, message.value) for message in consumer]
    consumer.close()
    assert [event.type for event in events] == [RESULT_AVAILABLE]
    assert events[0].data["diagnosticReport"].startswith(told["report"])


def test_postgresql_holds_one_run_and_one_inbox_entry(real: dict[str, str], told: dict[str, Any]) -> None:
    with psycopg.connect(real["LONGVIEW_DATABASE_URL"]) as database:
        [entry] = database.execute("SELECT result_id FROM inbox_entry").fetchall()
        [run] = database.execute("SELECT result_id, state FROM run").fetchall()
    assert entry[0] == run[0] == told["result_id"]


def test_orthanc_holds_the_study_and_its_prior(real: dict[str, str], told: dict[str, Any]) -> None:
    studies = httpx.get(f"{real['LONGVIEW_DICOMWEB_URL']}/studies", timeout=30.0, trust_env=False).json()
    assert len(studies) >= 2
    assert told["compared_with"], "the prior study was not found in the archive"
