#!/usr/bin/env python3
"""`make audit`: every locked package has a licence that we may ship, and none has a known weakness that nobody has judged.

Licences are those that the installed packages declare. What is shipped (the extras gateway, worker, inbox and runtime, with all they need) is told
apart from tools of development and tests, which may be under the GPL: they are run, never shipped. Exceptions stand in scripts/dependencies.toml,
each with its reason; one that nobody needs any more is an error. Status 1 and one sentence for each package that is refused.
"""
# ruff: noqa: T201 (a script speaks on its output)

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from license_expression import ExpressionError, LicenseSymbol, LicenseWithExceptionSymbol, get_spdx_licensing
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCK, RULES = ROOT / "requirements.lock", ROOT / "scripts" / "dependencies.toml"
SHIPPED_EXTRAS = ("gateway", "worker", "inbox", "runtime")
CANARY = f"jinja2==2.10 --hash=sha256:{'0' * 64}\n"
"""A release that has known weaknesses: a mirror that answers without them would make everything look sound. Nothing is fetched of it."""
MOST_UNKNOWN = 0.05
"""The share of packages that the service may not know; pip-audit passes over those in silence."""

PERMISSIVE = frozenset(
    [
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "CNRI-Python",
        "HPND",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        "Zlib",
    ]
)
FILE_COPYLEFT = frozenset({"MPL-2.0"})
"""Binds changes of the package's own files; we change none."""
COPYLEFT_OF_TOOLS = frozenset(
    [
        "GPL-2.0-only",
        "GPL-2.0-or-later",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "LGPL-2.1-only",
        "LGPL-2.1-or-later",
        "LGPL-3.0-only",
        "LGPL-3.0-or-later",
    ]
)
SPDX_OF = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "GPL-3.0": "GPL-3.0-only",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""What older packages write in their classifiers or in words. "BSD" names a family; all of it is permissive."""
_NO_LICENCE = {"OSI Approved", "DFSG approved"}
_SPDX = get_spdx_licensing()


@dataclass(frozen=True)
class Package:
    """A locked package as it is installed; `licence` is an SPDX expression, or whatever it says instead."""

    name: str
    licence: str
    shipped: bool


# -- licences ------------------------------------------------------------------------------------------------------------------


def licence_of(fields: metadata.PackageMetadata) -> str:
    """The SPDX expression (PEP 639), else its classifiers, which all hold, else its words; empty where it says nothing."""
    if expression := fields.get("License-Expression"):
        return str(expression)
    classified = [c.split(" :: ")[-1] for c in fields.get_all("Classifier") or [] if c.startswith("License ::")]
    named = [name for name in classified if name not in _NO_LICENCE]
    if named:
        # several may mean a choice or that all hold: until somebody has looked, all hold
        return " AND ".join(SPDX_OF.get(name, name) for name in named)
    words = str(fields.get("License") or "").strip().split("\n")[0]
    return SPDX_OF.get(words, words)


def allowed(expression: str, licences: frozenset[str]) -> bool:
    """AND needs all, OR needs one. An exception (`WITH`) only ever allows more."""
    try:
        parsed = _SPDX.parse(expression, validate=True)
    except ExpressionError:
        return False
    return parsed is not None and _holds(parsed, licences)


def _holds(node: Any, licences: frozenset[str]) -> bool:
    if isinstance(node, LicenseWithExceptionSymbol):
        return node.license_symbol.key in licences
    if isinstance(node, LicenseSymbol):
        return node.key in licences
    held = [_holds(part, licences) for part in node.args]
    return all(held) if node.operator.strip() == "AND" else any(held)


def refusals(packages: Iterable[Package], exceptions: Mapping[str, Mapping[str, str]]) -> list[str]:
    """One sentence for each package whose licence is not allowed, and for each exception that does not hold or is not needed."""
    problems, needed = [], set()
    for package in packages:
        usual = PERMISSIVE | FILE_COPYLEFT | (frozenset() if package.shipped else COPYLEFT_OF_TOOLS)
        if allowed(package.licence, usual):
            continue
        exception = exceptions.get(package.name)
        needed.add(package.name)
        says = f"says {package.licence!r}" if package.licence else "declares no licence"
        use = "is shipped" if package.shipped else "is a tool"
        if exception is None:
            problems.append(f"{package.name} {says} and {use}: replace it, or give a reason in {RULES.name}.")
        elif exception["says"] != package.licence:
            problems.append(f"{package.name} {says}, no longer {exception['says']!r}: judge it again in {RULES.name}.")
        elif package.shipped and exception["use"] != "shipped":
            problems.append(
                f"{package.name} {says} and is shipped now, but was allowed as a tool alone: judge it again."
            )
    unneeded = sorted(set(exceptions) - needed)
    return problems + [f"{name} needs no exception any more: remove it from {RULES.name}." for name in unneeded]


def locked_names(lock: str) -> list[str]:
    """The packages that this lock installs on this Python; those of another version's marker are judged there."""
    pins = map(Requirement, re.findall(r"^([A-Za-z0-9][^\\\n]*==[^\\\n]*)", lock, re.M))
    return sorted({canonicalize_name(pin.name) for pin in pins if pin.marker is None or pin.marker.evaluate()})


