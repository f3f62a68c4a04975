"""Around every activity: a heartbeat while it runs, and our named errors as Temporal understands them.

Only what can heal is tried again: `TransientFailure` as long as the step may take, a fault of our own (which may be one of the moment) a few times,
everything named otherwise not at all.
The message of an unknown fault is replaced by its class name, because it may repeat what it was given: identifiers, chart text.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from schemas.errors import LongviewError, StudyUnread, TransientFailure, code_of
from schemas.telemetry.fields import fields
from schemas.telemetry.logs import our_place_of, place_of
from services.worker.measures import record_attempt, record_done

log = logging.getLogger(__name__)
BEATS_A_TIMEOUT = 3
MOST_FAULTS = 5
"""Attempts at which a fault of our own ends as a named failure: what is no outage does not heal by waiting."""
LEAST_WAIT, MOST_WAIT = 1.0, 120.0
"""Seconds until the next try, where a server asks for some: no longer than a run can wait, and never at once."""


class ActivityGuard(Interceptor):
    """Installs the guard around each activity."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Guarded(super().intercept_activity(next))


class _Guarded(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info, start = activity.info(), time.monotonic()
        function = input.fn
        input.fn = lambda *arguments: _run(function, *arguments)
        outcome, code = "again", ""
        try:
            result = await super().execute_activity(input)
            outcome = "done"
            record_done(input.args)
            return result
        except (CancelledError, asyncio.CancelledError):
            outcome = "cancelled"
            raise
        except ApplicationError as error:
            outcome, code = "failed" if error.non_retryable else "again", str(error.type or "")
            raise
        except LongviewError as error:
            outcome, code = "again" if isinstance(error, TransientFailure) else "failed", error.code
            told = fields(activity=info.activity_type, attempt=info.attempt, code=error.code)
            log.warning("step-failed", extra=told)
            raise _application_error(error, info.attempt) from None
        except Exception as error:
            code = code_of(error)
            place = fields(activity=info.activity_type, attempt=info.attempt, code=code, at=place_of(error))
            log.error("step-fault", extra=place)
            last = info.attempt >= MOST_FAULTS
            if last:
                outcome = "failed"
            hint = f"an unexpected fault of the worker at {our_place_of(error)}"
            raise ApplicationError(code, hint, info.attempt, type=code, non_retryable=last) from None
        finally:
            record_attempt(info.activity_type, outcome, code, time.monotonic() - start)


def _application_error(error: LongviewError, attempt: int) -> ApplicationError:
    healing = isinstance(error, TransientFailure)
    after = error.retry_after if isinstance(error, TransientFailure) else None
    wait = None if after is None else timedelta(seconds=min(max(after, LEAST_WAIT), MOST_WAIT))
    account = [error.account] if isinstance(error, StudyUnread) else []
    return ApplicationError(
        error.code, error.hint, attempt, *account, type=error.code, non_retryable=not healing, next_retry_delay=wait
    )


def _run(function: Any, *arguments: Any) -> Any:
    """In the activity's own thread."""
    with _beating():
        return function(*arguments)


@contextmanager
def _beating() -> Iterator[None]:
    """Heartbeats from a side thread, so that a long call into FHIR, the archive or the model needs no thought of them."""
    timeout = activity.info().heartbeat_timeout
    if timeout is None:
        yield
        return
    done = threading.Event()
    context = contextvars.copy_context()

    def beat() -> None:
        while not done.wait(timeout.total_seconds() / BEATS_A_TIMEOUT):
            context.run(activity.heartbeat)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
