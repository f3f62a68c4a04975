"""`python3 scripts/tiers.py check|ci [TIER...]`: runs tiers of checks side by side as far as the cores allow, and says where it is.

Needs Python alone, so that it can begin before the environment is there. A tier is a command with a share of the cores: it starts, in the
order below, as soon as those it needs have ended and its share is free. What it prints goes to a file in `build/tiers`, and to the screen only if
it fails; the end is one screen. Exit status 0 if every tier passed, 1 if one failed, 2 for a tier that is not there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "tiers"
CORES = 2.0
"""What the shares below are of: a machine with more of them is not asked for more."""
SAY_SECONDS = 60
LAST_LINES = 150
SLOWEST = 20


@dataclass(frozen=True)
class Tier:
    """A command (a line of the shell), the cores that it keeps busy, the minutes after which it has failed, the tiers that it comes after."""

    name: str
    command: str
    share: float = CORES
    minutes: float = 10
    after: tuple[str, ...] = ()
    skip_status: int | None = None
    """The exit status that says: it cannot be had here, which is no failure."""


def make(target: str, *, share: float = CORES, minutes: float, after: tuple[str, ...] = ()) -> Tier:
    return Tier(target, f"make {target}", share, minutes, after)


CHECK = (
    Tier("unit", "LONGVIEW_TEST_EXAMPLES=check .venv/bin/pytest tests/unit -n 2 --dist worksteal -q", share=1.5),
    Tier("mypy", ".venv/bin/mypy", share=0.5),
    Tier("ruff", ".venv/bin/ruff check . && .venv/bin/ruff format --check .", share=0.0),
    Tier("imports", ".venv/bin/lint-imports", share=0.0),
)
"""What is run after each change, in two minutes: a property is tried with 20 examples, and with Hypothesis' 100 in `make test`."""

CI = (
    make("setup", minutes=10),
    make("test", share=1.5, minutes=30, after=("setup",)),
    make("lint", share=0.5, minutes=5, after=("setup",)),
    make("real-parts", share=0.5, minutes=15, after=("setup",)),
    Tier("cluster", "scripts/cluster/build.sh", share=1.5, minutes=30, after=("setup",), skip_status=2),
    make("audit", share=0.5, minutes=5, after=("setup",)),
    make("lock-gpu-check", share=0.5, minutes=5, after=("setup",)),
    make("test-real", share=0.7, minutes=30, after=("setup", "real-parts", "test")),
    Tier(
        "bench",
        "LONGVIEW_BENCH_ROUNDS=1 LONGVIEW_BENCH_OPEN=1000 make bench",
        share=1.3,
        minutes=30,
        after=("setup", "test"),
    ),
    make("test-long", share=1.0, minutes=30, after=("setup", "test")),
    make("test-faults", share=0.6, minutes=30, after=("setup", "test")),
    make("test-helm", share=0.6, minutes=30, after=("setup", "cluster", "test")),
    make("images-check", share=1.0, minutes=20, after=("setup", "test")),
    make("test-fuzz", share=1.0, minutes=30, after=("setup", "test")),
    make("test-browser", share=0.7, minutes=10, after=("setup", "real-parts", "test")),
)
"""Every tier. Shares are measured: those below 1 mostly wait for servers that start, time out or are killed; three of the heavy ones at once take
longer than one after the other."""


@dataclass
class Ended:
    """How a tier ended: seconds of wall and processor time, exit status, and what its pytest counted."""

    tier: Tier
    wall: float
    processor: float
    status: int
    counts: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    durations: list[tuple[float, str]] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        if self.status == self.tier.skip_status:
            return "SKIPPED: " + (_last_line(_log(self.tier)) or "it cannot be had here")
        if self.status == -signal.SIGALRM:
            return f"FAILED: not done within {self.tier.minutes} min"
        return f"FAILED (status {self.status})" if self.status else "passed"

    @property
    def failed(self) -> bool:
        return self.status not in (0, self.tier.skip_status)


@dataclass
class _Running:
    tier: Tier
    process: subprocess.Popen[bytes]
    began: float
    last_report: float


def main(arguments: list[str]) -> int:
    plans = {"check": CHECK, "ci": CI}
    if not arguments or arguments[0] not in plans:
        print(f"usage: tiers.py {'|'.join(plans)} [TIER...]", file=sys.stderr)
        return 2
    plan, chosen = plans[arguments[0]], arguments[1:]
    unknown = set(chosen) - {tier.name for tier in plan}
    if unknown:
        print(f"tiers: {sorted(unknown)[0]} is none of {', '.join(tier.name for tier in plan)}.", file=sys.stderr)
        return 2
    LOGS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    ended = run([tier for tier in plan if not chosen or tier.name in chosen])
    show(ended, time.monotonic() - began)
    return int(any(each.failed for each in ended))


