"""Around every activity: a heartbeat while it runs, and our named errors as Temporal understands them.

Only what can heal is tried again: `TransientFailure` and faults of our own are retryable, everything named otherwise is not.
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

from schemas.errors import LongviewError, TransientFailure
from schemas.telemetry.fields import fields
from schemas.telemetry.logs import place_of
from services.worker.measures import record_attempt, record_done

log = logging.getLogger(__name__)
BEATS_A_TIMEOUT = 3


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
            code = f"fault-{type(error).__name__.lower()}"[:64]
            place = fields(activity=info.activity_type, attempt=info.attempt, code=code, at=place_of(error))
            log.error("step-fault", extra=place)
            raise ApplicationError(
                code, "an unexpected fault of the worker; its log has the place", info.attempt, type=code
            ) from None
        finally:
            record_attempt(info.activity_type, outcome, code, time.monotonic() - start)


def _application_error(error: LongviewError, attempt: int) -> ApplicationError:
    """A server that names a time is not asked before it; else the step's own backoff counts."""
    if not isinstance(error, TransientFailure):
        return ApplicationError(error.code, error.hint, attempt, type=error.code, non_retryable=True)
    pause = None if error.retry_after is None else timedelta(seconds=error.retry_after)
    return ApplicationError(error.code, error.hint, attempt, type=error.code, next_retry_delay=pause)


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
