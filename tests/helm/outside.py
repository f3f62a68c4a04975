"""Containers of the manifests as processes of this machine: their own commands, arguments, variables and files.

What is changed, and nothing else:
- the image's Python and console programs are those of this environment;
- a path under a volume's mount is the same path under a folder that stands for the volume (a claim's is shared by all who mount it);
- a container's port is a free port, and `<Service>:<port>` is 127.0.0.1 with the port of the container behind it; 0.0.0.0 is 127.0.0.1;
- a Secret's or ConfigMap's key holds what the test gives it.
A path that no mount serves is a failure, since the image's file system is read-only; so is a Service or a port that no container has.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from services.parts.part import HOST
from services.parts.ports import choose_ports
from services.parts.process import ProcessId, is_alive, spawn, stop
from tests.helm.manifests import Workload, files_of, workloads
from tests.helm.tools import Manifest, environment

BIN = Path(sys.executable).parent
IMAGE = {"PATH": f"{BIN}:/usr/bin:/bin", "LANG": "C.UTF-8"}
"""What the image's own environment gives; the rest is the manifest's."""
GRACE = 30.0


@dataclass(frozen=True)
class Command:
    """A container, ready to be run here."""

    workload: str
    container: Manifest
    arguments: list[str]
    environment: dict[str, str]
    ports: dict[str, int]
    """Name of a container's port -> the port here."""

    @property
    def name(self) -> str:
        return str(self.container["name"])


