"""The processes that the manifests name, started with the manifests' own commands, arguments, variables and files: no wrong flag or name can hide.

`outside` says what alone is changed. For every profile each container's settings are read and its arguments parsed; the trial, which brings all it
needs, is run as a whole (its model server's place is taken by the scripted one), and one study goes through it.
"""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.codec.operators import add_operator
from services.demo.subject import phantom_subject
from services.parts.process import spawn
from services.scripted_model.server import write_release
from services.settings import Settings
from tests.helm.manifests import PROFILES, Manifest, Workload, render, secret_keys, workloads
from tests.helm.outside import Command, Machine, unserved
from tests.integration.system import System

pytestmark = pytest.mark.timeout(600)

LAST = ("schedules", "promote", "test")
"""Components that are run once the processes are there."""


# -- every profile: what is written there can be read -----------------------------------------------------------------------


@pytest.fixture(scope="module", params=PROFILES)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return _machine(request.param, tmp_path_factory.mktemp(request.param))


def test_every_path_is_on_a_volume(machine: Machine) -> None:
    """The image's own file system is read-only, and holds none of the hospital's files."""
    lost = {str(w): paths for w, c in _containers(machine) if (paths := unserved(w, c, machine.manifests))}
    assert lost == {}


def test_every_setting_is_one_and_every_argument_too(machine: Machine) -> None:
    """`longview config` refuses an unknown or impossible setting, secrets in files included; `--help` behind them refuses an unknown argument."""
    for command in _commands(machine, "longview"):
        program, *arguments = command.arguments
        for words in ([program, "config"], [program, *arguments, "--help"]):
            done = _tried(words, command)
            assert done.returncode == 0, f"{command.workload} {words[1:]}: {done.stderr}"


def test_the_model_server_knows_its_settings_and_arguments(machine: Machine) -> None:
    """It is started as it stands, and comes as far as the checkpoint, of which there is none here."""
    for command in _commands(machine, "python"):
        known = _tried([*command.arguments, "--help"], command)
        assert known.returncode == 0, f"{command.workload} {command.arguments[1:]}: {known.stderr}"
        if command.arguments[-1] == "serve":
            assert "release.json cannot be read" in _tried(command.arguments, command).stderr


def _tried(words: list[str], command: Command) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=command.environment, capture_output=True, text=True, timeout=120, check=False)


# -- the trial: all of it runs ------------------------------------------------------------------------------------------------


@dataclass
class Running:
    machine: Machine
    commands: dict[str, Command]
    """Component -> its container's command, of what runs."""

    def settings(self, component: str) -> Settings:
        return Settings.from_environment(self.commands[component].environment)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The trial's parts and processes, each answering its own readiness probe; jobs that come after them have not run yet."""
    machine = _machine("trial", tmp_path_factory.mktemp("trial"))
    running = Running(machine, {})
    try:
        for workload in _in_order(machine):
            _start(running, workload)
        for command in running.commands.values():
            if "readinessProbe" in command.container and _component(machine, command) != "model":
                machine.await_probe(command, "readinessProbe")
        yield running
    finally:
        machine.close()


def _in_order(machine: Machine) -> list[Workload]:
    """The trial's own parts, the migration, the rest: Kubernetes would start again what came too early."""
    rank = {"migrate": 1, "model": 2}
    known = [w for w in machine.workloads.values() if _label(w) not in LAST]
    return sorted(known, key=lambda w: 0 if _label(w).startswith("trial-") else rank.get(_label(w), 3))


def _start(running: Running, workload: Workload) -> None:
    machine, component = running.machine, _label(workload)
    if component == "model":
        _start_scripted_model(running, workload)
        return
    for container in workload.spec.get("initContainers", []):
        machine.run(machine.command(workload, container))
    for container in workload.spec["containers"]:
        command = machine.command(workload, container)
        if workload.kind in ("Job", "Pod"):
            machine.run(command)
            continue
        machine.start(command)
        running.commands[component] = command
        if component.startswith("trial-"):
            machine.await_probe(command, "readinessProbe")


