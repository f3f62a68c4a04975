"""The launcher with tiny parts: what starts, what fails, what is stopped, and what is never touched."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import PartUnavailable
from services.parts.environment import child_environment
from services.parts.launcher import Launcher, Outcome
from services.parts.part import Command, Launch, Part
from services.parts.ports import choose_ports
from services.parts.probes import http_ok
from services.parts.process import ProcessId, is_alive, members, spawn, stop
from services.parts.scrub import last_words, scrub
from services.parts.state import PartsFile, launcher_lock, payload_key_file
from services.parts.status import part_states
from services.settings import Settings

SERVER = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1"]


def web(launch: Launch) -> Command:
    return Command([*SERVER, str(launch.port)], child_environment(launch.settings))


def healthy(launch: Launch) -> None:
    http_ok(f"http://{launch.address}/")


PAGES = Part(
    "pages", "the page server", "longview", "free a port",
    command=web, healthy=healthy, provides=lambda launch: {"fhir_url": f"http://{launch.address}"}, setting="fhir_url", patience=60,
)  # fmt: skip


def named(settings: Settings) -> None:
    http_ok(settings.fhir_url)


SECOND = replace(
    PAGES, name="second", title="the second server", needs=("pages",), setting="", provides=lambda launch: {}
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=str(tmp_path / "state"))


@pytest.fixture
def launcher(settings: Settings) -> Iterator[Launcher]:
    launcher = Launcher(settings, parts=(PAGES, SECOND))
    yield launcher
    launcher.down()


def running(launcher: Launcher, name: str) -> ProcessId:
    process = launcher.records()[name].process
    assert process is not None
    return process


def test_parts_start_in_order_tell_each_other_their_addresses_and_stop(launcher: Launcher, settings: Settings) -> None:
    outcomes = launcher.up()
    assert [(o.name, o.state) for o in outcomes] == [("pages", "started"), ("second", "started")]
    environment = Path(f"/proc/{running(launcher, 'second').pid}/environ").read_bytes().decode()
    assert f"LONGVIEW_FHIR_URL={launcher.records()['pages'].url}" in environment
    assert launcher.settings.fhir_url == launcher.records()["pages"].url
    processes = [running(launcher, name) for name in ("pages", "second")]
    assert launcher.down() == ["second", "pages"]
    assert not any(is_alive(process) for process in processes)
    assert not (settings.state / "parts.json").exists()


def test_a_second_up_finds_everything_running(launcher: Launcher) -> None:
    launcher.up()
    before = launcher.records()
    assert {outcome.state for outcome in launcher.up()} == {"running"}
    assert launcher.records() == before


def test_a_part_and_what_it_needs_can_be_had_alone(launcher: Launcher) -> None:
    assert [outcome.name for outcome in launcher.up(["pages"])] == ["pages"]
    assert [outcome.state for outcome in launcher.up(["second"])] == ["running", "started"]
    with pytest.raises(PartUnavailable, match="name one of pages, second"):
        launcher.up(["third"])


def test_a_port_that_somebody_holds_for_a_moment_is_waited_for(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks for a free port binds it for a moment; a part that starts again just then would be lost."""
    launcher.up(["pages"])
    monkeypatch.setattr("services.parts.launcher.PORT_PAUSE_SECONDS", 0.0)
    real, tries = launcher._start_all, []

    def taken_once(parts: list[Part], ports: dict[str, int]) -> list[Outcome]:
        tries.append(ports)
        if len(tries) == 1:
            raise PartUnavailable("part-pages", "the page server cannot start: address already in use")
        return real(parts, ports=ports)

    monkeypatch.setattr(launcher, "_start_all", taken_once)
    before = launcher.records()["pages"].port
    launcher.restart("pages")
    assert tries == [{"pages": before}] * 2
    monkeypatch.setattr(launcher, "_start_all", refuse)
    with pytest.raises(PartUnavailable, match="no licence"):
        launcher.restart("pages")


def refuse(parts: list[Part], ports: dict[str, int]) -> list[Outcome]:
    raise PartUnavailable("part-pages", "the page server cannot start: no licence")


