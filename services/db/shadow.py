"""How results were built, shadow readings and drift (`workflows.ports.BuildRecords`, `ShadowRecords`), and what the reports read of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast

from sqlalchemy import Row, Select, delete, select

from schemas.inference import Presence
from schemas.oversight import BoxPair, ShadowFinding, ShadowKept, ShownReading
from services.db.engine import Database
from services.db.models import InboxEntry
from services.db.oversight_models import AmendedFinding, DriftLook, ResultBuild, ShadowRead, ShadowReading, ShownFinding
from workflows.shadow.drift import RECENT_DAYS, REFERENCE_DAYS, DriftFinding, Rate
from workflows.shadow.report import Comparison

DECIDED = ("accepted", "amended", "rejected")


class BuildRecords:
    """How each result was built; each method is one transaction and may be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep_build(self, shown: ShownReading) -> None:
        """The newest build of a result counts: one that is built anew before it was posted replaces the one before."""
        reading = shown.reading
        with self._database.writing() as session:
            session.execute(delete(ShownFinding).where(ShownFinding.result_id == shown.result_id))
            session.merge(
                ResultBuild(
                    **shown.model_dump(include={"result_id", "study_key", "thread_id", "release_id", "build"}),
                    finding_count=len(reading.findings),
                    dropped_count=len(reading.dropped),
                    built_at=datetime.now(UTC),
                )
            )
            session.flush()
            session.add_all(_shown_rows(shown))

    def keep_amended(self, result_id: str, answers: Mapping[str, Presence]) -> None:
        """What a human has answered, by label, in place of the AI; a repeat changes nothing."""
        with self._database.writing() as session:
            for label, presence in answers.items():
                session.merge(AmendedFinding(result_id=result_id, label=label, presence=presence))


def _shown_rows(shown: ShownReading) -> list[ShownFinding]:
    answered = {finding.label: finding for finding in shown.reading.findings}
    dropped = {each.label: each.code for each in shown.reading.dropped}
    return [
        ShownFinding(
            result_id=shown.result_id,
            label=label,
            presence=answered[label].presence if label in answered else None,
            likelihood=answered[label].likelihood if label in answered else None,
            dropped=dropped.get(label),
        )
        for label in sorted({*answered, *dropped})
    ]


class ShadowRecords:
    """Shadow readings, and rates over time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def was_read(self, result_id: str, release_id: str) -> bool:
        """Whether this release has read the study already, or has failed to."""
        with self._database.reading() as session:
            return session.get(ShadowRead, (result_id, release_id)) is not None

    def keep_shadow(self, kept: ShadowKept) -> None:
        """Once for each result and release; a repeat replaces its rows by the same ones."""
        key = {"result_id": kept.result_id, "release_id": kept.release_id}
        own = ("study_key", "reading", "milliseconds", "code")
        with self._database.writing() as session:
            old = (ShadowReading.result_id == kept.result_id, ShadowReading.release_id == kept.release_id)
            session.execute(delete(ShadowReading).where(*old))
            session.merge(ShadowRead(**key, **kept.model_dump(include=set(own)), read_at=datetime.now(UTC)))
            session.add_all([_shadow_row(key, finding) for finding in kept.findings])

    # -- agreement -----------------------------------------------------------------------------------------------------

    def releases(self, since: datetime) -> list[tuple[str, str | None]]:
        """Pairs of a shown release and a shadow release that read the same studies; the shadow is None where none did."""
        pairs = (
            select(ResultBuild.release_id, ShadowRead.release_id)
            .join(InboxEntry, InboxEntry.result_id == ResultBuild.result_id)
            .outerjoin(ShadowRead, ShadowRead.result_id == ResultBuild.result_id)
            .where(InboxEntry.issued_at >= since)
            .distinct()
        )
        with self._database.reading() as session:
            found: list[tuple[str, str | None]] = [(row[0], row[1]) for row in session.execute(pairs)]
        read_beside = {shown for shown, shadow in found if shadow is not None}
        return sorted(
            ((s, d) for s, d in found if d is not None or s not in read_beside),
            key=lambda pair: (pair[0], pair[1] or ""),
        )

    def comparisons(self, since: datetime, shown_release: str, shadow_release: str | None) -> list[Comparison]:
        """Each question about each study whose result stands; a superseded result is not a second study."""
        asked = (
            select(ShownFinding, ShadowReading, InboxEntry.status)
            .join(ResultBuild, ResultBuild.result_id == ShownFinding.result_id)
            .join(InboxEntry, InboxEntry.result_id == ShownFinding.result_id)
            .outerjoin(
                ShadowReading,
                (ShadowReading.result_id == ShownFinding.result_id)
                & (ShadowReading.label == ShownFinding.label)
                & (ShadowReading.release_id == (shadow_release or "")),
            )
            .where(
                ResultBuild.release_id == shown_release,
                InboxEntry.issued_at >= since,
                InboxEntry.status != "superseded",
            )
            .order_by(ShownFinding.result_id, ShownFinding.label)
        )
        amended = select(AmendedFinding).join(ResultBuild, ResultBuild.result_id == AmendedFinding.result_id)
        with self._database.reading() as session:
            answers: dict[str, dict[str, str]] = {}
            for row in session.scalars(amended.where(ResultBuild.release_id == shown_release)):
                answers.setdefault(row.result_id, {})[row.label] = row.presence
            return [_comparison(tuple(row), answers) for row in session.execute(asked)]

    # -- drift ---------------------------------------------------------------------------------------------------------

    def shown_releases(self, day: date) -> list[str]:
        """Releases with results in the recent window before `day`."""
        first, last = _window(day, RECENT_DAYS, 0)
        recent = _posted(ResultBuild.release_id).where(InboxEntry.issued_at >= first, InboxEntry.issued_at < last)
        with self._database.reading() as session:
            return sorted(set(session.scalars(recent)))

    def rates(self, release_id: str, day: date) -> tuple[dict[str, Rate], dict[str, Rate]]:
        """Rates of the recent window and of the reference window before it, by metric."""
        recent = self._rates(release_id, *_window(day, RECENT_DAYS, 0))
        return recent, self._rates(release_id, *_window(day, REFERENCE_DAYS, RECENT_DAYS))

    def _rates(self, release_id: str, first: datetime, last: datetime) -> dict[str, Rate]:
        """One study counts once in each rate: a rate over single answers would count studies with many of them more."""
        own = ResultBuild.release_id == release_id
        issued = (own, InboxEntry.issued_at >= first, InboxEntry.issued_at < last)
        decided = (own, InboxEntry.reviewed_at >= first, InboxEntry.reviewed_at < last)
        counted = (ResultBuild.finding_count, ResultBuild.dropped_count)
        with self._database.reading() as session:
            results = list(session.execute(_posted(*counted).where(*issued)))
            answers = session.execute(
                _posted(ShownFinding.label, ShownFinding.presence)
                .join(ShownFinding, ShownFinding.result_id == ResultBuild.result_id)
                .where(*issued, ShownFinding.presence.is_not(None))
            )
            detected = Counter((row.label, row.presence == "detected") for row in answers)
            outcomes = list(session.scalars(_posted(InboxEntry.status).where(*decided)))
        return _overall(results, outcomes) | {
            f"detected:{label}": Rate(detected[label, True], detected[label, True] + detected[label, False])
            for label in sorted({label for label, _ in detected})
        }

    def keep_look(self, day: date, release_id: str, findings: list[DriftFinding]) -> None:
        """One look a day and release: a repeat on the same day changes nothing, so that the stated rate of false alarms holds."""
        with self._database.writing() as session:
            same = (DriftLook.day == day.isoformat(), DriftLook.release_id == release_id)
            if session.scalar(select(DriftLook.metric).where(*same).limit(1)) is not None:
                return
            session.add_all([_look(day, release_id, finding) for finding in findings])

    def alarms(self, day: date) -> list[dict[str, Any]]:
        """Alarms of that day's looks."""
        return [row for row in self.looks(day) if row["day"] == day.isoformat() and row["verdict"] == "alarm"]

    def looks(self, since: date) -> list[dict[str, Any]]:
        """Looks since that day, the newest first: a release, a metric, two rates and a verdict each."""
        later = select(DriftLook).where(DriftLook.day >= since.isoformat())
        names = [column.key for column in DriftLook.__table__.columns]
        with self._database.reading() as session:
            rows = session.scalars(later.order_by(DriftLook.day.desc(), DriftLook.release_id, DriftLook.metric))
            return [{name: getattr(row, name) for name in names} for row in rows]