@dataclass
class Machine:
    """Where the containers of one release are run."""

    folder: Path
    manifests: list[Manifest]
    held: Mapping[str, Mapping[str, Mapping[str, str]]]
    """What the hospital gives: `Secret` or `ConfigMap` -> name -> key -> value."""
    running: dict[str, ProcessId] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.workloads = {str(workload): workload for workload in workloads(self.manifests)}
        wanted = {
            (str(w), p["name"]) for w in self.workloads.values() for c in w.containers for p in c.get("ports", [])
        }
        chosen = choose_ports({"\n".join(pair): 0 for pair in sorted(wanted)})
        self._ports = {(key.split("\n")[0], key.split("\n")[1]): port for key, port in chosen.items()}
        self._addresses = dict(self._services())

    # -- what a container becomes ----------------------------------------------------------------------------------------------

    def command(self, workload: Workload, container: Manifest) -> Command:
        mounts = self.mounts(workload, container)
        ports = {port["name"]: self._ports[str(workload), port["name"]] for port in container.get("ports", [])}
        numbers = {str(port["containerPort"]): str(ports[port["name"]]) for port in container.get("ports", [])}

        def here(word: str) -> str:
            return numbers.get(word, _moved(self._addressed(word), mounts))

        given = {name: here(value) for name, value in environment(container).items()}
        program, *arguments = [*container["command"], *container.get("args", [])]
        return Command(str(workload), container, [_program(program), *map(here, arguments)], IMAGE | given, ports)

    def mounts(self, workload: Workload, container: Manifest) -> dict[str, Path]:
        """Mount path -> the folder here, filled with what the volume holds."""
        volumes = {volume["name"]: volume for volume in workload.spec.get("volumes", [])}
        found = {}
        for mount in container.get("volumeMounts", []):
            folder = self._volume(workload, volumes[mount["name"]]) / mount.get("subPath", "")
            folder.mkdir(parents=True, exist_ok=True)
            found[mount["mountPath"].rstrip("/")] = folder
        return found

    def _volume(self, workload: Workload, volume: Manifest) -> Path:
        if claim := volume.get("persistentVolumeClaim"):
            return self.folder / "claims" / str(claim["claimName"])
        folder = self.folder / "pods" / workload.name / str(volume["name"])
        for kind, name, items in files_of(volume):
            for item in items:
                (folder / item["path"]).parent.mkdir(parents=True, exist_ok=True)
                (folder / item["path"]).write_text(self.held[kind][name][item["key"]])
        return folder

    def _services(self) -> Iterator[tuple[str, str]]:
        """(`service:port`, `127.0.0.1:port here`) of every Service, by the labels it selects and the port it names."""
        for service in self.manifests:
            if service["kind"] != "Service":
                continue
            name, selector = service["metadata"]["name"], service["spec"]["selector"].items()
            behind = [w for w in self.workloads.values() if selector <= w.labels.items()]
            assert behind, f"no workload is behind the Service {name}"
            for port in service["spec"]["ports"]:
                yield f"{name}:{port['port']}", f"{HOST}:{self._port(behind[0], port.get('targetPort', port['port']))}"
            yield name, HOST

    def _port(self, workload: Workload, target: str | int) -> int:
        ports = [p for container in workload.containers for p in container.get("ports", [])]
        (named,) = [p["name"] for p in ports if target in (p["name"], p["containerPort"])]
        return self._ports[str(workload), named]

    def _addressed(self, word: str) -> str:
        for service, here in self._addresses.items():
            word = re.sub(rf"(?<![\w.-]){re.escape(service)}(?![\w.-])", here, word)
        return word.replace("0.0.0.0", HOST)

    # -- running it ------------------------------------------------------------------------------------------------------------

    def log(self, command: Command) -> Path:
        return self.folder / "logs" / f"{command.workload.replace('/', '-')}-{command.name}.log"

    def run(self, command: Command, patience: float = 120.0) -> str:
        """A Job's or an init container's: run to its end; what it said. `AssertionError` with its output if its status is not 0."""
        done = subprocess.run(
            command.arguments,
            env=command.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
        assert done.returncode == 0, (
            f"{command.workload} {command.arguments[1:]} ended with {done.returncode}: {done.stdout}{done.stderr}"
        )
        return done.stdout

    def start(self, command: Command) -> None:
        """A Deployment's: it runs until `stop`."""
        self.running[command.workload] = spawn(
            command.arguments, command.environment, self.folder / "work", self.log(command)
        )

    def await_probe(self, command: Command, probe: str, patience: float = 120.0) -> None:
        """Wait until the container's own probe (`readinessProbe`) is answered as the kubelet wants it: 200 to 399, or a connection."""
        process, deadline = self.running[command.workload], time.monotonic() + patience
        while not self.answers(command, probe):
            said = self.log(command).read_text(errors="replace")[-3000:]
            assert is_alive(process), f"{command.workload} has ended:\n{said}"
            assert time.monotonic() < deadline, f"{command.workload} does not answer its {probe}:\n{said}"
            time.sleep(0.2)

    def answers(self, command: Command, probe: str) -> bool:
        asked = command.container[probe]
        how: dict[str, Any] = asked.get("httpGet") or asked["tcpSocket"]
        port = how["port"] if how["port"] in command.ports else _named(command.container, how["port"])
        if "tcpSocket" in asked:
            return _listens(command.ports[port])
        return self.status(command, port, how["path"]) in range(200, 400)

    def status(self, command: Command, port: str, path: str) -> int:
        """HTTP status of a path on one of the container's ports; 0 if nothing answers."""
        try:
            return httpx.get(f"http://{HOST}:{command.ports[port]}{path}", timeout=5, trust_env=False).status_code
        except httpx.HTTPError:
            return 0

    def stop(self, name: str) -> bool:
        """SIGTERM, as the kubelet sends it; False if it had to be killed."""
        return not stop(self.running.pop(name), GRACE)

    def close(self) -> None:
        for name in reversed(list(self.running)):
            self.stop(name)


def unserved(container: Manifest) -> list[str]:
    """Paths that a container is told of and that lie under none of its mounts."""
    mounts = [mount["mountPath"].rstrip("/") for mount in container.get("volumeMounts", [])]
    paths = [word for word in [*environment(container).values(), *container.get("args", [])] if word.startswith("/")]
    return [path for path in paths if not any(path == mount or path.startswith(f"{mount}/") for mount in mounts)]


def _moved(word: str, mounts: Mapping[str, Path]) -> str:
    """`word` with every path under a mount where it is here; the deepest mount counts."""
    if not mounts:
        return word
    paths = "|".join(re.escape(mount) for mount in sorted(mounts, key=len, reverse=True))
    pattern = rf"(?:(?<=sqlite:///)|(?<![\w/.-]))({paths})(?=$|[/:,;\s\"'])"
    return re.sub(pattern, lambda found: str(mounts[found[1]]), word)


def _program(name: str) -> str:
    """A program of the image, here."""
    found = shutil.which(Path(name).name, path=IMAGE["PATH"])
    assert found, f"the image's program {name} is not in this environment"
    return found


def _named(container: Manifest, number: int) -> str:
    return str(next(port["name"] for port in container["ports"] if port["containerPort"] == number))


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=2).close()
    except OSError:
        return False
    return True
