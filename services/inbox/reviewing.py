"""A human's decision on its way from the page to the workflow that writes it into FHIR."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from litestar.status_codes import HTTP_409_CONFLICT

from schemas.audit import AuditEntry, AuditPerson, new_audit_id
from schemas.errors import LongviewError, PermanentFailure, StaleWrite
from schemas.identifiers import without_version
from schemas.lifecycle import AcknowledgeAct
from schemas.report import ReviewAct, ReviewerIdentity
from schemas.runs import AttendStudy, ReviewWritten
from services.db import AuditTrail, Entry
from services.db.inbox import UNREVIEWED
from services.inbox.schemas import Acknowledgement, Decision
from services.operations.meter import count, timed


class Reviewer(Protocol):
    """Hands a decision to the study's workflow (a Temporal Workflow Update) and waits until FHIR has it."""

    async def submit(self, workflow_id: str, act: ReviewAct) -> ReviewWritten:
        """Idempotent by `act.act_id`. `StaleWrite` if the result was decided or superseded meanwhile; `TransientFailure` or
        `PartUnavailable` if Temporal or FHIR is away; `PermanentFailure` if FHIR refused the change."""
        ...

    async def undo(self, workflow_id: str, act_id: str) -> bool:
        """Whether the decision was still to be taken back; `TransientFailure` if nobody knows."""
        ...

    async def acknowledge(self, workflow_id: str, act: AcknowledgeAct) -> None:
        """Stops the escalation of a result; the same errors as `submit`."""
        ...

    async def attend(self, act: AttendStudy) -> None:
        """Closes the notice about a study that could not be read; the same errors as `submit`."""
        ...


class DecisionRefused(LongviewError):
    """The decision was not taken; `status` is the HTTP status that says so, `hint` a sentence for the reviewer."""

    def __init__(self, code: str, hint: str, status: int) -> None:
        super().__init__(code, hint)
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, self.hint, self.status)


_BECAME = {409: "stale", 502: "refused", 503: "away", 504: "unknown"}
STALE = "Someone else has decided, or newer images have replaced this result, since you opened it: reload to see how it stands now."
NOTHING_TO_ACKNOWLEDGE = "Nobody waits for an acknowledgement of this result any more: reload to see how it stands now."
NOTHING_TO_DECIDE = "The AI could not read this study, so there is nothing to accept or reject: say that you have looked at it yourself."
UNDONE = "Taken back: nothing was recorded."
TOO_LATE = "Too late to take it back: the decision is recorded. Reload to see how the result stands."
UNKNOWN = (
    "It is not known whether your decision was recorded: reload the page, and decide again if the result still waits."
)


def is_notice(entry: Entry) -> bool:
    """Whether the entry is no result, but the notice about a study that could not be read."""
    return entry.result.reading.kind == "unread"


@dataclass(frozen=True)
class Asker:
    """Who asks for a decision to be written, and from where."""

    person: AuditPerson | None
    address: str | None
    identity: ReviewerIdentity | None = None
    """None where the inbox knows no login."""


@contextmanager
def _counted(outcome: str) -> Iterator[None]:
    """A decision, by what became of it, and how long the reviewer waited for the answer."""
    with timed("longview_inbox_decision_seconds"):
        try:
            yield
        except DecisionRefused as refused:
            count("longview_inbox_decisions_total", outcome=_BECAME.get(refused.status, "refused"))
            raise
    count("longview_inbox_decisions_total", outcome=outcome)


