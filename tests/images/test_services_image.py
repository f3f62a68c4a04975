"""The services' image and the trial's, replayed and run as a cluster would: as user 10001, on a read-only root, without a shell, as process 1."""

from __future__ import annotations

import base64
import json
import re
import secrets
import stat
from pathlib import Path

import orjson
import pytest

from scripts.images import catalog
from services.parts.ports import free_port
from services.parts.steps import quiet_logging
from services.scripted_model.server import release
from tests.images.containers import STORE, Container, Containers, Image, answer, eventually, listens

pytestmark = pytest.mark.images

SENTENCE = "is not set: set it, or start the part with 'longview up'."


def test_says_its_version_and_which_settings_are_in_force(services: Image, containers: Containers) -> None:
    status, said = containers.run(services, ["--version"])
    assert (status, said.strip()) == (0, f"longview, version {catalog.version()}")
    status, said = containers.run(services, ["config", "--json"])
    assert status == 0, said
    assert "/tmp/longview" in said


@pytest.mark.parametrize("process", ["gateway", "worker", "inbox"])
def test_a_process_without_settings_says_in_one_sentence_what_is_missing(
    services: Image, containers: Containers, process: str
) -> None:
    status, said = containers.run(services, [process])
    assert status == 1
    assert said.count("\n") == 1, said
    assert SENTENCE in said


def test_runs_as_nobody_in_particular_with_one_writable_place_and_no_shell(
    services: Image, containers: Containers
) -> None:
    said = containers.python(
        services,
        """
import os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(os.getpid(), os.getuid(), os.getgid(), os.getgroups(), status["CapEff"], status["NoNewPrivs"])
for folder in ("/", "/opt/longview", "/usr/local/lib/python3.11", "/etc", "/var/tmp", "/tmp", "/dev/shm"):
    try:
        open(folder + "/written", "w")
        print(folder)
    except OSError:
        pass
print(os.system("true"))
""",
    )
    identity, *writable, shell = said.splitlines()
    assert identity == "1 10001 10001 [] 0000000000000000 1"
    assert writable == ["/tmp", "/dev/shm"]
    assert shell != "0"


def test_holds_no_way_to_become_somebody_else_no_installer_and_nothing_that_others_may_change(
    services: Image, trial: Image
) -> None:
    for image in (services, trial):
        files = [path for path in image.root.rglob("*") if not path.is_symlink()]
        modes = {path: path.lstat().st_mode for path in files}
        assert [
            path for path, mode in modes.items() if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID)
        ] == []
        ours = [path for path in files if path.is_relative_to(image.root / "opt")]
        assert [path for path in ours if modes[path] & 0o022] == []
        assert [path for path in ours if path.lstat().st_uid != 0] == []
        assert list((image.root / "usr/local/lib/python3.11/site-packages").glob("*")) == []
        assert not (image.packages / "pip").exists()
        assert not (image.packages / "torch").exists()
        assert not list((image.root / "opt").rglob("Dockerfile"))


def test_every_module_is_compiled_and_needs_no_time_stamp(services: Image) -> None:
    flags = set()
    for source in services.packages.rglob("*.py"):
        if source.stem.isidentifier():
            compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
            if compiled.exists() or source.is_relative_to(services.packages / "services"):
                flags.add(compiled.read_bytes()[4])
    assert flags == {1}  # PEP 552: by hash, never checked


def test_the_list_of_parts_is_what_is_installed_with_licences_and_without_addresses(
    services: Image, trial: Image
) -> None:
    for image, name in ((services, "services"), (trial, "trial")):
        text = (image.root / "usr/share/doc/longview/sbom.cdx.json").read_text()
        listed = json.loads(text)["components"]
        python = {
            each["name"].lower().replace("_", "-").replace(".", "-"): each for each in listed if "pypi" in each["purl"]
        }
        locked = catalog.locked(name)
        assert python.keys() == locked.keys()
        assert {key for key, each in python.items() if each["version"] not in locked[key]} == set()
        licences = {key: json.dumps(each.get("licenses", [])) for key, each in python.items()}
        assert [key for key, said in licences.items() if said == "[]" or "not stated" in said] == []
        debian = {each["name"] for each in listed if each["purl"].startswith("pkg:deb/debian/")}
        assert {"libc6", "libssl3", "zlib1g"} <= debian
        assert set(re.findall(r"https?://([^/\"\s]+)", text)) <= {"cyclonedx.org"}


