"""Tests that share a server are in one process: a file that was renamed would start it a second time, and nobody would notice but by the time."""

from __future__ import annotations

import re
from pathlib import Path

from tests.groups import GROUPS, group_of

TESTS = Path(__file__).resolve().parents[1]
SHARED = {"vllm_server": "vllm", "system": "system", "quick": None}
"""Fixture of tests/integration/conftest.py -> the group of its users; `quick` is started twice, for two groups."""


def test_every_file_of_a_group_is_there_and_in_no_other() -> None:
    files = [f"{file}.py" for group in GROUPS.values() for file in group]
    assert [file for file in files if not (TESTS / file).is_file()] == []
    assert len(set(files)) == len(files)


def test_a_test_is_in_the_group_of_its_file_or_alone_with_it() -> None:
    assert group_of("tests/integration/test_journey.py::test_a[x::y]") == "quick"
    assert group_of("tests/unit/test_model_caches.py::test_a") == "torch"
    assert group_of("tests/unit/test_report.py::test_a") == "tests/unit/test_report.py"


def test_whoever_takes_a_shared_system_is_in_a_group() -> None:
    for path in sorted((TESTS / "integration").rglob("test_*.py")):
        taken = " ".join(re.findall(r"def (?:test_\w+|server|subject)\(([^)]*)\)", path.read_text()))
        for fixture, group in SHARED.items():
            if re.search(rf"\b{fixture}: ", taken):
                named = group_of(path.relative_to(TESTS.parent).as_posix())
                assert named in GROUPS, path.name
                assert group in (None, named), path.name