def test_a_restarted_part_keeps_its_port_and_a_killed_one_is_noticed(launcher: Launcher, settings: Settings) -> None:
    launcher.up()
    before = running(launcher, "pages")
    os.kill(before.pid, signal.SIGKILL)
    wait_until_dead(before)
    states = {state.name: state for state in part_states(settings, (PAGES, SECOND))}
    assert states["pages"].state == "dead"
    assert "longview restart pages" in states["pages"].problem
    assert states["second"].state == "running"
    url = launcher.records()["pages"].url
    launcher.restart("pages")
    assert launcher.records()["pages"].url == url
    assert running(launcher, "pages") != before
    http_ok(url)


def wait_until_dead(process: ProcessId) -> None:
    deadline = time.monotonic() + 60
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_part_named_by_its_setting_is_checked_and_not_started(launcher: Launcher, settings: Settings) -> None:
    launcher.up(["pages"])
    url = launcher.records()["pages"].url
    seen: list[Outcome] = []
    found = replace(PAGES, found=named)
    other = replace(settings, state_dir=settings.state_dir + "-other", fhir_url=url)
    Launcher(other, parts=(found,), report=seen.append).up()
    assert [(outcome.state, outcome.url) for outcome in seen] == [("found", url)]
    assert not Launcher(other, parts=(found,)).records()
    away = replace(other, fhir_url="http://127.0.0.1:1")
    with pytest.raises(PartUnavailable, match="LONGVIEW_FHIR_URL cannot be used"):
        Launcher(away, parts=(found,)).up()


def test_a_part_that_never_gets_healthy_takes_down_what_was_started_with_it(settings: Settings) -> None:
    deaf = replace(
        SECOND, healthy=lambda launch: http_ok("http://127.0.0.1:1/") and None, patience=0.5, mend="open the door"
    )
    launcher = Launcher(settings, parts=(PAGES, deaf))
    seen: list[ProcessId] = []
    spy = replace(PAGES, healthy=lambda launch: (healthy(launch), seen.append(running(launcher, "pages")))[0])
    launcher = Launcher(settings, parts=(spy, deaf))
    with pytest.raises(PartUnavailable) as failed:
        launcher.up()
    assert failed.value.code == "part-second"
    assert failed.value.hint.startswith("the second server cannot start: it does not answer (ConnectError) after 0 s")
    assert failed.value.hint.endswith("open the door.")
    assert seen
    assert not is_alive(seen[0])
    assert not launcher.records()


def test_a_part_that_dies_says_why_in_its_own_scrubbed_words(settings: Settings) -> None:
    script = "import sys; sys.exit('error: cannot open Patient/abc-1 of study 1.2.840.113619.2.1.999: no such file')"
    broken = replace(PAGES, command=lambda launch: Command([sys.executable, "-c", script], {}), patience=200)
    began = time.monotonic()
    with pytest.raises(PartUnavailable) as failed:
        Launcher(settings, parts=(broken,)).up()
    assert "cannot open Patient/(id) of study (uid): no such file" in failed.value.hint
    assert time.monotonic() - began < 100, "a dead process is not waited for"


def test_a_program_that_is_not_there_is_named_as_such(settings: Settings) -> None:
    absent = replace(PAGES, command=lambda launch: Command(["/nowhere/program"], {}))
    with pytest.raises(PartUnavailable, match="its program cannot be run"):
        Launcher(settings, parts=(absent,)).up()


def test_a_recycled_process_id_is_never_killed(tmp_path: Path) -> None:
    bystander = spawn(["sleep", "60"], os.environ, tmp_path, tmp_path / "log")
    try:
        ours = ProcessId(bystander.pid, f"{bystander.boot}:{bystander.ticks - 500}")
        assert not is_alive(ours)
        assert stop(ours, grace=0.1) is False
        assert is_alive(bystander)
        before_the_reboot = ProcessId(bystander.pid, f"another-boot:{bystander.ticks}")
        stop(before_the_reboot, grace=0.1)
        assert is_alive(bystander)
    finally:
        stop(bystander, grace=2)