class ReviewDesk:
    """Checks a decision against the entry as it stands, then hands it on."""

    def __init__(self, trail: AuditTrail, reviewer: Reviewer, patience: float, clock: Callable[[], datetime]) -> None:
        self._trail = trail
        self._reviewer = reviewer
        self._patience = patience
        self._clock = clock

    async def decide(self, entry: Entry, decision: Decision, asker: Asker) -> None:
        """`DecisionRefused` unless the decision stands in FHIR when this returns. The same act again is no second decision."""
        if entry.act_id == decision.act_id:
            return
        async with self._told(entry, asker, decision.act_id, decision.outcome):
            self._refuse_untimely(entry, decision)
            act = self._act(entry, decision, asker)
            await self._hand_on(self._reviewer.submit(entry.result.workflow_id, act), act.undo_seconds)

    async def undo(self, entry: Entry, act_id: str, asker: Asker) -> None:
        """`DecisionRefused` once the decision is written."""
        async with self._told(entry, asker, act_id, "taken-back"):
            try:
                taken_back = await self._reviewer.undo(entry.result.workflow_id, act_id)
            except LongviewError as failure:
                hint = "It is not known whether the decision was taken back: reload to see how the result stands."
                raise DecisionRefused(failure.code, hint, 503) from failure
            if not taken_back:
                raise DecisionRefused("undo-too-late", TOO_LATE, HTTP_409_CONFLICT)

    async def acknowledge(self, entry: Entry, given: Acknowledgement, asker: Asker) -> None:
        """`DecisionRefused` unless FHIR has it when this returns. Once somebody has acknowledged, another acknowledgement adds nothing."""
        if entry.row.acknowledged_at is not None:
            return
        act = AcknowledgeAct(
            act_id=given.act_id,
            result_id=entry.result.result_id,
            by=given.reviewer,
            identity=asker.identity,
            read_back=given.read_back,
            at=self._now(),
        )
        async with self._told(entry, asker, given.act_id, "acknowledged"):
            if is_notice(entry):
                await self._attend(entry, act)
                return
            if entry.row.status not in UNREVIEWED or entry.row.escalation_step == 0:
                raise DecisionRefused("acknowledgement-stale", NOTHING_TO_ACKNOWLEDGE, HTTP_409_CONFLICT)
            await self._hand_on(self._reviewer.acknowledge(entry.result.workflow_id, act))

    async def _attend(self, entry: Entry, act: AcknowledgeAct) -> None:
        """Of a study that could not be read: a person has looked at it, which is all that is asked."""
        if entry.row.status not in UNREVIEWED:
            raise DecisionRefused("acknowledgement-stale", NOTHING_TO_ACKNOWLEDGE, HTTP_409_CONFLICT)
        attended = AttendStudy(result_id=act.result_id, task=entry.result.task, act_id=act.act_id, by=act.by, at=act.at)
        await self._hand_on(self._reviewer.attend(attended))

    @asynccontextmanager
    async def _told(self, entry: Entry, asker: Asker, act_id: str, asked: str) -> AsyncIterator[None]:
        """Who asked for what, and how it ended, in the audit trail; what was written in FHIR is told there by the worker, under the same act."""
        told = AuditEntry(
            event_id=new_audit_id(),
            kind="decision-sent",
            at=self._now(),
            process="inbox",
            outcome="failed",
            code="fault",
            person=asker.person,
            address=asker.address,
            patient=without_version(entry.result.patient.resource),
            data=entry.result.report,
            result_id=entry.result.result_id,
            act_id=act_id,
        )
        try:
            with _counted(asked):
                yield
            told = told.model_copy(update={"outcome": "success", "code": asked})
        except DecisionRefused as refused:
            outcome = "refused" if refused.status == HTTP_409_CONFLICT else "failed"
            told = told.model_copy(update={"outcome": outcome, "code": refused.code})
            raise
        finally:
            await asyncio.to_thread(self._trail.record, told)

    async def _hand_on(self, act: Awaitable[object], undo_seconds: float = 0.0) -> None:
        try:
            async with asyncio.timeout(self._patience + undo_seconds):
                await act
        except StaleWrite as stale:
            raise DecisionRefused(stale.code, STALE, 409) from stale
        except PermanentFailure as failure:
            if failure.code == "review-undone":
                raise DecisionRefused(failure.code, UNDONE, HTTP_409_CONFLICT) from failure
            hint = "Your decision was not recorded, because the FHIR server refused it: tell whoever runs Longview."
            raise DecisionRefused(failure.code, hint, 502) from failure
        except TimeoutError as error:
            raise DecisionRefused("review-timed-out", UNKNOWN, 504) from error
        except LongviewError as failure:
            hint = "Your decision was not recorded, because a part of the system is away: try again in a minute."
            raise DecisionRefused(failure.code, hint, 503) from failure

    def _refuse_untimely(self, entry: Entry, decision: Decision) -> None:
        if entry.row.status not in UNREVIEWED:
            raise DecisionRefused("review-stale", STALE, 409)
        if is_notice(entry):
            raise DecisionRefused("nothing-to-decide", NOTHING_TO_DECIDE, 409)
        if entry.row.opened_at is None:
            raise DecisionRefused("not-opened", "Open the result and look at it before you decide.", 409)
        if decision.report_version != entry.result.report:
            raise DecisionRefused("review-stale", STALE, 409)

    def _act(self, entry: Entry, decision: Decision, asker: Asker) -> ReviewAct:
        rejected = decision.outcome == "rejected"
        return ReviewAct(
            act_id=decision.act_id,
            result_id=entry.result.result_id,
            outcome=decision.outcome,
            reviewer=decision.reviewer,
            identity=asker.identity,
            reason_code=decision.reason_code if rejected else None,
            reason_text=decision.reason_text or None if rejected else None,
            acted_upon=bool(decision.acted_upon) if rejected else False,
            at=self._now(),
            report_version=decision.report_version,
            amendments=decision.amendments,
            amended_values=decision.amended_values,
            undo_seconds=decision.undo_seconds,
        )

    def _now(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
