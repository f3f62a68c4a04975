"""`longview doctor`: is this machine fit, and does every part answer? One sentence of mending for each problem."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from schemas.errors import PartUnavailable
from services.critical_list import critical_list
from services.escalation import escalation_policies
from services.parts.environment import processor_has
from services.parts.launcher import connected_settings
from services.parts.ports import HOST
from services.parts.probes import fhir_preflight
from services.parts.status import part_states
from services.series_table import series_table
from services.settings import Settings

SUPPORTED_PYTHON = ((3, 11), (3, 14))
LEAST_DISK_GIB = 3.0
LEAST_MEMORY_GIB = 6.0
GIB = 1024**3
_PINNED = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^;,\s]+)")


@dataclass(frozen=True)
class Check:
    """One look: what, what was seen, and how to mend it (empty: nothing to mend)."""

    name: str
    seen: str
    mend: str = ""

    @property
    def ok(self) -> bool:
        return not self.mend


def examine(settings: Settings) -> list[Check]:
    """All checks, the machine's first."""
    return [*_machine(settings), *_packages(), _compression(), *site_files(settings), *_parts(settings)]


def _machine(settings: Settings) -> Iterator[Check]:
    yield _python()
    yield _processor()
    yield _memory()
    yield from _disk(settings)
    yield _loopback()


def _python() -> Check:
    least, beyond = SUPPORTED_PYTHON
    seen = platform.python_version()
    fit = least <= sys.version_info[:2] < beyond
    return Check(
        "python", seen, "" if fit else "Python is not 3.11 to 3.13: install one of these and make the environment anew."
    )


def _processor() -> Check:
    seen = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return Check("machine", seen, "the model server's package is for Linux on x86-64 alone: use such a machine.")
    if not processor_has("avx2"):
        return Check("machine", seen, "the processor has no AVX2: set LONGVIEW_MODEL_URL to a vLLM server elsewhere.")
    return Check("machine", seen)


def _memory() -> Check:
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / GIB
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    fit = total >= LEAST_MEMORY_GIB
    mend = "" if fit else f"there is less than {LEAST_MEMORY_GIB:.0f} GiB of memory: use a larger machine."
    return Check("memory", f"{total:.1f} GiB, {available:.1f} GiB unused", mend)


def _disk(settings: Settings) -> Iterator[Check]:
    folder = settings.state
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free / GIB
    short = free < LEAST_DISK_GIB
    yield Check(
        "disk", f"{free:.1f} GiB free", f"there is less than {LEAST_DISK_GIB:.0f} GiB free: make room." if short else ""
    )
    writable = os.access(there, os.W_OK)
    mend = "" if writable else "the state folder cannot be written: set LONGVIEW_STATE_DIR to one that can."
    yield Check("state folder", str(folder), mend)


def _loopback() -> Check:
    try:
        with socket.socket() as bound:
            bound.bind((HOST, 0))
    except OSError:
        return Check("loopback", HOST, "no port can be opened on 127.0.0.1: let this user open one.")
    return Check("loopback", f"ports can be opened on {HOST}")


def _packages() -> Iterator[Check]:
    """What the wheel asks for by an exact version must be there in that version."""
    for name, wanted in sorted(_pinned().items()):
        try:
            seen = version(name)
        except PackageNotFoundError:
            yield Check(name, "not installed", f"{name} is not installed: make the environment anew.")
            continue
        mend = f"{name} is not {wanted}: make the environment anew from requirements.lock."
        yield Check(name, seen, "" if seen == wanted else mend)


def _pinned() -> dict[str, str]:
    try:
        asked = requires("longview") or []
    except PackageNotFoundError:
        return {}
    matches = [_PINNED.match(text) for text in asked]
    return {match[1]: match[2] for match in matches if match}


def _compression() -> Check:
    """Of records on the bus: a producer chooses it, and one that nobody can read is a dead letter for each of its records."""
    from services.clients.kafka_batches import codecs

    known = codecs()
    missing = [name for name, there in known.items() if not there]
    mend = f"records compressed with {', '.join(missing)} cannot be read: make the environment anew." if missing else ""
    return Check("compression of records", ", ".join(name for name, there in known.items() if there), mend)


def site_files(settings: Settings) -> Iterator[Check]:
    """What the site decides by files of its own, each read as the worker reads it: one that cannot be read would stop the worker."""

    def findings() -> str:
        known = critical_list(settings)
        return f"{known.name}, {len(known.findings)} lines"

    def series() -> str:
        table = series_table(settings)
        return f"{table.version}, {len(table.rules)} rules"

    def policies() -> str:
        return ", ".join(f"{priority} {policy.name}" for priority, policy in escalation_policies(settings).items())

    for name, file, seen in (
        ("critical list", settings.critical_list_file, findings),
        ("series table", settings.series_table_file, series),
        ("escalation policies", settings.escalation_file, policies),
    ):
        try:
            yield Check(name, seen())
        except PartUnavailable as error:
            yield Check(name, file, error.hint)


def _parts(settings: Settings) -> Iterator[Check]:
    states = part_states(settings)
    for part in states:
        yield Check(f"part {part.name}", f"{part.state} {part.url}".strip(), part.problem)
    if any(part.name == "fhir" and part.state in ("running", "found") for part in states):
        yield from _preflight(settings)


def _preflight(settings: Settings) -> Iterator[Check]:
    """What we rely on in a FHIR server (contract 6)."""
    try:
        problems = fhir_preflight(connected_settings(settings))
    except PartUnavailable as error:
        problems = [error.hint]
    if not problems:
        yield Check("fhir preflight", "by its CapabilityStatement the server serves what is relied on")
    for problem in problems:
        yield Check("fhir preflight", "the server lacks something that is relied on", problem)
