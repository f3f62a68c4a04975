"""What one test run starts once and all of its tests share: a server at its first use, stopped when the run ends.

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
_until_the_end = ExitStack()
atexit.register(_until_the_end.close)  # for what is run outside pytest


def once(start: Callable[[Path], AbstractContextManager[Shared]]) -> Shared:
    """What `start` gives in a folder of its own; the next one who asks gets the same."""
    if start not in _started:
        folder = _until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="longview-tests-"))
        _started[start] = _until_the_end.enter_context(start(Path(folder)))
    shared: Shared = _started[start]
    return shared


@pytest.fixture(scope="session", autouse=True)
def stopped_with_the_run() -> Iterator[None]:
    yield
    _until_the_end.close()
    _started.clear()
