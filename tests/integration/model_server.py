"""A model server as a process of its own: vLLM with our plugin and the untrained checkpoint, or the scripted model."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.clients.model import VllmModel
from services.parts.environment import cache_folder
from services.parts.ports import free_port
from services.parts.process import ProcessId, is_alive, spawn, stop
from services.scripted_model.server import write_release
from services.store import FolderObjectStore

START_SECONDS = 120


@dataclass
class Server:
    """The process, its address, its release and the folder that it may read."""

    process: ProcessId
    url: str
    release: Path
    store: FolderObjectStore
    log: Path
    port: int
    start: Callable[[], ProcessId]

    def model(self) -> VllmModel:
        return VllmModel(self.url, self.release, self.store.path)


def start(command: list[str], folder: Path) -> ProcessId:
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    given = ["--media-dir", str(folder / "store"), "--ready-file", str(ready)]
    process = spawn([sys.executable, "-P", "-m", *command, *given], dict(os.environ), folder, folder / "log")
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        assert is_alive(process), (folder / "log").read_text()[-2000:]
        assert time.monotonic() < deadline, "the server did not become ready"
        time.sleep(0.1)
    return process


def vllm(folder: Path, port: int) -> tuple[list[str], Path]:
    """The arguments of the server, and the release that it serves."""
    cache = cache_folder()
    built = subprocess.run(
        [sys.executable, "-P", "-m", "model_runtime", "build", "--cache", str(cache)],
        capture_output=True,
        text=True,
        check=True,
    )
    command = ["model_runtime", "serve", "--cache", str(cache), "--port", str(port)]
    return command, Path(built.stdout.split()[-1]) / "release.json"


def scripted(folder: Path, port: int) -> tuple[list[str], Path]:
    return ["services.scripted_model", "--port", str(port)], write_release(folder)


@contextmanager
def running(kind: Callable[[Path, int], tuple[list[str], Path]], folder: Path) -> Iterator[Server]:
    """A server of this kind (`vllm`, `scripted`), ready; stopped afterwards."""
    port, store = free_port(), FolderObjectStore(folder / "store")
    command, release = kind(folder, port)

    def again() -> ProcessId:
        return start(command, folder)

    server = Server(again(), f"http://127.0.0.1:{port}", release, store, folder / "log", port, again)
    try:
        yield server
    finally:
        stop(server.process, 20)
