"""Passes of reconciliation (`workflows.ports.ReconcileRecords`), and how operators list them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select

from schemas.errors import PermanentFailure
from schemas.inbox import ReviewRecorded
from schemas.oversight import ClosePass, EntrySeen, OpenPass, RunSeen
from schemas.oversight import ReconcileItem as Item
from services.db.engine import Database
from services.db.inbox import IS_RESULT, UNREVIEWED, decide, supersede_addenda, write_change
from services.db.models import InboxEntry, Run
from services.db.oversight_models import ReconcileItem, ReconcilePass, ResultBuild
from services.db.runs import RunRecords, set_state_of_result

CHUNK = 500
"""Keys in one statement: SQLite allows some thousands of parameters."""


@dataclass(frozen=True)
class PassRow:
    """A pass as `longview reconcile` lists it; a pass without an end is at work, or was killed and goes on."""

    pass_id: str
    trigger: str
    since: str
    started_at: datetime
    ended_at: datetime | None
    studies: int | None
    results: int | None
    left_over: int | None
    healed: int
    waiting: int
    flagged: int


@dataclass(frozen=True)
class ItemRow:
    """One item of a pass."""

    pass_id: str
    kind: str
    key: str
    state: str
    code: str
    at: datetime


class ReconcileRecords:
    """Reads what passes compare, and writes what they found; each method is one transaction and may be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest_runs(self, study_keys: Sequence[str]) -> dict[str, RunSeen]:
        """The run that began last of each study that has one."""
        found: dict[str, RunSeen] = {}
        for start in range(0, len(study_keys), CHUNK):
            keys = study_keys[start : start + CHUNK]
            with self._database.reading() as session:
                for run in session.scalars(select(Run).where(Run.study_key.in_(keys)).order_by(Run.started_at)):
                    found[run.study_key] = _seen(run)
        return found

    def entries(self, since: datetime, result_ids: Sequence[str]) -> list[EntrySeen]:
        """Entries of results issued since then, and those of the results named. A notice about an unread study stands for no result."""
        columns = (InboxEntry.result_id, InboxEntry.thread_id, InboxEntry.status)
        found: dict[str, EntrySeen] = {}
        with self._database.reading() as session:
            rows = list(session.execute(select(*columns).where(IS_RESULT, InboxEntry.issued_at >= since)))
            for start in range(0, len(result_ids), CHUNK):
                named = InboxEntry.result_id.in_(result_ids[start : start + CHUNK])
                rows += list(session.execute(select(*columns).where(named)))
        for row in rows:
            found[row.result_id] = EntrySeen(**row._mapping)
        return list(found.values())

    def waiting_studies(self, study_keys: Sequence[str]) -> set[str]:
        """Those of the studies with a result that waits for a human, which only their workflow can take further; a notice waits for no workflow."""
        found: set[str] = set()
        with self._database.reading() as session:
            for start in range(0, len(study_keys), CHUNK):
                named = InboxEntry.study_key.in_(study_keys[start : start + CHUNK])
                waits = (named, IS_RESULT, InboxEntry.status.in_(UNREVIEWED))
                found |= set(session.scalars(select(InboxEntry.study_key).where(*waits)))
        return found

    def announced_before(self, study_key: str, fact: str, pass_id: str) -> int:
        """In how many other passes the study was announced in this state."""
        same = (ReconcileItem.key == study_key, ReconcileItem.fact == fact, ReconcileItem.state == "healed")
        counted = select(func.count()).where(*same, ReconcileItem.pass_id != pass_id)
        with self._database.reading() as session:
            return session.scalar(counted) or 0

    def build_of(self, result_id: str) -> str | None:
        """Address of the result's `KeptBuild`, if it was built here."""
        with self._database.reading() as session:
            return session.scalar(select(ResultBuild.build).where(ResultBuild.result_id == result_id))

    def run_of(self, run_id: str, study_key: str, thread_id: str, inventory_digest: str, release_id: str) -> str:
        """The run that built a result which never got to the inbox; one of the name `run_id` is opened where none is known."""
        lost = (
            Run.study_key == study_key,
            Run.inventory_digest == inventory_digest,
            Run.release_id == release_id,
            Run.result_id.is_(None),
        )
        with self._database.reading() as session:
            known = session.scalar(select(Run.run_id).where(*lost).order_by(Run.started_at.desc()).limit(1))
        if known is None:
            RunRecords(self._database).open_run(run_id, study_key, thread_id, inventory_digest, release_id)
        return known or run_id

    def supersede_entry(self, result_id: str, newer: str | None) -> bool:
        """Mark an entry that nobody has decided about as superseded; False where it is not there, or a decision stands."""
        with self._database.writing() as session:
            entry = session.get(InboxEntry, result_id)
            if entry is None or entry.status not in (*UNREVIEWED, "superseded"):
                return False
            if entry.status != "superseded":
                entry.status, entry.superseded_by = "superseded", newer
                write_change(session, result_id, "superseded")
                set_state_of_result(session, result_id, "superseded")
                if newer is not None:
                    supersede_addenda(session, result_id, newer)
            return True

    def decide_entry(self, decided: ReviewRecorded) -> bool:
        """Record a decision that FHIR has had all along; False where the entry is not there or no longer open."""
        with self._database.writing() as session:
            entry = session.get(InboxEntry, decided.result_id)
            if entry is None or entry.status not in UNREVIEWED:
                return False
            decide(entry, decided)
            write_change(session, decided.result_id, decided.outcome)
            set_state_of_result(session, decided.result_id, "reviewed")
            return True

    def open_pass(self, opened: OpenPass) -> None:
        with self._database.writing() as session:
            if session.get(ReconcilePass, opened.pass_id) is None:
                session.add(ReconcilePass(**opened.model_dump(exclude={"at"}), started_at=_moment(opened.at)))

    def record_item(self, item: Item) -> None:
        """The same fact of the same pass is one row: what became of it last counts."""
        with self._database.writing() as session:
            known = session.scalar(
                select(ReconcileItem).where(
                    ReconcileItem.pass_id == item.pass_id,
                    ReconcileItem.kind == item.kind,
                    ReconcileItem.key == item.key,
                    ReconcileItem.fact == item.fact,
                )
            )
            if known is None:
                session.add(ReconcileItem(**item.model_dump(), at=datetime.now(UTC)))
            else:
                known.state, known.code, known.at = item.state, item.code, datetime.now(UTC)

    def close_pass(self, closed: ClosePass) -> dict[str, int]:
        """How many items the pass has in each state."""
        with self._database.writing() as session:
            opened = session.get(ReconcilePass, closed.pass_id)
            if opened is None:
                raise PermanentFailure("pass-unknown", "the pass was never opened in this database")
            opened.ended_at, opened.studies, opened.results = _moment(closed.at), closed.studies, closed.results
            opened.left_over = closed.left
            states = select(ReconcileItem.state, func.count()).where(ReconcileItem.pass_id == closed.pass_id)
            return {row[0]: row[1] for row in session.execute(states.group_by(ReconcileItem.state))}

    def list_passes(self, limit: int = 20) -> list[PassRow]:
        """The newest first."""
        newest = select(ReconcilePass).order_by(ReconcilePass.started_at.desc()).limit(limit)
        with self._database.reading() as session:
            passes = list(session.scalars(newest))
            counts = select(ReconcileItem.pass_id, ReconcileItem.state, func.count())
            counts = counts.where(ReconcileItem.pass_id.in_([p.pass_id for p in passes]))
            counted = {
                (row[0], row[1]): row[2]
                for row in session.execute(counts.group_by(ReconcileItem.pass_id, ReconcileItem.state))
            }
        return [_pass_row(each, counted) for each in passes]

    def list_items(self, pass_id: str) -> list[ItemRow]:
        """Items of one pass: what a person has to look at first."""
        of_pass = select(ReconcileItem).where(ReconcileItem.pass_id == pass_id)
        with self._database.reading() as session:
            rows = session.scalars(of_pass.order_by(ReconcileItem.state, ReconcileItem.seq))
            return [ItemRow(**{name: getattr(row, name) for name in ItemRow.__dataclass_fields__}) for row in rows]


def _pass_row(each: ReconcilePass, counted: dict[tuple[str, str], int]) -> PassRow:
    own: dict[str, Any] = {
        n: getattr(each, n) for n in PassRow.__dataclass_fields__ if n not in ("healed", "waiting", "flagged")
    }
    own |= {state: counted.get((each.pass_id, state), 0) for state in ("healed", "waiting", "flagged")}
    return PassRow(**own)


def _seen(run: Run) -> RunSeen:
    return RunSeen.model_validate(
        {name: getattr(run, name) for name in RunSeen.model_fields if name != "updated_at"}
        | {"updated_at": run.updated_at.isoformat()}
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
