"""Gateway, worker and inbox as a platform starts them, each with a port for its probes and metrics, on the embedded parts."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from services.parts.environment import child_environment
from services.parts.ports import free_port
from services.scripted_model.part import with_scripted_model
from services.settings import Settings
from tests.integration.system import System, until

PROCESSES = ("gateway", "worker", "inbox")
OTHERS = ("broker", "temporal", "fhir", "archive", "database", "model")


class Watched:
    """One process and its operations port."""

    def __init__(self, system: System, name: str) -> None:
        self.name, self.port = name, free_port()
        settings = replace(system.settings, operations_port=str(self.port))
        command = [sys.executable, "-P", "-m", "services.cli", name]
        with (system.logs / f"watched-{name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=child_environment(settings), stdout=log, stderr=log)

    def get(self, path: str) -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}{path}"
        return httpx.get(url, timeout=5, trust_env=False, verify=False)  # plain HTTP: authorities take 20 ms to load

    def status(self, path: str) -> int:
        """0 while nobody listens."""
        try:
            return self.get(path).status_code
        except httpx.HTTPError:
            return 0

    def missing(self) -> list[str]:
        found: list[str] = self.get("/ready").json()["missing"]
        return found

    def values(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """Every sample by its name and sorted labels."""
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(self.get("/metrics").text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return found

    def value(self, name: str, **labels: str) -> float:
        """The sum over all samples of this name with these labels."""
        wanted = set(labels.items())
        return sum(value for had, value in self.values().get(name, {}).items() if wanted <= set(had))

    def become_ready(self) -> None:
        until(lambda: True if self.status("/ready") == 200 else None, f"{self.name} to be ready")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


class House:
    """The parts, and the processes that are watched."""

    def __init__(self, system: System, watched: dict[str, Watched]) -> None:
        self.system = system
        self.gateway, self.worker, self.inbox = (watched[name] for name in PROCESSES)

    @property
    def watched(self) -> tuple[Watched, ...]:
        return self.gateway, self.worker, self.inbox


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """Everything up and ready; nothing is left of it afterwards."""
    system = System(Settings(state_dir=str(folder / "state")), parts=with_scripted_model())
    with ExitStack() as stack:
        stack.callback(system.down)
        system.up(*OTHERS)
        watched = {}
        for name in PROCESSES:
            watched[name] = Watched(system, name)
            stack.callback(watched[name].stop)
        for process in watched.values():
            process.become_ready()
        yield House(system, watched)
