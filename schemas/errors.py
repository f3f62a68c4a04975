"""The tree of named failures; each branch says what happens next.

* LongviewError
  x InvalidEvent      the record goes to its topic's dead-letter topic, the consumer goes on
  x PermanentFailure  the run stops, `ai.run.failed` is published, a person looks (`longview runs`)
  x TransientFailure  the step is tried again with backoff; it heals by itself or becomes permanent
  x StaleWrite        FHIR answered 409 or 412: read back, then decide (contract 1.5)
  x PartUnavailable   a part of the system cannot start or be reached: tell the operator and stop

`code` is stable, kebab-case and safe to publish. `hint` says what to do. Neither may hold an identifier of a patient, chart text or pixels:
they travel into logs, events and metrics.
"""

from __future__ import annotations

from typing import Literal, get_args

Stage = Literal[
    "ingest", "fetch-images", "fetch-history", "inference", "validate", "write-fhir", "write-dicom", "notify"
]
"""The stages of a run, as `ai.run.failed` names them (contract 4)."""

STAGES: tuple[str, ...] = get_args(Stage)

DeadLetterReason = Literal[
    "schema-invalid",
    "unknown-type",
    "patient-unresolved",
    "study-unresolved",
    "permanent-error",
    "retries-exhausted",
    "too-large",
]


class LongviewError(Exception):
    """The root: a stable `code` and a `hint`, both free of identifiers."""

    def __init__(self, code: str, hint: str = "") -> None:
        super().__init__(f"{code}: {hint}" if hint else code)
        self.code = code
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, self.hint)


class InvalidEvent(LongviewError):
    """A bus record that can never be handled; it is dead-lettered with `reason`."""

    def __init__(self, reason: DeadLetterReason, code: str, hint: str = "") -> None:
        super().__init__(code, hint)
        self.reason: DeadLetterReason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.code, self.hint)


def code_of(error: BaseException) -> str:
    """The code of a named failure; of any other exception its class alone, for its text may hold anything."""
    return error.code if isinstance(error, LongviewError) else f"fault-{type(error).__name__.lower()}"[:64]


class PermanentFailure(LongviewError):
    """Trying again cannot help: stop the run and tell a person."""


class GeometryError(PermanentFailure):
    """A series that is not a plain grid (gap, duplicate, shear, mixed); `code` begins with `geometry-`."""


class StudyUnread(PermanentFailure):
    """No image of the study can be read. `account`: where it is written what became of each series."""

    def __init__(self, code: str, hint: str, account: str) -> None:
        super().__init__(code, hint)
        self.account = account

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, self.hint, self.account)


class TransientFailure(LongviewError):
    """A server was away or overloaded: try again later, and not before `retry_after` seconds where it asked for them."""

    def __init__(self, code: str, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(code, hint)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, self.hint, self.retry_after)


class StaleWrite(LongviewError):
    """A conditional write met another version (412) or lost a race (409)."""


class PartUnavailable(LongviewError):
    """A part (broker, Temporal, FHIR, archive, database, model) cannot start or be reached."""
