"""A raised result on its review Task: why, until when, and what a decision leaves of it."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.report import AmendedFinding
from tests.contract.written_bundles import (
    CANONICAL,
    ISSUED,
    NAMESPACE,
    PNEUMOTHORAX,
    act,
    after,
    as_posted,
    context,
    raised_context,
    told,
)
from workflows.reconcile.seen import decision_of
from workflows.report import PostedResult, build_result, build_review
from workflows.report.escalation import build_notification, build_priority
from workflows.report.raised_task import order_of, raise_on


def posted() -> PostedResult:
    return as_posted(build_result(raised_context()))


def decided(outcome: Any, *amendments: AmendedFinding) -> PostedResult:
    result = posted()
    more: dict[str, Any] = {"reason_code": "false-positive"} if outcome == "rejected" else {}
    decision = act(outcome, f"DiagnosticReport/{result.report['id']}/_history/1", amendments=list(amendments), **more)
    return after(build_review(NAMESPACE, result, decision), result)


def amended(label: str, presence: Any = "not-detected") -> AmendedFinding:
    return AmendedFinding(label=label, presence=presence, likelihood="absent")


def test_the_task_says_order_finding_likelihood_and_list_and_the_report_says_no_priority() -> None:
    result = posted()
    assert (result.task["priority"], order_of(CANONICAL, result.task)) == ("stat", "routine")
    assert raise_on(CANONICAL, result.task) == PNEUMOTHORAX
    assert "priority" not in result.report


def test_a_result_that_was_not_raised_says_nothing_of_it() -> None:
    task = as_posted(build_result(context())).task
    assert raise_on(CANONICAL, task) is None
    assert len(task["input"]) == 1


def test_a_notice_changes_the_policy_and_leaves_the_reason() -> None:
    result = posted()
    after_notice = after(build_notification(NAMESPACE, result, told(2)), result).task
    assert raise_on(CANONICAL, after_notice) == PNEUMOTHORAX
    assert len(after_notice["input"]) == len(result.task["input"])


@pytest.mark.parametrize(
    ("order", "priority", "stands"), [("urgent", "stat", True), ("asap", "stat", True), ("stat", "stat", False)]
)
def test_the_order_follows_upwards_and_counts_once_it_is_as_urgent(order: Any, priority: str, stands: bool) -> None:
    result = posted()
    bundle = build_priority(CANONICAL, result, order, ISSUED)
    assert bundle is not None
    task = after(bundle, result).task
    assert (task["priority"], order_of(CANONICAL, task)) == (priority, order)
    assert (raise_on(CANONICAL, task) is not None) == stands


def test_an_order_that_asks_for_no_more_than_before_writes_nothing() -> None:
    assert build_priority(CANONICAL, posted(), "routine", ISSUED) is None
    assert build_priority(CANONICAL, as_posted(build_result(context())), "urgent", ISSUED) is None


@pytest.mark.parametrize(
    ("outcome", "amendments", "priority", "taken_back"),
    [
        ("rejected", [], "routine", ["pneumothorax"]),
        ("amended", [amended("pneumothorax")], "routine", ["pneumothorax"]),
        ("amended", [amended("pulmonary-nodule")], "stat", []),
        ("amended", [amended("pneumothorax", "detected")], "stat", []),
        ("accepted", [], "stat", []),
    ],
    ids=["rejected", "amended away", "another finding amended", "confirmed in other words", "accepted"],
)
def test_only_a_decision_that_takes_the_finding_back_undoes_it_and_fhir_alone_tells_so(
    outcome: Any, amendments: list[AmendedFinding], priority: str, taken_back: list[str]
) -> None:
    result = decided(outcome, *amendments)
    assert result.task["priority"] == priority
    assert (raise_on(CANONICAL, result.task) is None) == bool(taken_back)
    assert order_of(CANONICAL, result.task) == "routine"
    found = decision_of(CANONICAL, result, "a-result")
    assert found is not None
    assert found.taken_back == taken_back
