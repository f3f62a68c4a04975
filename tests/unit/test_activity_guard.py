"""What Temporal is told when a step fails: an outage is tried again, a fault of our own a few times, and then it has a name and a place."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from schemas.errors import PermanentFailure, StudyUnread, TransientFailure
from services.worker.interceptor import MOST_FAULTS, ActivityGuard


def told(error: Exception, attempt: int = 1) -> ApplicationError:
    """What the guard raises in the place of `error`."""

    async def failing(arguments: Any) -> None:
        raise error

    guard = ActivityGuard().intercept_activity(SimpleNamespace(execute_activity=failing))  # type: ignore[arg-type]
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=attempt)

    async def step() -> None:
        await guard.execute_activity(SimpleNamespace(fn=None, args=[]))  # type: ignore[arg-type]

    with pytest.raises(ApplicationError) as raised:
        asyncio.run(environment.run(step))
    return raised.value


def broken() -> ValueError:
    try:
        int("1A of Jane Doe")
    except ValueError as error:
        return error
    raise AssertionError


def test_an_outage_is_tried_again_for_as_long_as_the_step_may_take() -> None:
    assert not told(TransientFailure("fhir-unavailable", "away"), attempt=500).non_retryable


def test_a_named_failure_is_not_tried_again() -> None:
    assert told(PermanentFailure("geometry-gap", "a slice is missing")).non_retryable


def test_a_fault_of_ours_ends_after_a_few_attempts_with_its_place_and_without_its_text() -> None:
    assert not told(broken(), attempt=MOST_FAULTS - 1).non_retryable
    last = told(broken(), attempt=MOST_FAULTS)
    assert (last.type, last.non_retryable) == ("fault-valueerror", True)
    hint = str(last.details[0])
    assert "interceptor.py:" in hint or "test_activity_guard.py:" in hint
    assert "Jane" not in str(last) + hint


def test_a_study_that_could_not_be_read_says_where_its_account_is() -> None:
    unread = told(StudyUnread("geometry-gap", "a slice is missing", "a" * 64))
    assert (unread.type, unread.details) == ("geometry-gap", ("a slice is missing", 1, "a" * 64))
