"""Whom a site wants told of an unread result: by default, and by its own file."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import PartUnavailable
from schemas.report import Priority
from schemas.terms import MAX_ESCALATION_STEPS
from services.escalation import escalation_policies
from services.settings import Settings
from tests.unit.injection.house import SITE
from workflows.report_study.assembly import acknowledge_by


def test_by_default_everything_above_routine_is_told_twice() -> None:
    policies = escalation_policies(Settings(acknowledge_minutes="60", review_role="Duty", escalation_role="Lead"))
    assert policies["routine"].steps == []
    assert [(step.recipient, step.wait_minutes) for step in policies["urgent"].steps] == [("Duty", 60), ("Lead", 60)]
    assert [step.wait_minutes for step in policies["stat"].steps] == [15, 15]
    assert {step.medium for policy in policies.values() for step in policy.steps} == {"APPWRIT"}


def test_a_site_that_acknowledges_faster_is_not_slowed_down_for_stat() -> None:
    assert [s.wait_minutes for s in escalation_policies(Settings(acknowledge_minutes="5"))["stat"].steps] == [5, 5]


def step(number: int, **changes: Any) -> dict[str, Any]:
    return {"number": number, "recipient": "Lead", "medium": "PHONE", "wait_minutes": 10} | changes


def told(folder: Path, document: Any) -> Settings:
    file = folder / "escalation.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return Settings(escalation_file=str(file))


def test_a_sites_file_replaces_the_default_and_what_it_leaves_out_is_not_escalated(tmp_path: Path) -> None:
    policies = escalation_policies(told(tmp_path, {"stat": {"name": "ours@v3", "steps": [step(1), step(2)]}}))
    assert (policies["stat"].name, len(policies["stat"].steps)) == ("ours@v3", 2)
    assert policies["urgent"].steps == []


@pytest.mark.parametrize(
    "document",
    [
        "{",
        {"immediately": {"name": "x@v1", "steps": []}},
        {"stat": {"name": "x@v1", "steps": [step(1, medium="PIGEON")]}},
        {"stat": {"name": "x@v1", "steps": [step(n) for n in range(1, MAX_ESCALATION_STEPS + 2)]}},
    ],
    ids=["no JSON", "unknown priority", "unknown medium", "too many steps"],
)
def test_a_file_that_cannot_be_meant_stops_the_start_with_one_sentence(tmp_path: Path, document: Any) -> None:
    with pytest.raises(PartUnavailable) as refused:
        escalation_policies(told(tmp_path, document))
    assert refused.value.code == "setting-escalation-file"


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(PartUnavailable):
        escalation_policies(Settings(escalation_file=str(tmp_path / "nowhere.json")))


@pytest.mark.parametrize(("priority", "minutes"), [("stat", 15), ("asap", 60), ("urgent", 60), ("routine", None)])
def test_a_result_is_due_when_its_policy_turns_to_the_next_step(priority: Priority, minutes: int | None) -> None:
    """The list must not count down from an hour while the lead is told after a quarter of one; what nobody is told of has no clock."""
    policies = escalation_policies(Settings(acknowledge_minutes="60", review_role="Duty", escalation_role="Lead"))
    issued = "2026-11-23T09:20:31.000+00:00"
    due = acknowledge_by(replace(SITE, escalation=policies), priority, issued)
    waited = datetime.fromisoformat(due) - datetime.fromisoformat(issued) if due else None
    assert waited == (timedelta(minutes=minutes) if minutes else None)
