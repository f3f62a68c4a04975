"""The launcher with the real embedded parts: all at once, each by itself, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from kafka.admin import KafkaAdminClient

from schemas.events import INBOUND_TOPICS, dead_letter_topic
from services.parts.launcher import Launcher, Outcome
from services.parts.process import ProcessId, is_alive, members
from services.parts.state import PartsFile
from services.parts.status import part_states
from services.settings import Settings

PARTS = ("broker", "temporal", "fhir", "archive")
pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Started:
    outcomes: list[Outcome]
    seconds: float


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(state_dir=str(tmp_path_factory.mktemp("launcher") / "state"))


@pytest.fixture(scope="module")
def started(settings: Settings) -> Iterator[Started]:
    launcher = Launcher(settings)
    began = time.monotonic()
    outcomes = launcher.up(PARTS)
    seconds = time.monotonic() - began
    print(f"\nup in {seconds:.1f} s:", {o.name: o.seconds for o in outcomes})
    processes = process_ids(settings)
    yield Started(outcomes, seconds)
    began = time.monotonic()
    launcher.down()
    print(f"\ndown in {time.monotonic() - began:.1f} s")
    assert not [name for name, process in processes.items() if list(members(process))], "a process was left behind"


def process_ids(settings: Settings) -> dict[str, ProcessId]:
    return {name: record.process for name, record in PartsFile(settings.state).read().items() if record.process}


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "services.cli", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LONGVIEW_STATE_DIR": settings.state_dir}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_parts_start_in_parallel_and_answer(settings: Settings, started: Started) -> None:
    assert {outcome.name for outcome in started.outcomes} == set(PARTS)
    assert {state.state for state in part_states(settings) if state.name in PARTS} == {"running"}
    assert started.seconds < sum(outcome.seconds for outcome in started.outcomes), (
        "they were started one after the other"
    )


def test_nothing_listens_beyond_loopback(settings: Settings, started: Started) -> None:
    ours = {pid for process in process_ids(settings).values() for pid in members(process)}
    addresses = {address for pid in ours for address in listening(pid)}
    assert addresses
    assert addresses == {"0100007F"}, "an address in /proc/net/tcp that is not 127.0.0.1"


def listening(pid: int) -> set[str]:
    """Local IPv4 and IPv6 addresses (hexadecimal) of the listening sockets of a process."""
    descriptors = Path(f"/proc/{pid}/fd").iterdir()
    inodes = {
        os.readlink(fd)[8:-1] for fd in descriptors if os.path.lexists(fd) and os.readlink(fd).startswith("socket:")
    }
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and line[9] in inodes}


def test_every_topic_has_four_partitions(settings: Settings, started: Started) -> None:
    admin = KafkaAdminClient(bootstrap_servers=Launcher(settings).settings.kafka_bootstrap)
    try:
        topics = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}
    finally:
        admin.close()
    assert {*INBOUND_TOPICS, *map(dead_letter_topic, INBOUND_TOPICS)} <= set(topics)
    assert set(topics.values()) == {4}


def test_a_second_up_says_that_everything_is_running(settings: Settings, started: Started) -> None:
    before = process_ids(settings)
    again = run(settings, "up", *(word for part in PARTS for word in ("--only", part)))
    assert again.returncode == 0, again.stderr
    assert "everything is running already" in again.stderr
    assert process_ids(settings) == before


def test_a_killed_fhir_server_is_noticed_and_comes_back_at_its_address_with_its_data(
    settings: Settings, started: Started
) -> None:
    given = Launcher(settings).settings
    url, token = given.fhir_url, {"authorization": f"Bearer {given.fhir_token}"}
    patient = {"resourceType": "Patient", "id": "kept", "identifier": [{"system": "urn:mrn", "value": "KEPT-4711"}]}
    httpx.put(f"{url}/Patient/kept", json=patient, headers=token).raise_for_status()
    victim = process_ids(settings)["fhir"]
    os.kill(victim.pid, signal.SIGKILL)
    while is_alive(victim):
        time.sleep(0.02)
    status = run(settings, "status", "--json")
    assert status.returncode == 1
    assert {part["name"]: part["state"] for part in json.loads(status.stdout)["parts"]}["fhir"] == "dead"
    assert run(settings, "restart", "fhir").returncode == 0
    assert httpx.get(f"{url}/Patient/kept", headers=token).json()["identifier"] == patient["identifier"]


def test_a_restarted_broker_warns_of_what_it_loses_and_has_its_topics_again(
    settings: Settings, started: Started
) -> None:
    restarted = run(settings, "restart", "broker")
    assert "keeps its topics in memory" in restarted.stderr
    test_every_topic_has_four_partitions(settings, started)


def test_the_logs_of_the_parts_name_no_patient(settings: Settings, started: Started) -> None:
    given = Launcher(settings).settings
    with httpx.Client(headers={"authorization": f"Bearer {given.fhir_token}"}) as client:
        url = given.fhir_url
        assert client.get(f"{url}/Patient", params={"identifier": "urn:mrn|KEPT-4711"}).status_code == 200
        assert client.get(f"{url}/Patient/nobody-4711").status_code == 404
        client.post(f"{url}/Patient", json={"resourceType": "Patient", "birthDate": "KEPT-4711"})
    for log in (settings.state / "logs").iterdir():
        assert "4711" not in log.read_text(), log.name
