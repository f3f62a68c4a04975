"""The model server's image for a CPU, replayed, with the untrained checkpoint: LONGVIEW_TEST_IMAGES=services,trial,cpu (6 GB, some minutes)."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.parts.ports import free_port
from tests.images.containers import STORE, Containers, Image, answer, eventually

pytestmark = [pytest.mark.images, pytest.mark.timeout(1800)]


def states_below(pid: int) -> list[str]:
    """The states (proc(5)) of every descendant of a process."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found.append(Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0])
        found += states_below(int(child))
    return found


def test_a_study_is_read_by_the_model_servers_image(cpu: Image, trial: Image, containers: Containers) -> None:
    """The checkpoint is built and served by one image as user 10001, a trial in another image asks it; SIGTERM ends it though it is process 1."""
    status, built = containers.run(cpu, ["build", "--cache", f"{STORE}/cache"])
    assert status == 0, built
    checkpoint = built.split()[-1]
    port, token = free_port(), containers.file("token", b"w" * 43)
    (containers.store / "store").mkdir(mode=0o777)
    (containers.store / "store").chmod(0o777)
    server = containers.start(
        cpu,
        ["serve"],
        LONGVIEW_MODEL_SERVER_CHECKPOINT=checkpoint,
        LONGVIEW_MODEL_SERVER_PORT=str(port),
        LONGVIEW_MODEL_SERVER_TOKEN_FILE=token,
        LONGVIEW_MODEL_SERVER_MEDIA_DIR=f"{STORE}/store",
    )
    eventually(server, lambda: answer(port, "/ready")[0] == 200, 300)
    status, said = containers.run(
        trial,
        ["demo", "--once", "--json"],
        LONGVIEW_STORE_DIR=f"{STORE}/store",
        LONGVIEW_MODEL_URL=f"http://127.0.0.1:{port}",
        LONGVIEW_MODEL_TOKEN_FILE=token,
        LONGVIEW_MODEL_RELEASE=f"{checkpoint}/release.json",
    )
    assert status == 0, said
    assert '"DiagnosticReport/' in said, said
    assert "Z" not in states_below(server.process.pid)
    status, seconds = server.stop(90)
    assert status == 0, server.said
    assert seconds < 75


def test_the_model_image_holds_no_service_of_a_hospital(cpu: Image, containers: Containers) -> None:
    """It knows neither bus nor FHIR server nor database: whoever breaks into it finds no client of them."""
    for name in ("kafka", "temporalio", "sqlalchemy", "psycopg", "fhir", "dicomweb_client", "litestar"):
        assert not (cpu.packages / name).exists()