def shipped_names() -> set[str]:
    """What the four extras need, and all that those need in turn, as the installed packages say."""
    found: set[str] = set()
    waiting = [("longview", frozenset(SHIPPED_EXTRAS))]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, required):
            if _applies(requirement, extras):
                needed = canonicalize_name(requirement.name)
                found.add(needed)
                waiting.append((needed, frozenset(requirement.extras)))
    return found - {"longview"}


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in (*extras, ""))


def installed(names: Iterable[str], shipped: set[str]) -> tuple[list[Package], list[str]]:
    """The packages, and a sentence for each that is locked but not here: what is not here cannot be judged."""
    packages, missing = [], []
    for name in names:
        try:
            packages.append(Package(name, licence_of(metadata.metadata(name)), name in shipped))
        except metadata.PackageNotFoundError:
            missing.append(f"{name} is locked but not installed: run 'make setup'.")
    return packages, missing


# -- advisories ----------------------------------------------------------------------------------------------------------------


def unreachable() -> str:
    """Why the advisories cannot be had here; empty if they can."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lock:
        lock.write(CANARY)
        lock.flush()
        report, said = _asked(Path(lock.name), [])
    if report is None:
        return f"the advisory service does not answer ({said})"
    known = any(dependency.get("vulns") for dependency in report["dependencies"])
    return "" if known else "the advisory service is not reached: what answers knows no advisories"


def accepted_ids(rules: Iterable[Mapping[str, Any]], today: date) -> tuple[list[str], list[str]]:
    """Ids that were judged, and a sentence for each whose time is over."""
    ids, over = [], []
    for rule in rules:
        if rule["expires"] < today:
            over.append(f"{rule['id']} of {rule['package']} was accepted until {rule['expires']}: judge it again.")
        else:
            ids.append(str(rule["id"]))
    return ids, over


def _asked(lock: Path, accepted: Iterable[str]) -> tuple[Any, str]:
    """pip-audit's report over a lock as it stands, which it neither resolves nor installs; without one, the last that it said."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(lock), "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", *(f"--ignore-vuln={i}" for i in accepted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout), ""
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        return None, f"status {done.returncode}: {last[0][:200]}"


def weaknesses(lock: Path, accepted: Iterable[str]) -> list[str]:
    """A sentence for each known weakness of a locked package; also where nothing could be learnt."""
    report, said = _asked(lock, accepted)
    if report is None:
        return [f"pip-audit failed with {said}"]
    unknown = sorted(dep["name"] for dep in report["dependencies"] if "skip_reason" in dep)
    if unknown:
        print(f"advisories: nothing is known of {', '.join(unknown)}")
    found = [
        f"{dep['name']} {dep.get('version')} has {vuln['id']} (mended in {', '.join(vuln['fix_versions']) or 'no version'}): "
        f"renew the lock, or judge it in {RULES.name}."
        for dep in report["dependencies"]
        for vuln in dep.get("vulns", [])
    ]
    if len(unknown) > MOST_UNKNOWN * len(report["dependencies"]):
        found.append(f"the advisory service knows nothing of {len(unknown)} packages: that is no pass.")
    return found


def main() -> int:
    """0: nothing to complain about, or advisories could not be asked for (said in one line)."""
    rules = tomllib.loads(RULES.read_text())
    packages, problems = installed(locked_names(LOCK.read_text()), shipped_names())
    problems += refusals(packages, {name: rule for rule in rules.get("licence", []) for name in rule["packages"]})
    shipped = sum(package.shipped for package in packages)
    print(
        f"licences: {shipped} packages shipped, {len(packages) - shipped} tools, {len(rules.get('licence', []))} exceptions"
    )
    ids, over = accepted_ids(rules.get("advisory", []), datetime.now(UTC).date())
    problems += over
    if why := unreachable():
        print(f"advisories: skipped: {why}")
    else:
        problems += weaknesses(LOCK, ids)
        print(f"advisories: {len(packages)} packages asked about, {len(ids)} accepted")
    for problem in problems:
        print(f"audit: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
