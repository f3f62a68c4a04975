"""The threat model says nothing that no test backs: each row names its tests, and each of them exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "docs" / "threat-model.md"
BOUNDARIES = (
    "Bus",
    "FHIR server",
    "Archive",
    "Model server",
    "Temporal",
    "Database and object store",
    "Audit trail",
    "Inbox",
    "Parts of `longview up`",
    "operations ports",
    "Images and supply chain",
    "Cluster",
    "Operators and backups",
)
_TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`")


def rows(text: str) -> list[list[str]]:
    """The cells of each claim: letters of STRIDE, threat, what holds, tests."""
    found = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [cells for cells in found if cells[0] and not set(cells[0]) <= set("-:")]


@cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def unbacked(text: str) -> list[str]:
    """A sentence for each claim that names no test, and for each test that is not there."""
    problems = []
    for cells in rows(text):
        named = _TEST.findall(cells[-1])
        if len(cells) != 4 or not set(cells[0]) <= set("STRIDE") or not named:
            problems.append(f"no test backs: {' | '.join(cells)[:80]}")
        for file, test in named:
            path = ROOT / file
            if not path.is_file() or test not in names_in(path):
                problems.append(f"there is no {file}::{test}")
        if cells[-1].count("`") != 2 * len(named):
            problems.append(f"not a test: {cells[-1][:80]}")
    return problems


def test_each_claim_is_backed_by_a_test_that_exists() -> None:
    text = MODEL.read_text("utf-8")
    assert unbacked(text) == []
    assert len(rows(text)) > 50


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_each_boundary_has_its_table(boundary: str) -> None:
    sections = MODEL.read_text("utf-8").split("\n## ")
    [section] = [s for s in sections if boundary in s.split("\n")[0]]
    assert len(rows(section)) >= 3


def test_residual_risks_are_said() -> None:
    assert len(re.findall(r"^- \*\*", MODEL.read_text("utf-8").partition("## Residual risks")[2], re.M)) >= 8


@pytest.mark.parametrize(
    "row",
    [
        "| S | a | b | none |",
        "| S | a | b | `tests/unit/test_threat_model.py::test_that_nobody_wrote` |",
        "| S | a | b | `tests/unit/test_nowhere.py::test_residual_risks_are_said` |",
        "| X | a | b | `tests/unit/test_threat_model.py::test_residual_risks_are_said` |",
        "| S | a | b | `tests/unit/test_threat_model.py::test_residual_risks_are_said`, `tests/unit` |",
    ],
)
def test_a_claim_that_nothing_backs_would_be_noticed(row: str) -> None:
    assert unbacked(row) != []