def test_every_process_of_ours_imports_without_what_the_model_server_needs(
    services: Image, containers: Containers
) -> None:
    """A package that only the development environment has would be found missing on some night, by the path that imports it late."""
    code = """
import importlib, pkgutil
import schemas, workflows, services.gateway, services.worker, services.inbox, services.clients, services.db, services.cli, services.parts
for package in (schemas, workflows, services.gateway, services.worker, services.inbox, services.clients, services.db, services.cli, services.parts):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
import services.bootstrap, services.operations
print("all")
"""
    assert containers.python(services, code).splitlines()[-1] == "all"


def test_a_child_that_ends_is_reaped_by_process_1(services: Image, containers: Containers) -> None:
    """A worker decodes each PDF in a child; nobody but process 1 collects a child's status in a container."""
    code = """
import glob
from schemas.errors import LongviewError
from services.clients.pdf_process import PdfInItsOwnProcess
for _ in range(3):
    try:
        PdfInItsOwnProcess()(b"%PDF-1.4 broken")
    except LongviewError as error:
        print(error.code)
print(sum(" Z " in open(path).read() for path in glob.glob("/proc/[0-9]*/stat")))
"""
    assert containers.python(services, code).split() == [*["document-unreadable"] * 3, "0"]


@pytest.fixture
def settings(services: Image, trial: Image, containers: Containers) -> dict[str, str]:
    """Broker, Temporal, FHIR server and archive out of the trial's image, a migrated database, and where they all are."""
    bus, temporal, fhir, archive = (free_port() for _ in range(4))
    listener = ["--listener-url", f"tcp://127.0.0.1:{bus}", "--advertised-listener-url", f"tcp://127.0.0.1:{bus}"]
    broker = containers.start(trial, ["broker", *listener, "--storage-engine", "memory://tansu/"], command=["tansu"])
    address = ["--headless", "--ip", "127.0.0.1", "--port", str(temporal)]
    server = containers.start(
        trial, ["server", "start-dev", *address, "--db-filename", "/tmp/temporal.db"], command=["temporal"]
    )
    sekmet = {"base_url": f"http://127.0.0.1:{fhir}/fhir", "host": "127.0.0.1", "port": fhir, "data_dir": "/tmp/sekmet"}
    configured = containers.file(
        "sekmet.yaml", json.dumps({**sekmet, "log_inbound": False, "simulator": {"enabled": False}}).encode()
    )
    quiet = containers.file("logging.json", quiet_logging("text"))
    served = ["-P", "-m", "services.parts.local_fhir", "--logging", quiet, "--port", str(fhir)]
    charts = containers.start(trial, served, command=["python"], SEKMET_CONFIG=configured)
    stored = ["-P", "-m", "services.archive", "--folder", "/tmp/files", "--port", str(archive)]
    images = containers.start(services, stored, command=["python"])
    for container, port in ((broker, bus), (server, temporal), (charts, fhir), (images, archive)):
        eventually(container, lambda port=port: listens(port))
    given = {
        "LONGVIEW_KAFKA_BOOTSTRAP": f"127.0.0.1:{bus}",
        "LONGVIEW_TEMPORAL_ADDRESS": f"127.0.0.1:{temporal}",
        "LONGVIEW_FHIR_URL": f"http://127.0.0.1:{fhir}/fhir",
        "LONGVIEW_DICOMWEB_URL": f"http://127.0.0.1:{archive}/dicom-web",
        "LONGVIEW_DATABASE_URL": f"sqlite:///{STORE}/longview.db",
        "LONGVIEW_STORE_DIR": f"{STORE}/store",
        "LONGVIEW_STATE_DIR": f"{STORE}/state",
        "LONGVIEW_PAYLOAD_KEY_FILE": containers.file("payload.key", base64.b64encode(secrets.token_bytes(32))),
        "LONGVIEW_MODEL_URL": f"http://127.0.0.1:{free_port()}",
        "LONGVIEW_MODEL_RELEASE": containers.file("release.json", orjson.dumps(release().model_dump())),
    }
    containers.python(
        services,
        """
import os
from schemas.events import INBOUND_TOPICS, OUTBOUND_TOPICS, dead_letter_topic
from services.clients.kafka import ensure_topics
ensure_topics(os.environ["LONGVIEW_KAFKA_BOOTSTRAP"], (*INBOUND_TOPICS, *OUTBOUND_TOPICS, *map(dead_letter_topic, INBOUND_TOPICS)))
""",
        **given,
    )
    status, said = containers.run(services, ["migrate"], **given)
    assert status == 0, said
    return given


