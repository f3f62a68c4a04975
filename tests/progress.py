"""Where a run is, and what it took: tests that run long are named while they run; at the end one screen has the tiers, the slowest tests and what was
skipped and why."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from typing import Any

import pytest

LONG_SECONDS = 20.0
"""A test that has run so long is named, and again each time as much has passed."""
SLOWEST = 10


class Progress:
    """A plugin of the process that shows the run, which under xdist is not the one that runs the tests."""

    def __init__(self, reporter: Any) -> None:
        self._reporter = reporter
        self._running: dict[str, float] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        self._skipped: Counter[tuple[str, str]] = Counter()
        self._outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self._done = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._name_long_ones, name="progress", daemon=True).start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._running[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._running.pop(nodeid, None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration
        if report.skipped:
            self._outcomes[_tier(report.nodeid)]["skipped"] += 1
            self._skipped[(_tier(report.nodeid), _reason(report))] += 1
        elif report.failed or report.when == "call":
            self._outcomes[_tier(report.nodeid)][report.outcome] += 1

    def pytest_sessionfinish(self) -> None:
        self._done.set()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self._seconds:
            return
        terminalreporter.section("tiers")
        for tier, outcomes in sorted(self._outcomes.items()):
            counted = ", ".join(f"{count} {word}" for word, count in sorted(outcomes.items()))
            spent = sum(seconds for nodeid, seconds in self._seconds.items() if _tier(nodeid) == tier)
            terminalreporter.write_line(f"{tier:<14} {counted}; {spent:.0f} s in its tests")
        for (tier, reason), count in self._skipped.most_common():
            terminalreporter.write_line(f"skipped in {tier}: {count} x {reason[:150]}")
        slowest = sorted(self._seconds.items(), key=lambda item: -item[1])[:SLOWEST]
        for nodeid, seconds in slowest:
            if seconds < 1.0:
                break
            terminalreporter.write_line(f"{seconds:8.1f} s  {nodeid.removeprefix('tests/')[:130]}")

    def _name_long_ones(self) -> None:
        named: dict[str, float] = {}
        while not self._done.wait(1.0):
            now = time.monotonic()
            for nodeid, began in list(self._running.items()):
                if now - named.get(nodeid, began) > LONG_SECONDS:
                    named[nodeid] = now
                    self._reporter.ensure_newline()
                    self._reporter.write_line(f"  {now - began:4.0f} s so far: {nodeid.removeprefix('tests/')}")


def _tier(nodeid: str) -> str:
    """The folder below tests/."""
    return nodeid.removeprefix("tests/").partition("/")[0]


def _reason(report: pytest.TestReport) -> str:
    """What the test says why it skips; `longrepr` is (file, line, reason) then."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
