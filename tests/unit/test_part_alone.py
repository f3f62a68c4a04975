"""One embedded part as the only process of a container: it serves under the name it is given, its step is done, and SIGTERM ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from schemas.events import INBOUND_TOPICS, dead_letter_topic
from services.cli import main
from services.parts.ports import free_port
from services.parts.probes import NotReady, http_ok, kafka_ok

PATIENCE_SECONDS = 120.0


class Alone:
    """`longview part NAME`, in a process of its own."""

    def __init__(self, name: str, state: Path) -> None:
        self.port = free_port()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LONGVIEW_")}
        command = [sys.executable, "-P", "-m", "services.cli", "part", name, "--listen", "0.0.0.0", "--port"]
        self.process = subprocess.Popen(
            [*command, str(self.port), "--reached-as", "localhost"],
            env=environment | {"LONGVIEW_STATE_DIR": str(state)},
            stderr=subprocess.DEVNULL,
        )

    def until(self, healthy: object) -> None:
        assert callable(healthy)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                healthy()
                return
            except NotReady:
                assert self.process.poll() is None, "it ended"
                assert time.monotonic() < deadline, "it is not there in time"
            time.sleep(0.1)

    def told_to_stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def test_the_broker_has_its_topics_each_time_it_starts(tmp_path: Path) -> None:
    """It keeps them in memory, so whoever starts it must make them, and not whoever came first."""
    from kafka.admin import KafkaAdminClient

    broker = Alone("broker", tmp_path)
    try:
        broker.until(lambda: kafka_ok(f"localhost:{broker.port}"))
        wanted = {*INBOUND_TOPICS, *map(dead_letter_topic, INBOUND_TOPICS)}
        admin = KafkaAdminClient(bootstrap_servers=[f"localhost:{broker.port}"])
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while wanted - set(admin.list_topics()):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            admin.close()
    finally:
        assert broker.told_to_stop() == 0
    with pytest.raises(NotReady):
        kafka_ok(f"localhost:{broker.port}")


def test_the_archive_can_be_reached_by_others(tmp_path: Path) -> None:
    archive = Alone("archive", tmp_path)
    try:
        archive.until(lambda: http_ok(f"http://localhost:{archive.port}/health"))
        assert (tmp_path / "archive" / "files").is_dir()
    finally:
        assert archive.told_to_stop() == 0


def test_an_unknown_part_is_refused_with_a_sentence() -> None:
    result = CliRunner().invoke(main, ["part", "inbox", "--port", "1"])
    assert result.exit_code == 1
    assert "name one of broker, temporal, fhir, archive" in result.output
