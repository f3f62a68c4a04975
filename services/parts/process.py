"""One process of ours: started in its own session, known again by its start time, stopped with everything it has started.

A process id alone proves nothing, since the kernel hands it out again: every look at a process compares the start time too (`/proc/<pid>/stat`,
field 22, together with the boot's id).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.05
_PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessId:
    """A process id with the time its process was started (`<boot id>:<clock ticks since boot>`)."""

    pid: int
    started: str

    @property
    def boot(self) -> str:
        return self.started.rpartition(":")[0]

    @property
    def ticks(self) -> int:
        return int(self.started.rpartition(":")[2] or 0)


@dataclass(frozen=True)
class _Stat:
    pid: int
    state: str
    session: int
    ticks: int


def spawn(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> ProcessId:
    """Start `command` as the leader of a new session, its output appended to `log`; `OSError` if it cannot be run at all."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        child = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(handle)
    child.returncode = 0  # it may outlive this launcher; where it does not, `_reap` collects it
    return ProcessId(child.pid, f"{_boot_id()}:{_ticks(child.pid)}")


def is_alive(process: ProcessId) -> bool:
    """Whether this very process still runs; a zombie, or another process under the same id, does not count."""
    _reap(process.pid)
    stat = _read_stat(process.pid)
    return stat is not None and stat.state not in "ZX" and _is_ours(process, stat)


def stop(process: ProcessId, grace: float) -> bool:
    """SIGTERM to the session's processes, SIGKILL to those that remain after `grace` seconds; True if SIGKILL was needed.

    Nothing is sent to a process that merely carries a recycled id. Children that outlived a killed leader are found by their session.
    """
    if not list(members(process)):
        return False
    _signal(process, signal.SIGTERM)
    if _gone_within(process, grace):
        return False
    _signal(process, signal.SIGKILL)
    _gone_within(process, 5.0)
    return True


def members(process: ProcessId) -> Iterator[int]:
    """The living processes of the session that `process` led or leads.

    A kernel does not give out a process id again while a session still bears it: without a living leader, members started after it are its own.
    """
    _reap(process.pid)
    leader = _read_stat(process.pid)
    if process.boot != _boot_id() or (leader is not None and not _is_ours(process, leader)):
        return
    for stat in _all_stats():
        if stat.session == process.pid and stat.ticks >= process.ticks and stat.state not in "ZX":
            yield stat.pid


def _signal(process: ProcessId, number: signal.Signals) -> None:
    for pid in members(process):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _gone_within(process: ProcessId, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(True for _ in members(process)):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _is_ours(process: ProcessId, stat: _Stat) -> bool:
    return f"{_boot_id()}:{stat.ticks}" == process.started


def _reap(pid: int) -> None:
    """Collect the child if it is ours and has ended, so that it does not stay as a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _ticks(pid: int) -> int:
    stat = _read_stat(pid)
    return stat.ticks if stat is not None else 0


def _all_stats() -> Iterator[_Stat]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _read_stat(int(entry.name))) is not None:
            yield stat


def _read_stat(pid: int) -> _Stat | None:
    """Fields 3, 6 and 22 of proc(5) `stat`; the command in field 2 may hold spaces and brackets, so count from its last bracket."""
    try:
        rest = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Stat(pid, rest[0], int(rest[3]), int(rest[19]))


def _boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
