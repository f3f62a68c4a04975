"""What is started once and shared: a server at its first use, stopped when the run ends (`once`) or the group of tests that uses it (`in_group`).

A test takes a part of it that is nobody else's (a namespace of Temporal, patients and studies of its own). Tests that stop a server, give it flags
of their own or look at everything it holds start one for themselves.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

Shared = TypeVar("Shared")

_started: dict[Callable[[Path], AbstractContextManager[Any]], Any] = {}
_of_the_group: dict[str, Any] = {}
_until_the_group_ends = ExitStack()
_until_the_end = ExitStack()
atexit.register(_until_the_end.close)  # for what is run outside pytest


def once(start: Callable[[Path], AbstractContextManager[Shared]]) -> Shared:
    """What `start` gives in a folder of its own; the next one who asks gets the same."""
    if start not in _started:
        folder = _until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="longview-tests-"))
        _started[start] = _until_the_end.enter_context(start(Path(folder)))
    shared: Shared = _started[start]
    return shared


def in_group(name: str, start: Callable[[], AbstractContextManager[Shared]]) -> Shared:
    """What `start` gives; the next one who asks by this name gets the same, until another group of tests begins (tests.groups)."""
    if name not in _of_the_group:
        _of_the_group[name] = _until_the_group_ends.enter_context(start())
    shared: Shared = _of_the_group[name]
    return shared


def end_group() -> None:
    """Whole systems are not left running beside the tests of others: even an idle one takes a tenth of a processor."""
    _of_the_group.clear()
    _until_the_group_ends.close()


@pytest.fixture(scope="session", autouse=True)
def stopped_with_the_run() -> Iterator[None]:
    yield
    end_group()
    _until_the_end.close()
    _started.clear()