def _start_scripted_model(running: Running, workload: Workload) -> None:
    """In the place of vLLM, at the address, with the token and beside the store that the manifest gives to the model server."""
    machine, (container,) = running.machine, workload.spec["containers"]
    command = machine.command(workload, container)
    given = command.environment
    write_release(Path(given["LONGVIEW_MODEL_SERVER_CHECKPOINT"]))
    arguments = ["--port", str(command.ports["http"]), "--media-dir", given["LONGVIEW_MODEL_SERVER_MEDIA_DIR"]]
    environment = {
        "PATH": os.environ["PATH"],
        "LONGVIEW_MODEL_SERVER_TOKEN_FILE": given["LONGVIEW_MODEL_SERVER_TOKEN_FILE"],
    }
    program = [sys.executable, "-P", "-m", "services.scripted_model", *arguments]
    machine.running[str(workload)] = spawn(program, environment, machine.folder / "work", machine.log(command))
    running.commands["model"] = command


def test_every_process_lives_and_is_ready(trial: Running) -> None:
    expected = {"gateway", "worker-reading", "worker-background", "inbox", "codec"}
    assert expected <= trial.commands.keys()
    for component in expected:
        command = trial.commands[component]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert trial.machine.answers(command, probe), f"{component} does not answer its {probe}"
        assert trial.machine.status(command, "operations", "/metrics") == 200


@pytest.mark.parametrize("component", LAST)
def test_what_comes_afterwards_ends_well(trial: Running, component: str) -> None:
    """Schedules, the promotion of the workers' version, and what `helm test` runs (`longview doctor --deployed`)."""
    found = [w for w in trial.machine.workloads.values() if _label(w) == component]
    if not found:
        pytest.skip(f"the trial has no {component}")
    for workload in found:
        for container in workload.containers:
            trial.machine.run(trial.machine.command(workload, container))


def test_a_study_becomes_a_result(trial: Running) -> None:
    """What the manifests say of addresses, store, keys and tokens fits together: one study passes every process."""
    system = System(trial.settings("worker-reading"), parts=())
    system.up()
    try:
        subject = phantom_subject(1, system.settings.canonical_base, system.settings.accessions)
        system.load(subject)
        system.result(system.announce(subject).workflow_id)
        (report,) = system.reports(subject.studies[-1].uid)
        assert report["status"] == "preliminary"
    finally:
        system.down()


def test_each_drains_and_ends_when_it_is_told_to(trial: Running) -> None:
    """Last, since it ends them: SIGTERM is enough within the grace of the pod; whoever still answers says that it is not ready."""
    for component in ("inbox", "codec", "gateway", "worker-reading", "worker-background"):
        assert trial.machine.stop(trial.commands.pop(component).workload), f"{component} had to be killed"


# -- what the hospital gives -------------------------------------------------------------------------------------------------


def _machine(name: str, folder: Path) -> Machine:
    manifests = render(name)
    return Machine(folder, manifests, _secrets(manifests, folder))


def _secrets(manifests: list[Manifest], folder: Path) -> dict[str, dict[str, str]]:
    """A value for every key: of the right form where a process looks at it, else a random word."""
    paths = {
        (s, i["key"]): i["path"] for w in workloads(manifests) for v in w.spec.get("volumes", []) for s, i in _items(v)
    }
    return {
        secret: {key: _value(Path(paths.get((secret, key), key)).name, folder) for key in keys}
        for secret, keys in secret_keys(manifests).items()
    }


def _items(volume: Manifest) -> Iterator[tuple[str, Manifest]]:
    for source in [volume, *volume.get("projected", {}).get("sources", [])]:
        if secret := source.get("secret"):
            for item in secret.get("items", []):
                yield secret.get("secretName") or secret["name"], item


def _value(setting: str, folder: Path) -> str:
    if setting == "payload_key_file":
        return base64.b64encode(secrets.token_bytes(32)).decode()
    if setting == "codec_operators_file":
        file = folder / "operators.json"
        add_operator(file, "night.shift", datetime.now(UTC))
        return file.read_text()
    return secrets.token_urlsafe(24)


def _label(workload: Workload) -> str:
    return workload.labels["app.kubernetes.io/component"]


def _component(machine: Machine, command: Command) -> str:
    return _label(machine.workloads[command.workload])


def _containers(machine: Machine) -> Iterator[tuple[Workload, Manifest]]:
    for workload in machine.workloads.values():
        for container in workload.containers:
            yield workload, container


def _commands(machine: Machine, program: str) -> list[Command]:
    """The containers that run this program."""
    return [machine.command(w, c) for w, c in _containers(machine) if Path(c["command"][0]).name == program]
