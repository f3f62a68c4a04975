"""The processes that the manifests name, started with the manifests' own commands, arguments, variables and files: no wrong flag or name can hide.

`outside` says what alone is changed. The trial, which brings all it needs, is run as a whole, its own parts too (the place of its model server is
taken by the scripted one), and one study goes through it. That every profile's settings and arguments are known is tested in test_templates.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.codec.operators import add_operator
from services.demo.subject import phantom_subject
from services.parts.process import spawn
from services.scripted_model.server import write_release
from services.settings import Settings
from tests.helm.manifests import Workload, files_of, from_the_hospital, render, workloads
from tests.helm.outside import Command, Machine, unserved
from tests.helm.tools import PROFILES, Manifest
from tests.integration.system import System

WHOLE = (
    *("--set", "codec.enabled=true", "--set", "secrets.codec_operators_file.name=longview-operators"),
    *("--set", "worker.versioning=true"),
)
"""What the trial leaves out by itself: the codec server, and workers of a version, which has to be promoted."""
AFTERWARDS = ("schedules", "promote")
"""Hooks that Helm runs once the processes are ready."""


@pytest.mark.parametrize("name", PROFILES)
def test_every_path_is_on_a_volume(name: str) -> None:
    """The image's own file system is read-only, and holds none of the hospital's files."""
    told = {f"{w} {c['name']}": unserved(c) for w in workloads(render(name)) for c in w.containers}
    assert {who: paths for who, paths in told.items() if paths} == {}


# -- the trial: all of it runs ------------------------------------------------------------------------------------------------


@dataclass
class Running:
    machine: Machine
    commands: dict[str, Command]
    """Component -> its container's command, of what runs."""

    def settings(self, component: str) -> Settings:
        """Those that the manifest gives to a component, whether or not it runs."""
        (workload,) = [each for each in self.machine.workloads.values() if _label(each) == component]
        return Settings.from_environment(self.machine.command(workload, workload.spec["containers"][0]).environment)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The trial's parts and processes, each answering its own readiness probe; then the hooks that follow."""
    machine = _machine(tmp_path_factory.mktemp("trial"))
    running = Running(machine, {})
    try:
        for workload in _in_order(machine):
            _start(running, workload)
        for command in running.commands.values():
            machine.await_probe(command, "readinessProbe")
        for component in AFTERWARDS:
            _run(machine, component)
        yield running
    finally:
        machine.close()


def _in_order(machine: Machine) -> list[Workload]:
    """The trial's own parts, the migration, the rest: Kubernetes would start again what came too early."""
    rank = {"migrate": 1, "model": 2}
    known = [w for w in machine.workloads.values() if _label(w) not in (*AFTERWARDS, "test")]
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


def test_helm_s_own_test_finds_nothing_wrong(trial: Running) -> None:
    """`longview doctor --deployed`, with the settings of the Pod that `helm test` starts."""
    _run(trial.machine, "test")


def test_the_workers_version_is_the_one_for_new_studies(trial: Running) -> None:
    """What the promotion did, asked with the promotion's own settings."""
    (promote,) = [w for w in trial.machine.workloads.values() if _label(w) == "promote"]
    command = trial.machine.command(promote, promote.containers[0])
    listed = trial.machine.run(replace(command, arguments=[command.arguments[0], "workers", "list", "--json"]))
    versions = {each["build_id"]: each for each in json.loads(listed)["versions"]}
    assert versions[command.environment["LONGVIEW_WORKER_BUILD_ID"]]["state"] == "current"


def _run(machine: Machine, component: str) -> None:
    (workload,) = [w for w in machine.workloads.values() if _label(w) == component]
    for container in workload.containers:
        machine.run(machine.command(workload, container))


def test_a_study_becomes_a_result(trial: Running) -> None:
    """What the manifests say of addresses, store, keys and tokens fits together: one study passes every process."""
    system = System(trial.settings("test"), parts=())  # the one that is told of everything, the bus too
    system.up()
    try:
        subject = phantom_subject(1, system.settings.canonical_base, system.settings.accessions)
        system.load(subject)
        system.result(system.announce(subject).workflow_id)
        (report,) = system.reports(subject.studies[-1].uid)
        assert report["status"] == "partial"
    finally:
        system.down()


def test_each_drains_and_ends_when_it_is_told_to(trial: Running) -> None:
    """Last, since it ends them: SIGTERM is enough within the grace of the pod; whoever still answers says that it is not ready."""
    for component in ("inbox", "codec", "gateway", "worker-reading", "worker-background"):
        assert trial.machine.stop(trial.commands.pop(component).workload), f"{component} had to be killed"


# -- what the hospital gives -------------------------------------------------------------------------------------------------


def _machine(folder: Path) -> Machine:
    """Every key of a Secret has a value: of the right form where a process looks at it, else a random word."""
    manifests = render("trial", *WHOLE)
    keys, maps, _ = from_the_hospital(manifests)
    assert not maps, "the trial needs no file of the hospital"
    held = {secret: {key: _value(_setting(secret, key, manifests), folder) for key in keys[secret]} for secret in keys}
    return Machine(folder, manifests, {"Secret": held, "ConfigMap": {}})


def _setting(secret: str, key: str, manifests: list[Manifest]) -> str:
    """The setting that a key is for: the chart names its file in the container so."""
    volumes = [volume for workload in workloads(manifests) for volume in workload.spec.get("volumes", [])]
    files = [(name, item) for volume in volumes for _, name, items in files_of(volume) for item in items]
    return next(item["path"] for name, item in files if (name, item["key"]) == (secret, key))


def _value(setting: str, folder: Path) -> str:
    if setting == "payload_key_file":
        return base64.b64encode(secrets.token_bytes(32)).decode()
    if setting == "codec_operators_file":
        file = folder / "operators.json"
        add_operator(file, "night-shift", datetime.now(UTC))
        return file.read_text()
    return secrets.token_urlsafe(24)


def _label(workload: Workload) -> str:
    return workload.labels["app.kubernetes.io/component"]