def _posted(*columns: Any) -> Select[Any]:
    """Builds whose result is in the inbox and was not replaced."""
    joined = select(*columns).select_from(ResultBuild).join(InboxEntry, InboxEntry.result_id == ResultBuild.result_id)
    return joined.where(InboxEntry.status != "superseded")


def _overall(results: list[Row[Any]], outcomes: list[str]) -> dict[str, Rate]:
    decided = [status for status in outcomes if status in DECIDED]
    return {
        "abstained": Rate(sum(row.finding_count == 0 for row in results), len(results)),
        "dropped-answer": Rate(sum(row.dropped_count > 0 for row in results), len(results)),
        "rejected": Rate(decided.count("rejected"), len(decided)),
    }


def _window(day: date, length: int, back: int) -> tuple[datetime, datetime]:
    """The `length` whole UTC days that end `back` days before `day` begins."""
    last = datetime.combine(day, time(), UTC) - timedelta(days=back)
    return last - timedelta(days=length), last


def _shadow_row(key: dict[str, str], finding: ShadowFinding) -> ShadowReading:
    boxes = finding.boxes.model_dump() if finding.boxes else {}
    return ShadowReading(**key, **finding.model_dump(exclude={"boxes"}), **boxes)


def _comparison(row: tuple[Any, ...], amended: Mapping[str, Mapping[str, str]]) -> Comparison:
    """What a human has not changed in a result that was accepted or amended, that human agrees with."""
    shown, shadow, status = row
    own = amended.get(shown.result_id, {})
    human = own.get(shown.label, shown.presence) if status == "accepted" or (status == "amended" and own) else None
    decision = status if status in DECIDED else None
    boxes = None
    if shadow is not None and shadow.slices_apart is not None:
        boxes = BoxPair(**{name: getattr(shadow, name) for name in BoxPair.model_fields})
    return Comparison(
        result_id=shown.result_id,
        label=shown.label,
        shown=cast("Presence | None", shown.presence),
        shadow=cast("Presence | None", shadow.shadow_presence) if shadow is not None else None,
        human=cast("Presence | None", human),
        decision=decision,
        shadow_asked=shadow is not None,
        boxes=boxes,
    )


def _look(day: date, release_id: str, finding: DriftFinding) -> DriftLook:
    return DriftLook(
        day=day.isoformat(),
        release_id=release_id,
        metric=finding.metric,
        recent_k=finding.recent.k,
        recent_n=finding.recent.n,
        reference_k=finding.reference.k,
        reference_n=finding.reference.n,
        p=finding.p,
        verdict=finding.verdict,
        looked_at=datetime.now(UTC),
    )