def started(containers: Containers, image: Image, process: str, settings: dict[str, str]) -> tuple[Container, int]:
    """A process of ours that says it is ready, and the port where it says so."""
    port = free_port()
    at = {
        "LONGVIEW_OPERATIONS_HOST": "127.0.0.1",
        "LONGVIEW_OPERATIONS_PORT": str(port),
        "LONGVIEW_INBOX_PORT": str(free_port()),
    }
    container = containers.start(image, [process], **settings, **at)
    eventually(container, lambda: answer(port, "/ready")[0] == 200)
    return container, port


def test_gateway_worker_and_inbox_start_say_they_are_ready_and_end_on_sigterm_as_process_1(
    services: Image, containers: Containers, settings: dict[str, str]
) -> None:
    for process in ("gateway", "worker", "inbox"):
        container, port = started(containers, services, process, settings)
        assert answer(port, "/health")[0] == 200
        assert "longview_" in answer(port, "/metrics")[1]
        status, seconds = container.stop()
        assert status == 0, container.said
        assert seconds < 15, f"{process}: {seconds:.1f} s"


def test_what_the_processes_write_is_in_the_store_and_theirs_alone(
    services: Image, containers: Containers, settings: dict[str, str]
) -> None:
    started(containers, services, "gateway", settings)
    written = [path for path in Path(containers.store).rglob("*") if path.is_file()]
    assert any(path.name == "longview.db" for path in written)
    assert {path.lstat().st_uid for path in written} == {10001}


def test_a_study_goes_through_the_trial_image_alone(services: Image, trial: Image, containers: Containers) -> None:
    """Every part of a trial as a child of `longview demo`, in one container; the model is the scripted one, out of the services' image."""
    port = free_port()
    token = containers.file("token", b"w" * 43)
    served = ["-P", "-m", "services.scripted_model", "--port", str(port), "--token-file", token]
    given = ["--media-dir", f"{STORE}/store", "--ready-file", "/tmp/ready"]
    model = containers.start(services, [*served, *given], command=["python"])
    eventually(model, lambda: listens(port))
    status, said = containers.run(
        trial,
        ["demo", "--once", "--json"],
        LONGVIEW_STORE_DIR=f"{STORE}/store",
        LONGVIEW_MODEL_URL=f"http://127.0.0.1:{port}",
        LONGVIEW_MODEL_TOKEN_FILE=token,
        LONGVIEW_MODEL_RELEASE=containers.file("release.json", orjson.dumps(release().model_dump())),
    )
    assert status == 0, said
    assert '"DiagnosticReport/' in said, said


def test_nothing_tells_the_hour_of_its_installation(services: Image) -> None:
    """Equal commits give equal trees: one time for all files, and a record of the project that lists what is there and nothing else."""
    times = {path.lstat().st_mtime for path in (services.root / "opt/longview").rglob("*")}
    assert len(times) == 1
    (record,) = services.packages.glob("longview-*.dist-info/RECORD")
    listed = [line.split(",")[0] for line in record.read_text().splitlines()]
    assert [name for name in listed if not (services.packages / name).exists()] == []
