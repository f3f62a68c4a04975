"""No child outlives the server: a `kill -9` of the parent must leave nothing that holds the port or the memory."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when the thread that created it ends."""


def die_with_parent() -> None:
    """In a child of `multiprocessing`: ask the kernel for SIGKILL when the parent ends. In any other process: nothing."""
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return
    _ask_for_death(parent.pid)


def forked_children_die_with_parent() -> None:
    """The same for every child that is forked from now on, and theirs (a forked child does not load its plugins again)."""
    parents: list[int] = []
    os.register_at_fork(
        before=lambda: parents.append(os.getpid()),
        after_in_parent=parents.pop,
        after_in_child=lambda: _ask_for_death(parents.pop()),
    )


def _ask_for_death(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)
