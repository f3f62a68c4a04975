"""Oversight of what has been read: passes of reconciliation, shadow readings, agreement and drift.

Keys, codes and references. A `StudyGap` names a study and its PatientID, so it travels encrypted between steps and is never written down.
"""

from __future__ import annotations

from typing import Literal

from schemas.inference import LikelihoodBand, Presence
from schemas.model import Record
from schemas.report import Priority, Reading
from schemas.runs import BuildResult, CreateInboxEntry, Digest, ResultBuilt, RunState

# -- reconciliation --------------------------------------------------------------------------------------------------------

ItemKind = Literal[
    "study-without-result",
    "result-without-entry",
    "entry-without-report",
    "entry-out-of-step",
    "result-doubled",
    "thread-doubled",
]
ItemState = Literal["healed", "waiting", "flagged"]
"""`waiting`: a later pass looks again by itself; `flagged`: a person has to look."""

GapReason = Literal["never-announced", "run-failed", "run-stalled", "study-changed", "workflow-lost"]
Trigger = Literal["schedule", "now"]


class ReconcileInput(Record):
    """Starts `ReconcileWorkflow`: how far back it looks, how long it waits for quiet, how much one pass may heal."""

    window_days: int
    grace_minutes: int
    cap: int
    heal: bool = True
    trigger: Trigger = "schedule"


class OpenPass(Record):
    """One pass; `since` is the first day of its window, `YYYY-MM-DD`."""

    pass_id: str
    trigger: Trigger
    since: str
    grace_minutes: int
    cap: int
    at: str


class StudyGap(Record):
    """A study of the archive that ought to have a result. `run_id` is the newest run's, None where there was none."""

    study_key: str
    study_instance_uid: str
    inventory_digest: str
    reason: GapReason
    run_id: str | None


class StudiesSurveyed(Record):
    """`left` counts the suspects beyond the cap: the next pass finds them again."""

    looked: int
    gaps: list[StudyGap]
    left: int


class HealStudy(Record):
    pass_id: str
    gap: StudyGap
    heal: bool


class ResultGap(Record):
    """What does not fit together about one result. `code` says how; `newer` is the result that takes its place."""

    kind: ItemKind
    code: str
    thread_id: str
    result_id: str
    newer: str | None = None


class ResultsSurveyed(Record):
    looked: int
    gaps: list[ResultGap]
    left: int


class HealResult(Record):
    pass_id: str
    gap: ResultGap
    heal: bool
    at: str


class EntryPlan(Record):
    """`entry` is what the inbox lacks; None where a person has to look, and `code` says why."""

    entry: CreateInboxEntry | None
    code: str


class ReconcileItem(Record):
    """One thing that a pass found, and what became of it. `key` is a study key, thread id or result id."""

    pass_id: str
    kind: ItemKind
    key: str
    fact: str
    """What the item is about within the key (instance set and run, or result): the same fact is one item of the pass."""
    state: ItemState
    code: str


class ClosePass(Record):
    pass_id: str
    at: str
    studies: int
    results: int
    left: int


class PassOutcome(Record):
    """Result of `ReconcileWorkflow`."""

    pass_id: str
    studies: int
    results: int
    healed: int
    waiting: int
    flagged: int
    left: int
    drift_alarms: int


class RunSeen(Record):
    """The newest run of a study, as the table of runs has it; `updated_at` is RFC 3339."""

    run_id: str
    study_key: str
    state: RunState
    code: str | None
    retryable: bool | None
    inventory_digest: str | None
    updated_at: str


class ReportSeen(Record):
    """A DiagnosticReport of ours as FHIR has it; `report` is `DiagnosticReport/<id>`, `changed` RFC 3339."""

    report: str
    result_id: str
    thread_id: str
    status: str
    issued: str
    changed: str
    addendum: bool = False
    """It stands beside the result it adds to, and is no second reading of the study."""


class EntrySeen(Record):
    """An entry of the inbox, without its patient."""

    result_id: str
    thread_id: str
    status: str


class KeptBuild(Record):
    """How a result was built, kept in the store beside its Bundle: enough to show it again and to ask another model the same."""

    study_key: str
    release_id: str
    build: BuildResult
    built: ResultBuilt


# -- shadow readings -------------------------------------------------------------------------------------------------------


class PlanShadow(Record):
    """Is there a second release to ask, and is this result still to be asked about?"""

    result_id: str


class ShadowPlan(Record):
    """`release_id` is None where no shadow release is served."""

    release_id: str | None


class ShadowRead(Record):
    """Starts `ShadowReadWorkflow`: the question that the shown release was asked, and its checked answer."""

    study_key: str
    result_id: str
    release_id: str
    request: Digest
    volume: Digest
    more: list[Digest] = []
    shown: Digest
    priority: Priority = "routine"


class ShadowAnswered(Record):
    """`answer` addresses a `ModelAnswer`."""

    answer: Digest
    milliseconds: int


class CheckShadow(Record):
    read: ShadowRead
    answered: ShadowAnswered


class ShadowFailed(Record):
    read: ShadowRead
    code: str


class ShadowOutcome(Record):
    state: Literal["read", "failed"]
    code: str | None


class BoxPair(Record):
    """What an overlap is computed from, in square pixels of the source frame; None of it says where the box lies.

    `slices_apart` counts slices of the stack between the two boxes: 0 is the same slice, and only there do boxes overlap.
    """

    area_shown: float
    area_shadow: float
    intersection: float
    slices_apart: int


class ShadowFinding(Record):
    """One question as both releases answered it; a dropped answer has no presence, and the check's name as code."""

    label: str
    shown_presence: Presence | None
    shown_likelihood: LikelihoodBand | None
    shown_dropped: str | None
    shadow_presence: Presence | None
    shadow_likelihood: LikelihoodBand | None
    shadow_dropped: str | None
    boxes: BoxPair | None


class ShadowKept(Record):
    """A shadow reading as the table keeps it; the whole `Reading` stays in the store."""

    study_key: str
    result_id: str
    release_id: str
    reading: Digest | None
    milliseconds: int | None
    code: str | None
    findings: list[ShadowFinding]


class ShownReading(Record):
    """What a shown result said, as rows for rates: the reading without places and pictures."""

    result_id: str
    study_key: str
    thread_id: str
    release_id: str
    build: Digest
    reading: Reading


# -- drift -----------------------------------------------------------------------------------------------------------------


class WatchDrift(Record):
    """Look at the rates of the days before `day` (`YYYY-MM-DD`), once a day."""

    day: str


class DriftWatched(Record):
    alarms: int
