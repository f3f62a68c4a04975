"""The model runtime as processes of a benchmark: checkpoints made, one served, its memory counted. It is reached over HTTP, as everywhere."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import PartUnavailable
from services.parts.environment import cache_folder, model_environment
from services.parts.ports import HOST, free_port
from services.parts.process import ProcessId, is_alive, members, spawn, stop
from services.settings import Settings

START_SECONDS, STOP_SECONDS, COMMAND_SECONDS = 180.0, 20.0, 600.0


@dataclass(frozen=True)
class ModelServer:
    """A checkpoint that is served, and the folder whose files it may read."""

    checkpoint: Path
    url: str
    media: Path
    process: ProcessId

    @property
    def release_file(self) -> Path:
        return self.checkpoint / "release.json"


def runtime(*arguments: str) -> Path:
    """What a command of `python -m model_runtime` prints last: a folder."""
    command = [sys.executable, "-P", "-m", "model_runtime", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        env=model_environment(Settings()),
        check=False,
    )
    if done.returncode != 0 or not done.stdout.split():
        raise PartUnavailable("bench-runtime", f"the model runtime could not {arguments[0]}: try it by hand.")
    return Path(done.stdout.split()[-1])


@contextmanager
def serving(checkpoint: Path, folder: Path) -> Iterator[ModelServer]:
    """A server of this checkpoint that has answered its first question; stopped with everything it started."""
    port, ready, media = free_port(), folder / "ready", folder / "media"
    media.mkdir(parents=True)
    arguments = {
        "--checkpoint": checkpoint,
        "--cache": cache_folder(),
        "--port": port,
        "--media-dir": media,
        "--ready-file": ready,
    }
    command = ["model_runtime", "serve", *(str(word) for pair in arguments.items() for word in pair)]
    process = spawn([sys.executable, "-P", "-m", *command], model_environment(Settings()), folder, folder / "log")
    try:
        _wait(process, ready)
        yield ModelServer(checkpoint, f"http://{HOST}:{port}", media, process)
    finally:
        stop(process, STOP_SECONDS)


def _wait(process: ProcessId, ready: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        if not is_alive(process) or time.monotonic() > deadline:
            raise PartUnavailable("bench-model", "the model server did not become ready: start one by hand to see why.")
        time.sleep(0.1)


def memory_mib(process: ProcessId) -> dict[str, float]:
    """Of a session's processes: `resident` (RSS, which counts pages that forked processes share once for each) and `own` (anonymous memory, each page
    once: weights, caches and heaps without the libraries' files)."""
    kibibytes = {"resident": 0, "own": 0}
    for pid in members(process):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        fields = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
        kibibytes["resident"] += fields["Rss"]
        kibibytes["own"] += fields["Pss_Anon"]
    return {name: round(size / 1024, 1) for name, size in kibibytes.items()}
