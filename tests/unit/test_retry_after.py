"""A step whose server has named a time waits for it; every other step waits as its policy says."""

from __future__ import annotations

from datetime import timedelta

from schemas.errors import PermanentFailure, TransientFailure
from services.worker.interceptor import _application_error


def test_the_time_that_a_server_named_is_the_pause_before_the_next_attempt() -> None:
    told = _application_error(TransientFailure("fhir-unavailable", "the FHIR server answered 429", 120.0), 1)
    assert (told.type, told.next_retry_delay, told.non_retryable) == ("fhir-unavailable", timedelta(minutes=2), False)


def test_without_one_the_steps_own_backoff_counts() -> None:
    assert _application_error(TransientFailure("fhir-unavailable"), 1).next_retry_delay is None
    stopped = _application_error(PermanentFailure("fhir-forbidden"), 1)
    assert (stopped.next_retry_delay, stopped.non_retryable) == (None, True)
