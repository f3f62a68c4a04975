"""Processes of replayed images, as a kubelet would run them: the image's user and environment, a read-only root, settings and mounts."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.images import sandbox
from scripts.images.dockerfile import ImageConfig

USER = 10001
STORE = "/var/lib/longview"
"""Where the tests mount the folder that all processes share."""


@dataclass(frozen=True)
class Image:
    root: Path
    config: ImageConfig
    shell: bool = False

    @property
    def packages(self) -> Path:
        return self.root / "opt/longview/lib/python3.11/site-packages"


@dataclass
class Container:
    process: sandbox.Process
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, seconds: float = 30) -> tuple[int, float]:
        """Its exit status after SIGTERM, and how many seconds it took."""
        begun = time.monotonic()
        self.process.signal(signal.SIGTERM)
        return self.process.wait(seconds), time.monotonic() - begun


class Containers:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.store = folder / "store"
        self.store.mkdir()
        _give(self.store)
        self._started: list[Container] = []

    def start(
        self, image: Image, arguments: Sequence[str], *, command: Sequence[str] | None = None, **settings: str
    ) -> Container:
        """The image with ARGUMENTS, or with another COMMAND than its own; SETTINGS are environment variables."""
        log = self._folder / f"{len(self._started)}.log"
        words = [*(image.config.entrypoint if command is None else command), *arguments]
        binds = [sandbox.Bind(self.store, STORE, writable=True)]
        with log.open("wb") as output:
            process = sandbox.start(
                image.root,
                words,
                {**image.config.environment, **settings},
                user=image.config.user,
                binds=binds,
                output=output,
                shell=image.shell,
            )
        self._started.append(Container(process, log))
        return self._started[-1]

    def run(
        self, image: Image, arguments: Sequence[str], *, command: Sequence[str] | None = None, **settings: str
    ) -> tuple[int, str]:
        """Exit status and output of something that ends by itself."""
        container = self.start(image, arguments, command=command, **settings)
        return container.process.wait(180), container.said

    def python(self, image: Image, code: str, **settings: str) -> str:
        """What CODE prints, in the image's environment."""
        status, said = self.run(image, ["-P", "-c", code], command=["python"], **settings)
        assert status == 0, said
        return said

    def file(self, name: str, content: bytes) -> str:
        """CONTENT as a file of the store; its path inside."""
        path = self.store / name
        path.write_bytes(content)
        _give(path)
        path.chmod(0o600)
        return f"{STORE}/{name}"

    def end(self) -> None:
        for container in reversed(self._started):
            container.process.kill()


def _give(path: Path) -> None:
    subprocess.run(["chown", f"{USER}:{USER}", path], check=True)


def eventually(container: Container, happened: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until HAPPENED; a container that ends before, or does not come so far, fails the test with what it said."""
    until = time.monotonic() + seconds
    while not happened():
        assert container.process.running(), f"it ended: {container.said}"
        assert time.monotonic() < until, f"not in {seconds:.0f} s: {container.said}"
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def answer(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and body of a GET; 0 while nobody listens."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(asked, timeout=10) as given:
            return given.status, given.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""