def run(plan: list[Tier]) -> list[Ended]:
    """All of them, however many fail; interrupted, nothing of them is left running."""
    began = time.monotonic()
    waiting, running, ended = list(plan), list[_Running](), list[Ended]()
    try:
        while waiting or running:
            for tier in [each for each in waiting if _may_start(each, plan, ended)]:
                if _has_room(tier, running):
                    waiting.remove(tier)
                    running.append(_start(tier))
                    say(began, f"{tier.name}: {tier.command}")
            for each in running[:]:
                done = _ended(each)
                if done is not None:
                    running.remove(each)
                    ended.append(done)
                    say(began, f"{done.tier.name}: {done.verdict} after {_minutes(done.wall)} {_counted(done)}")
                    if done.failed:
                        _show_log(done.tier)
                elif time.monotonic() - each.last_report > SAY_SECONDS:
                    each.last_report = time.monotonic()
                    say(
                        began,
                        f"{each.tier.name}: {_minutes(each.last_report - each.began)} so far: {_last_line(_log(each.tier))}",
                    )
            time.sleep(0.1)
    finally:
        for each in running:
            _kill(each.process)
    return ended


def say(began: float, line: str) -> None:
    print(f"[{_minutes(time.monotonic() - began)}] {line}", flush=True)


# -- starting and ending -------------------------------------------------------------------------------------------------------


def _may_start(tier: Tier, plan: list[Tier], ended: list[Ended]) -> bool:
    """Whether what it comes after has ended, as far as that is in the plan."""
    open_ = {each.name for each in plan} - {each.tier.name for each in ended}
    return not open_ & set(tier.after)


def _has_room(tier: Tier, running: list[_Running]) -> bool:
    return not running or sum(each.tier.share for each in running) + tier.share <= CORES


def _start(tier: Tier) -> _Running:
    _report(tier).unlink(missing_ok=True)
    options = f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={_report(tier)}".strip()
    with _log(tier).open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", tier.command],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTEST_ADDOPTS": options},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    now = time.monotonic()
    return _Running(tier, process, now, now)


def _ended(running: _Running) -> Ended | None:
    wall = time.monotonic() - running.began
    pid, status, usage = os.wait4(running.process.pid, os.WNOHANG)
    if pid == 0:
        if wall <= running.tier.minutes * 60:
            return None
        _kill(running.process)
        return Ended(running.tier, wall, 0.0, -signal.SIGALRM)
    running.process.returncode = code = os.waitstatus_to_exitcode(status)
    return _read_report(Ended(running.tier, wall, usage.ru_utime + usage.ru_stime, code))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, so that what it has started is ended too; SIGKILL to what is left of its session after 30 seconds."""
    for number, patience in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


# -- what they say -------------------------------------------------------------------------------------------------------------


def _log(tier: Tier) -> Path:
    return LOGS / f"{tier.name}.log"


def _report(tier: Tier) -> Path:
    return LOGS / f"{tier.name}.xml"


def _read_report(ended: Ended) -> Ended:
    """With what pytest has counted, where the tier was one of tests."""
    try:
        cases = list(ElementTree.parse(_report(ended.tier)).iter("testcase"))  # noqa: S314 (pytest has written it)
    except (OSError, ElementTree.ParseError):
        return ended
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for case in cases:
        outcomes = {child.tag for child in case}
        word = "failed" if outcomes & {"failure", "error"} else "skipped" if "skipped" in outcomes else "passed"
        counts[word] += 1
        if word == "skipped":
            reason = next(child.get("message") or "" for child in case if child.tag == "skipped")
            ended.skipped[reason] = ended.skipped.get(reason, 0) + 1
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        ended.durations.append((float(case.get("time") or 0), name))
    ended.counts = counts
    return ended


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1].strip()[:150] if lines else ""


def _show_log(tier: Tier) -> None:
    lines = _log(tier).read_text(errors="replace").splitlines()
    print(
        f"--- {tier.name}: the last {min(LAST_LINES, len(lines))} of {len(lines)} lines ({_log(tier).relative_to(ROOT)})"
    )
    print("\n".join(lines[-LAST_LINES:]))
    print(f"--- end of {tier.name}", flush=True)


def show(ended: list[Ended], wall: float) -> None:
    """One screen: the tiers, the slowest tests, what was skipped and why, the verdict."""
    print(f"\n{'tier':<14} {'wall':>8} {'processor':>10}  {'tests':<34} verdict")
    for each in ended:
        print(
            f"{each.tier.name:<14} {_minutes(each.wall):>8} {_minutes(each.processor):>10}  {_counted(each):<34} {each.verdict}"
        )
    slowest = sorted((d for each in ended for d in each.durations), reverse=True)[:SLOWEST]
    if slowest and os.environ.get("CI"):
        print(f"\nslowest {len(slowest)}:")
        print("\n".join(f"  {seconds:6.1f} s  {name[:120]}" for seconds, name in slowest))
    for each in ended:
        for reason, count in sorted(each.skipped.items(), key=lambda item: -item[1]):
            print(f"skipped in {each.tier.name}: {count} x {reason[:150]}")
    failed = [each.tier.name for each in ended if each.failed]
    print(f"{'failed: ' + ', '.join(failed) if failed else 'all passed'} after {_minutes(wall)}")
    sums = {word: sum(each.counts.get(word, 0) for each in ended) for word in ("passed", "failed", "skipped")}
    print("total: {passed} passed, {failed} failed, {skipped} skipped".format(**sums), flush=True)


def _counted(ended: Ended) -> str:
    return ", ".join(f"{number} {word}" for word, number in ended.counts.items() if number)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
