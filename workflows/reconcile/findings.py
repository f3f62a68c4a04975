"""What does not fit together: archive against runs, FHIR against inbox, FHIR against itself (contract 1.5). Pure.

Whatever is younger than the grace period is left alone: its workflow is most likely still at work on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from schemas.imaging import MODALITIES_READ
from schemas.oversight import EntrySeen, GapReason, ReportSeen, ResultGap, RunSeen

HEALING_CODES = frozenset(
    {
        "study-not-found",
        "study-never-complete",
        "patient-not-found",
        "fhir-forbidden",
        "model-release-mismatch",
        "model-release",
        "object-missing",
        "object-corrupt",
    }
)
"""Failures that were final for their run and yet pass: data that came later, or a setting that an operator has mended since.

Everything that a run calls retryable heals too. A study that cannot be read (geometry, pixels, another patient's) is not asked about again
before its instances change.
"""

RUNNING_PATIENCE = timedelta(hours=36)
"""A run that has not moved for this long is lost: its steps end by themselves within a day (workflows.report_study.policies)."""

MODALITIES = frozenset(MODALITIES_READ)
"""Studies of other modalities end as `no-readable-series`: they are announced by the hospital, or not at all."""

_EXPECTED: dict[str, frozenset[str]] = {
    "unread": frozenset({"partial"}),
    "opened": frozenset({"partial"}),
    "accepted": frozenset({"preliminary"}),
    "amended": frozenset({"preliminary"}),
    "rejected": frozenset({"entered-in-error", "cancelled"}),
    "superseded": frozenset({"cancelled"}),
    "withdrawn": frozenset({"cancelled", "entered-in-error"}),
}
"""The status of the report that belongs to each status of an entry (contract 2); entries of other statuses are not judged."""

_OPEN = ("unread", "opened")


# -- studies ---------------------------------------------------------------------------------------------------------------


def suspicion(run: RunSeen | None, now: datetime, *, unattended: bool = False) -> GapReason | None:
    """Why a study of the archive may lack a result, by its newest run; None where nothing is amiss.

    `study-changed` is only a suspicion: it holds if the instances are no longer those that could not be read. `unattended`: the study is being read
    or its result waits for a human, and no workflow is open that would go on (Temporal was lost, or somebody has ended it).
    """
    if run is None:
        return "never-announced"
    if unattended:
        return "workflow-lost"
    if run.state == "running":
        stalled = now - datetime.fromisoformat(run.updated_at) > RUNNING_PATIENCE
        return "run-stalled" if stalled else None
    if run.state != "failed":
        return None
    return "run-failed" if heals(run) else "study-changed"


def heals(run: RunSeen) -> bool:
    """Whether asking again may help after this failure."""
    return bool(run.retryable) or run.code in HEALING_CODES


def confirmed(reason: GapReason, run: RunSeen | None, inventory_digest: str) -> bool:
    """Whether the suspicion stands, now that the archive has told the instances."""
    return reason != "study-changed" or run is None or run.inventory_digest != inventory_digest


# -- results ---------------------------------------------------------------------------------------------------------------


def compare_results(
    reports: Collection[ReportSeen], entries: Collection[EntrySeen], now: datetime, grace: timedelta
) -> list[ResultGap]:
    """Every result whose report and entry do not fit, each once, in a fixed order.

    `reports` holds every report whose result is among `entries`; a result that is doubled is named as that and nothing else.
    """
    by_result: dict[str, list[ReportSeen]] = defaultdict(list)
    for report in reports:
        by_result[report.result_id].append(report)
    doubled = [group[0] for group in by_result.values() if len({r.report for r in group}) > 1]
    single = {group[0].result_id: group[0] for group in by_result.values() if len({r.report for r in group}) == 1}
    known = {entry.result_id: entry for entry in entries}
    gaps = [
        ResultGap(kind="result-doubled", code="result-doubled", thread_id=r.thread_id, result_id=r.result_id)
        for r in doubled
    ]
    twice = _thread_doubled(single.values(), now, grace)
    gaps += twice
    settled = {gap.result_id for gap in gaps}
    gaps += _reports_without_entry(single, known, settled, now, grace)
    gaps += _entries_out_of_step(single, {r.result_id for r in doubled}, known, settled, now, grace)
    return sorted(gaps, key=lambda gap: (gap.kind, gap.thread_id, gap.result_id))


def _settled(report: ReportSeen, now: datetime, grace: timedelta) -> bool:
    return now - datetime.fromisoformat(report.changed) >= grace


def _thread_doubled(reports: Iterable[ReportSeen], now: datetime, grace: timedelta) -> list[ResultGap]:
    """Unread results of one study beside each other: each but the newest is to be superseded by it."""
    threads: dict[str, list[ReportSeen]] = defaultdict(list)
    for report in reports:
        if report.status == "partial" and not report.addendum:
            threads[report.thread_id].append(report)
    gaps = []
    for unread in threads.values():
        *older, newest = sorted(unread, key=lambda r: (datetime.fromisoformat(r.issued), r.result_id))
        if not older or not all(_settled(r, now, grace) for r in unread):
            continue
        gaps += [
            ResultGap(
                kind="thread-doubled",
                code="unread-beside-newer",
                thread_id=report.thread_id,
                result_id=report.result_id,
                newer=newest.result_id,
            )
            for report in older
        ]
    return gaps


def _reports_without_entry(
    reports: Mapping[str, ReportSeen],
    entries: Mapping[str, EntrySeen],
    settled: Collection[str],
    now: datetime,
    grace: timedelta,
) -> list[ResultGap]:
    """Nobody misses an entry for a report that is withdrawn; a reviewed one cannot be put up for review again by us."""
    codes = {"partial": "entry-missing", "preliminary": "reviewed-without-entry"}
    return [
        ResultGap(kind="result-without-entry", code=codes[r.status], thread_id=r.thread_id, result_id=r.result_id)
        for r in reports.values()
        if r.result_id not in entries and r.result_id not in settled and r.status in codes and _settled(r, now, grace)
    ]


def _entries_out_of_step(
    reports: Mapping[str, ReportSeen],
    doubled: Collection[str],
    entries: Mapping[str, EntrySeen],
    settled: Collection[str],
    now: datetime,
    grace: timedelta,
) -> list[ResultGap]:
    gaps = []
    for entry in entries.values():
        report = reports.get(entry.result_id)
        if entry.result_id in doubled or entry.result_id in settled or entry.status not in _EXPECTED:
            continue
        if report is None:
            gaps.append(_of(entry, "entry-without-report", "report-gone"))
        elif report.status not in _EXPECTED[entry.status] and _settled(report, now, grace):
            code = mismatch(entry.status, report.status)
            gaps.append(_of(entry, "entry-out-of-step", code, _newest(reports.values(), report)))
    return gaps


def _of(entry: EntrySeen, kind: str, code: str, newer: str | None = None) -> ResultGap:
    return ResultGap.model_validate(
        {"kind": kind, "code": code, "thread_id": entry.thread_id, "result_id": entry.result_id, "newer": newer}
    )


def _newest(reports: Iterable[ReportSeen], old: ReportSeen) -> str | None:
    """The newest later result of the same study that is not withdrawn."""
    later = [
        r
        for r in reports
        if r.thread_id == old.thread_id
        and r.status in ("partial", "preliminary")
        and not r.addendum
        and datetime.fromisoformat(r.issued) > datetime.fromisoformat(old.issued)
    ]
    return max(later, key=lambda r: datetime.fromisoformat(r.issued)).result_id if later else None


WITHDRAWN = "withdrawn-in-fhir"
"""Brought in line: the entry is marked superseded, as FHIR has cancelled its report, or rejected where our inbox did that."""

DECIDED = "decided-elsewhere"
"""Brought in line where the decision was taken in our inbox and its row was lost: FHIR has it. Another system's is for a person to look at."""


def mismatch(entry: str, report: str) -> str:
    """The name of what does not fit, given the status of an entry and of its report."""
    if entry in _OPEN and report == "cancelled":
        return WITHDRAWN
    if entry in _OPEN and report in ("preliminary", "entered-in-error"):
        return DECIDED
    if report == "partial":
        return "withdrawal-not-in-fhir" if entry in ("superseded", "withdrawn") else "decision-not-in-fhir"
    return "status-unexpected"
