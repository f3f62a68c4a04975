"""`python -m tests.real [pytest options]`: starts every real part that can be had, names them to the tests, runs the real tier, stops them.

A part that cannot be had is one line, and the tests that need it skip.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from tests.real import parts

PARTS: dict[str, tuple[str, Callable[[Path], AbstractContextManager[str]]]] = {
    "kafka": (parts.KAFKA, parts.kafka),
    "hapi": (parts.HAPI, parts.hapi),
    "orthanc": (parts.ORTHANC, parts.orthanc),
    "postgresql": (parts.POSTGRES, parts.postgres),
}
TESTS = ("tests/real", "tests/contract", "-m", "real")


def main(options: list[str]) -> int:
    signal.signal(signal.SIGTERM, _as_exit)
    folder = Path(tempfile.mkdtemp(prefix="longview-real-"))
    with ExitStack() as started:
        with ThreadPoolExecutor(len(PARTS)) as pool:
            urls = dict(pool.map(lambda name: _start(name, folder, started), PARTS))
        environment = os.environ | {variable: url for variable, url in urls.items() if url}
        status = subprocess.run(
            [sys.executable, "-m", "pytest", *TESTS, *options], env=environment, check=False
        ).returncode
    if status == 0:
        shutil.rmtree(folder)
    else:
        print(f"real parts: their logs are in {folder}", flush=True)
    return status


def _as_exit(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _start(name: str, folder: Path, started: ExitStack) -> tuple[str, str]:
    """The variable that names the part to the tests, and where it is (empty: it cannot be had)."""
    variable, start = PARTS[name]
    began = time.monotonic()
    try:
        url = started.enter_context(start(folder))
    except pytest.skip.Exception as absent:
        print(f"cannot be had: {name}: {absent}", flush=True)
        return variable, ""
    except (AssertionError, OSError, subprocess.CalledProcessError) as error:
        print(f"real parts: {name} does not start: {error}", flush=True)
        return variable, ""
    print(f"real parts: {name} at {url} after {time.monotonic() - began:.1f} s", flush=True)
    return variable, url


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
