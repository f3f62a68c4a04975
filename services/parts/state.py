"""What the launcher remembers on disk: `parts.json`, the lock that keeps two launchers apart, the payload key and the parts' tokens."""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from pydantic import ValidationError

from schemas.errors import PartUnavailable
from schemas.model import Record
from services.parts.process import ProcessId, is_alive

LOCK_SECONDS = 600.0


class PartRecord(Record):
    """One part as it was started (with a process) or done (a step without one)."""

    name: str
    pid: int | None
    started: str | None
    """Start time of the process, see `ProcessId`."""
    port: int | None
    url: str
    log: str
    version: str
    provides: dict[str, str]
    """Settings that this part gives to the others: name -> value."""
    seconds: float
    """How long it took until it was healthy."""

    @property
    def process(self) -> ProcessId | None:
        return None if self.pid is None or self.started is None else ProcessId(self.pid, self.started)

    @property
    def alive(self) -> bool:
        """A step without a process is alive as long as it is recorded."""
        return self.process is None or is_alive(self.process)


class PartsFile:
    """`parts.json` in the state folder; every change is written atomically, so a killed launcher leaves a whole file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "parts.json"
        self._guard = threading.Lock()

    def read(self) -> dict[str, PartRecord]:
        """Every record by name; a file that cannot be read is `PartUnavailable`, never taken for an empty one."""
        try:
            parts = orjson.loads(self._path.read_bytes())["parts"]
            return {name: PartRecord.model_validate(part) for name, part in parts.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, ValidationError) as error:
            raise PartUnavailable(
                "parts-file", "parts.json in the state folder cannot be read: stop its processes by hand and delete it."
            ) from error

    def put(self, record: PartRecord) -> None:
        with self._guard:
            self._write(self.read() | {record.name: record})

    def remove(self, name: str) -> None:
        with self._guard:
            self._write({key: part for key, part in self.read().items() if key != name})

    def _write(self, parts: dict[str, PartRecord]) -> None:
        if not parts:
            self._path.unlink(missing_ok=True)
            return
        body = {"version": 1, "parts": {name: part.model_dump() for name, part in parts.items()}}
        write_private(self._path, orjson.dumps(body, option=orjson.OPT_INDENT_2))


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` atomically; the file is its owner's alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


@contextmanager
def launcher_lock(folder: Path, wait: float = LOCK_SECONDS) -> Iterator[None]:
    """Only one launcher changes the parts of a state folder at a time; `PartUnavailable` if another one does not end within `wait` seconds."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "launcher.lock").open("w") as file:
        _acquire(file.fileno(), wait)
        yield


def _acquire(handle: int, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise PartUnavailable(
                    "launcher-busy", "another 'longview' is starting or stopping these parts: wait for it to end."
                ) from None
            time.sleep(0.1)


def secrets_in(folder: Path) -> tuple[Path, Path, Path]:
    """Where the payload key and the tokens of the model server and of the other parts of a state folder are, or would be."""
    return folder / "payload.key", folder / "model.token", folder / "parts.token"


def model_token_file(folder: Path) -> Path:
    """The file with the token that the worker shows to the model server."""
    _, path, _ = secrets_in(folder)
    return _token_file(path)


def parts_token_file(folder: Path) -> Path:
    """The file with the token that the FHIR server and the archive of this state folder ask for."""
    _, _, path = secrets_in(folder)
    return _token_file(path)


def _token_file(path: Path) -> Path:
    """Created once (256 random bits, mode 0600)."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32).encode() + b"\n")
    return path


def payload_key_file(folder: Path) -> Path:
    """The file with the key that encrypts Temporal's payloads, created once (32 random bytes in base64, mode 0600)."""
    path, _, _ = secrets_in(folder)
    if not path.exists():
        write_private(path, base64.b64encode(os.urandom(32)) + b"\n")
    return path