def test_stopping_leaves_no_grandchild_even_if_the_leader_was_killed(tmp_path: Path) -> None:
    script = (
        "import subprocess, time; subprocess.Popen(['sleep', '60']); subprocess.Popen(['sleep', '60']); time.sleep(60)"
    )
    leader = spawn([sys.executable, "-c", script], os.environ, tmp_path, tmp_path / "log")
    deadline = time.monotonic() + 60
    while len(list(members(leader))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(leader.pid, signal.SIGKILL)
    wait_until_dead(leader)
    assert len(list(members(leader))) == 2
    stop(leader, grace=5)
    assert not list(members(leader))


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    stubborn = spawn([sys.executable, "-c", script], os.environ, tmp_path, tmp_path / "log")
    while "ready" not in (tmp_path / "log").read_text():
        time.sleep(0.02)
    assert stop(stubborn, grace=0.3) is True
    assert not is_alive(stubborn)


def test_two_launchers_of_one_state_folder_do_not_meet(tmp_path: Path) -> None:
    with (
        launcher_lock(tmp_path),
        pytest.raises(PartUnavailable, match="another 'longview'"),
        launcher_lock(tmp_path, wait=0.2),
    ):
        pytest.fail("the lock was given twice")


def test_the_payload_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    key = payload_key_file(tmp_path)
    first = key.read_bytes()
    assert payload_key_file(tmp_path).read_bytes() == first
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_parts_file_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "parts.json").write_text('{"parts": {"pages": {"pid"')
    with pytest.raises(PartUnavailable, match="cannot be read"):
        PartsFile(tmp_path).read()


def test_a_child_gets_every_setting_and_nothing_else_of_ours() -> None:
    source = {"PATH": "/bin", "HOME": "/home/x", "AWS_SECRET_ACCESS_KEY": "s", "http_proxy": "http://proxy"}
    environment = child_environment(Settings(tenant="north", fhir_token="t"), ready_file=Path("/r"), source=source)
    assert environment["LONGVIEW_TENANT"] == "north"
    assert environment["LONGVIEW_FHIR_TOKEN"] == "t"
    assert environment["LONGVIEW_READY_FILE"] == "/r"
    assert not {"AWS_SECRET_ACCESS_KEY", "http_proxy", "LONGVIEW_MODEL_TOKEN"} & set(environment)
    Settings.from_environment(environment)


@pytest.mark.parametrize(
    ("line", "scrubbed"),
    [
        ("ERROR GET /fhir/Patient/9f2?identifier=urn:mrn|M1 failed", "ERROR GET /fhir/Patient/(id)?(query) failed"),
        ("cannot connect to postgresql://ward:hunter2@db/x", "cannot connect to postgresql://(hidden)@db/x"),
        ("study 1.2.276.0.7230010.3.1.2 is gone", "study (uid) is gone"),
        ("bind 127.0.0.1:8080: address already in use", "bind 127.0.0.1:8080: address already in use"),
    ],
)
def test_a_line_of_a_log_is_fit_to_be_shown(line: str, scrubbed: str) -> None:
    assert scrub(line) == scrubbed


def test_the_last_words_are_the_telling_line_of_this_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("error: of yesterday\n")
    since = log.stat().st_size
    with log.open("a") as file:
        file.write("starting\nError: port is in use\n  at frame 3\nbye\n")
    assert last_words(log, since) == "Error: port is in use"


def test_a_launcher_that_is_interrupted_stops_what_it_had_started(settings: Settings, tmp_path: Path) -> None:
    """Ctrl-C while the second part is still on its way: nothing is left."""
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background has it ignored
sys.path.insert(0, {str(Path(__file__).parent)!r})
from dataclasses import replace
from test_parts import PAGES, SECOND, Launcher, Settings, http_ok
deaf = replace(SECOND, healthy=lambda launch: http_ok("http://127.0.0.1:1/") and None, patience=60)
try:
    Launcher(Settings(state_dir={settings.state_dir!r}), parts=(PAGES, deaf), report=lambda o: print(o.name, flush=True)).up()
except KeyboardInterrupt:
    print("interrupted")
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "pages"
        deadline = time.monotonic() + 60
        while len(PartsFile(settings.state).read()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        started = [r.process for r in PartsFile(settings.state).read().values() if r.process]
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().strip() == "interrupted"
    assert len(started) == 2
    assert not any(is_alive(each) for each in started)


def test_a_port_is_waited_for_while_a_killed_process_still_holds_it() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        release = threading.Timer(0.5, held.close)
        release.start()
        assert choose_ports({"model": port}) == {"model": port}
        release.join()


def test_a_taken_port_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.parts.ports.RELEASE_SECONDS", 0.1)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        assert choose_ports({"model": port})["model"] not in (0, port)
