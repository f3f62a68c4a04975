"""How the parts are right now: asked, not remembered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from services.parts.catalog import PARTS
from services.parts.launcher import Launcher
from services.parts.part import Launch, Part
from services.parts.probes import NotReady
from services.parts.state import PartRecord
from services.settings import Settings

State = Literal["running", "found", "done", "unhealthy", "dead", "unreachable", "down"]

PROBLEMS: dict[State, str] = {
    "dead": "its process is gone: start it with 'longview restart {name}'",
    "unhealthy": "its process runs but {why}: look at its log, then 'longview restart {name}'",
    "unreachable": "{why}: {mend}",
}


@dataclass(frozen=True)
class PartStatus:
    """One part as it answers now; `problem` is a sentence with what to do, or empty."""

    name: str
    state: State
    pid: int | None
    port: int | None
    url: str
    version: str
    log: str
    problem: str


def part_states(settings: Settings, parts: tuple[Part, ...] = PARTS) -> list[PartStatus]:
    """Every part, asked in parallel."""
    launcher = Launcher(settings, parts=parts)
    records = launcher.records()
    with ThreadPoolExecutor(len(parts), thread_name_prefix="status") as pool:
        return list(pool.map(lambda part: _state(settings, launcher, part, records.get(part.name)), parts))


def _state(settings: Settings, launcher: Launcher, part: Part, record: PartRecord | None) -> PartStatus:
    if part.setting and getattr(settings, part.setting):
        return _found(settings, part)
    if record is None:
        return PartStatus(part.name, "down", None, None, "", part.version, "", "")
    state, why = _recorded(part, record, launcher.launch(part, record.port or 0))
    problem = _sentence(part, state, why)
    return PartStatus(part.name, state, record.pid, record.port, record.url, record.version, record.log, problem)


def _recorded(part: Part, record: PartRecord, launch: Launch) -> tuple[State, str]:
    if not record.alive:
        return "dead", ""
    try:
        part.healthy(launch)
    except NotReady as reason:
        return "unhealthy", str(reason)
    return "running" if record.process else "done", ""


def _found(settings: Settings, part: Part) -> PartStatus:
    url = str(getattr(settings, part.setting))
    try:
        part.found(settings)
    except NotReady as reason:
        return PartStatus(
            part.name, "unreachable", None, None, url, "", "", _sentence(part, "unreachable", str(reason))
        )
    return PartStatus(part.name, "found", None, None, url, "", "", "")


def _sentence(part: Part, state: State, why: str) -> str:
    if state not in PROBLEMS:
        return ""
    return f"{part.title}: " + PROBLEMS[state].format(name=part.name, why=why, mend=part.mend) + "."
