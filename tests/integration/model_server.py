"""A model server as a process of its own: vLLM with our plugin and the untrained checkpoint, or the scripted model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from services.clients.model import VllmModel
from services.parts.environment import cache_folder
from services.parts.ports import free_port
from services.parts.process import ProcessId, is_alive, members, spawn, stop
from services.scripted_model.server import write_release
from services.store import FolderObjectStore
from tests.integration.system import until

START_SECONDS = 240
STOP_SECONDS = 60
LONG = 1500
"""Tokens of an answer that takes some seconds."""
TOKEN = "w" * 43
NOWHERE = "http://127.0.0.1:9"
NO_NETWORK = dict.fromkeys(
    ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "HF_ENDPOINT"), NOWHERE
)
BEARER = {"Authorization": f"Bearer {TOKEN}"}


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

    def revive(self) -> None:
        """Start it again, on its port, unless it runs."""
        if not is_alive(self.process):
            self.process = self.start()

    def model(self) -> VllmModel:
        return VllmModel(self.url, self.release, self.store.path, token=TOKEN)


def start(command: list[str], folder: Path, environment: Mapping[str, str]) -> ProcessId:
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    (folder / "token").write_text(TOKEN)
    given = ["--media-dir", str(folder / "store"), "--ready-file", str(ready), "--token-file", str(folder / "token")]
    process = spawn([sys.executable, "-P", "-m", *command, *given], dict(environment), folder, folder / "log")
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


def offline() -> dict[str, str]:
    """This environment, in which every request that leaves the machine ends at a port where nobody listens; loopback can be reached."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in ("no_proxy", *map(str.lower, NO_NETWORK))
    }
    return kept | NO_NETWORK | {"NO_PROXY": "127.0.0.1"}


def scripted(folder: Path, port: int) -> tuple[list[str], Path]:
    return ["services.scripted_model", "--port", str(port)], write_release(folder)


@contextmanager
def running(
    kind: Callable[[Path, int], tuple[list[str], Path]], folder: Path, environment: Mapping[str, str] = os.environ
) -> Iterator[Server]:
    """A server of this kind (`vllm`, `scripted`), ready; stopped afterwards."""
    port, store = free_port(), FolderObjectStore(folder / "store")
    command, release = kind(folder, port)

    def again() -> ProcessId:
        return start(command, folder, environment)

    server = Server(again(), f"http://127.0.0.1:{port}", release, store, folder / "log", port, again)
    try:
        yield server
    finally:
        assert not stop(server.process, STOP_SECONDS), "SIGTERM was not enough"


# -- how it ends -------------------------------------------------------------------------------------------------------


def by_process(process: ProcessId) -> None:
    """As Kubernetes does: the first process of the container alone."""
    os.kill(process.pid, signal.SIGTERM)


def by_session(process: ProcessId) -> None:
    """As the launcher does: everything that it started, the engine too."""
    for pid in list(members(process)):
        os.kill(pid, signal.SIGTERM)


def ends_well(
    client: httpx.Client, process: ProcessId, tell: Callable[[ProcessId], None], long: dict[str, Any]
) -> None:
    """Told to end while it owes the answer to `long`, of LONG tokens, it refuses what is new, gives that answer, and is gone with every child."""

    def chat(body: dict[str, Any]) -> httpx.Response:
        return client.post("/v1/chat/completions", json=body)

    with ThreadPoolExecutor(1) as pool:
        owed = pool.submit(chat, long)
        until(lambda: computed(client) == 1 or None, "the answer to be under way")
        tell(process)
        until(lambda: client.get("/ready").status_code == 503 or None, "the server to say that it ends")
        late = chat(long | {"max_tokens": 1, "min_tokens": 0})
        assert (late.status_code, late.headers["retry-after"]) == (503, "5")
        assert client.get("/health").status_code == 200, "it lives, and is not to be killed"
        assert not owed.done(), "the answer was too short to prove anything"
        answer = owed.result()
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == LONG
    until(lambda: not list(members(process)) or None, "the end of every child")


def computed(client: httpx.Client) -> float:
    begin = "vllm:num_requests_running{"
    lines = client.get("/metrics").text.splitlines()
    return float(next((line.split()[-1] for line in lines if line.startswith(begin)), 0))
