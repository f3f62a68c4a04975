"""The table of runs (`workflows.ports.RunRecords`), and how operators list it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from schemas.errors import PermanentFailure
from schemas.events import RESULT_AVAILABLE, RUN_FAILED, CloudEvent
from schemas.inbox import InboxResult
from schemas.outcomes import SeriesOutcome
from schemas.runs import RunFailure, RunState, SkipRun
from schemas.telemetry import traces
from services.db.engine import Database
from services.db.models import InboxEntry, Outbox, Run
from services.db.outbox import write_event
from services.operations.meter import count

POSTED: tuple[RunState, ...] = ("awaiting-review", "reviewed", "superseded")
"""States of a run whose result stands in FHIR."""


@dataclass(frozen=True)
class RunRow:
    """A run as `longview runs` shows it: keys and codes, no identifier of a patient."""

    run_id: str
    study_key: str
    state: str
    stage: str | None
    code: str | None
    hint: str | None
    retryable: bool | None
    attempts: int | None
    result_id: str | None
    started_at: datetime
    updated_at: datetime
    trace_id: str | None = None
    """Of the event that told the bus of its end, where there is one and it was traced."""


class RunRecords:
    """Runs in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_read(self, study_key: str, inventory_digest: str, release_id: str) -> str | None:
        """Result id of the newest run that has posted for exactly this instance set: of this release, or of any that a human has reviewed.

        A newer model does not read anew what a human has decided about (contract 1.5).
        """
        same = (Run.study_key == study_key, Run.inventory_digest == inventory_digest, Run.result_id.is_not(None))
        settled = or_(Run.state == "reviewed", and_(Run.release_id == release_id, Run.state.in_(POSTED)))
        with self._database.reading() as session:
            newest = select(Run.result_id).where(*same, settled).order_by(Run.started_at.desc())
            return session.scalar(newest.limit(1))

    def has_posted(self, study_key: str) -> bool:
        posted = (Run.study_key == study_key, Run.result_id.is_not(None), Run.state != "unchanged")
        with self._database.reading() as session:
            return session.scalar(select(Run.run_id).where(*posted).limit(1)) is not None

    def open_run(self, run_id: str, study_key: str, thread_id: str, inventory_digest: str, release_id: str) -> None:
        """Begin a run; a repeat changes nothing, whatever the run has come to since."""
        with self._database.writing() as session:
            if session.get(Run, run_id) is None:
                session.add(_new_run(run_id, study_key, thread_id, inventory_digest, release_id))

    def close_run(self, run_id: str, state: RunState, result_id: str | None) -> None:
        """`PermanentFailure` (`run-unknown`) if the run was never opened."""
        with self._database.writing() as session:
            set_state(session, run_id, state, result_id)
        count("longview_runs_ended_total", outcome="closed")

    def skip_run(self, skipped: SkipRun) -> None:
        """A run may be skipped before it was opened."""
        with self._database.writing() as session:
            run = session.get(Run, skipped.run_id)
            if run is None:
                run = _new_run(skipped.run_id, skipped.study_key, skipped.thread_id, skipped.inventory_digest, None)
                session.add(run)
            again = run.state == skipped.state
            run.state, run.code, run.updated_at = skipped.state, skipped.code, datetime.now(UTC)
        if not again:
            count_study("skipped", skipped.code)

    def fail_run(self, failure: RunFailure, event: CloudEvent) -> None:
        """Record where and why the run stopped, and tell the bus; a run may fail before it was opened."""
        with self._database.writing() as session:
            run = session.get(Run, failure.run_id)
            if run is None:
                run = _new_run(failure.run_id, failure.study_key, failure.thread_id, failure.inventory_digest, None)
                session.add(run)
            again = run.state == "failed"
            run.state, run.stage, run.code, run.hint = "failed", failure.stage, failure.code, failure.hint
            run.retryable, run.attempts = failure.retryable, failure.attempts
            run.updated_at = datetime.now(UTC)
            write_event(session, event)
        if not again:
            count_study("failed", failure.code)

    def find_studies(self, accession: str, study_key: str) -> set[str]:
        """Keys of the study of this key, and of those that the inbox knows by this accession number."""
        known = select(InboxEntry.study_key).where(InboxEntry.accession == accession)
        with self._database.reading() as session:
            return {study_key, *session.scalars(known)}

    def account_of(self, run_id: str) -> list[SeriesOutcome]:
        """What became of the study's series in this run, as far as the inbox was told."""
        of_run = select(InboxEntry.document).where(InboxEntry.run_id == run_id).order_by(InboxEntry.issued_at).limit(1)
        with self._database.reading() as session:
            document = session.scalar(of_run)
        return InboxResult.model_validate(document).reading.series if document else []

    def list_runs(self, *, failed: bool = False, limit: int = 200, study_keys: set[str] | None = None) -> list[RunRow]:
        """The newest runs first; only those that failed, or of these studies, if asked."""
        newest = select(Run).order_by(Run.updated_at.desc()).limit(limit)
        if study_keys is not None:
            newest = newest.where(Run.study_key.in_(study_keys))
        with self._database.reading() as session:
            rows = session.scalars(newest.where(Run.state == "failed") if failed else newest).all()
            found = _traces(session, {row.study_key for row in rows})
            return [_shown(row, found.get(row.result_id or "") or found.get(row.run_id)) for row in rows]


def _shown(row: Run, trace_id: str | None) -> RunRow:
    names = [column.key for column in Run.__table__.columns if column.key in RunRow.__dataclass_fields__]
    return RunRow(**{name: getattr(row, name) for name in names}, trace_id=trace_id)


def _traces(session: Session, study_keys: set[str]) -> dict[str, str]:
    """Trace ids by result id and by the id of a failed run: the events keep them, so the table of runs need not."""
    told = select(Outbox.event).where(Outbox.key.in_(study_keys))
    found = {}
    for event in session.scalars(told):
        context = traces.parse(event.get("traceparent"))
        name = {RESULT_AVAILABLE: "resultId", RUN_FAILED: "reference"}.get(event["type"])
        if context is not None and name is not None:
            found[event["data"][name]] = context.trace_id
    return found


def _new_run(run_id: str, study_key: str, thread_id: str, inventory_digest: str, release_id: str | None) -> Run:
    now = datetime.now(UTC)
    return Run(
        run_id=run_id,
        study_key=study_key,
        thread_id=thread_id,
        inventory_digest=inventory_digest,
        release_id=release_id,
        state="running",
        started_at=now,
        updated_at=now,
    )


def count_study(outcome: Literal["read", "abstained", "failed", "skipped"], code: str = "", modality: str = "") -> None:
    """Once for each run that has come so far, after it was written; a repeated write is not counted again."""
    count("longview_studies_total", outcome=outcome, modality=modality or "none", code=code or "none")
    count("longview_runs_ended_total", outcome=outcome)


def set_state(session: Session, run_id: str, state: RunState, result_id: str | None) -> None:
    run = session.get(Run, run_id)
    if run is None:
        raise PermanentFailure("run-unknown", "the run was never opened in this database")
    run.state, run.result_id, run.updated_at = state, result_id, datetime.now(UTC)


def set_state_of_result(session: Session, result_id: str, state: RunState) -> None:
    """The run that posted the result; runs that found it unchanged stay as they are."""
    posted = update(Run).where(Run.result_id == result_id, Run.state.in_(POSTED))
    session.execute(posted.values(state=state, updated_at=datetime.now(UTC)))
