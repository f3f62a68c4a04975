"""Arguments and results of the activities of a run: references and keys, never pixels or Bundles.

They travel through Temporal encrypted; StudyInstanceUID and FHIR references are identifiers all the same, so none of them is
ever part of a workflow id, a log line or an error.
"""

from __future__ import annotations

from typing import Literal

from schemas.errors import Stage
from schemas.facts import StudyAvailable
from schemas.model import Record
from schemas.report import Priority, RaisedPriority, ReviewAct
from schemas.timeline import StudyEntry

Digest = str
"""Hexadecimal SHA-256: the address of an object in the store."""

RunState = Literal["running", "awaiting-review", "reviewed", "superseded", "withdrawn", "held", "unchanged", "failed"]
"""`superseded`: by newer inputs or the radiologist's final report; `withdrawn`: its order was cancelled; `held`: a person says whose it is."""


class GatherTimeline(Record):
    patient_key: str
    event: StudyAvailable
    as_of: str | None = None
    """What was knowable then; None: all that is there now."""


class TimelineGathered(Record):
    timeline: Digest
    entry_count: int
    priority: Priority


class FetchStudy(Record):
    """Fetch the study and build the volume to be read."""

    study_instance_uid: str
    timeline: Digest


class StudyFetched(Record):
    """`volume` addresses the `StoredStack` that names the study's series in the report, `more` those that are shown beside it."""

    volume: Digest
    more: list[Digest] = []
    sop_instance_uids: Digest
    """Addresses the JSON list of every SOP Instance UID of the study."""
    inventory_digest: str
    slices: int
    account: Digest | None = None
    """Addresses the JSON list of `SeriesOutcome`: what became of each series of the study."""

    @property
    def stacks(self) -> list[Digest]:
        return [self.volume, *self.more]


class EarlierPrior(Record):
    """A study before the named prior, shown to the model as well."""

    fetched: StudyFetched
    study: StudyEntry


class PriorFetched(Record):
    """The prior to compare with, or the reason why there is none."""

    fetched: StudyFetched | None
    study: StudyEntry | None
    reason: str | None
    choices: Digest | None = None
    """Addresses the JSON list of `PriorChoice`: every other study, taken or not, and why."""
    earlier: list[EarlierPrior] = []
    """Oldest first."""

    @property
    def shown(self) -> list[StudyFetched]:
        """Every prior that the model is shown, oldest first."""
        return [*(prior.fetched for prior in self.earlier), *([self.fetched] if self.fetched else [])]


class FetchPrior(Record):
    timeline: Digest
    current: StudyFetched


class AskModel(Record):
    timeline: Digest
    current: StudyFetched
    prior: PriorFetched
    priority: Priority


class ModelAnswered(Record):
    """`answer` addresses a `ModelAnswer`, `request` the canonical `ModelRequest` (the rendered prompt, kept in the evidence store)."""

    answer: Digest
    request: Digest
    started: str
    ended: str


class CheckAnswer(Record):
    timeline: Digest
    current: StudyFetched
    prior: PriorFetched
    answered: ModelAnswered


class ReadingChecked(Record):
    """`reading` addresses a `Reading`."""

    reading: Digest
    finding_count: int
    dropped_count: int
    critical: RaisedPriority | None = None
    """What the site's critical list says of it, whatever the order says; None where nothing on the list was found."""


class IntegrateHistory(Record):
    """The second, text-only pass over a reading of the images; its result is a `ReadingChecked` again."""

    timeline: Digest
    checked: ReadingChecked
    priority: Priority


class BuildResult(Record):
    thread_id: str
    issued: str
    event: StudyAvailable
    timeline: Digest
    current: StudyFetched
    prior: PriorFetched
    answered: ModelAnswered
    checked: ReadingChecked
    priority: Priority
    """The order's; `checked.critical` may raise the result above it."""


class ResultBuilt(Record):
    """`bundle` addresses the transaction Bundle: built once, posted as often as it takes."""

    result_id: str
    thread_id: str
    bundle: Digest
    supersedes: str | None
    """Result id of the unread result that the Bundle cancels."""


class ResultWritten(Record):
    """Versioned references, as the FHIR server answered."""

    result_id: str
    thread_id: str
    report: str
    task: str
    observations: list[str]
    provenance: str
    created: int
    """How many resources were new; 0 when the result stood there already."""


class CreateInboxEntry(Record):
    run_id: str
    study_key: str
    workflow_id: str
    issued: str
    event: StudyAvailable
    timeline: Digest
    current: StudyFetched
    prior: PriorFetched
    checked: ReadingChecked
    built: ResultBuilt
    written: ResultWritten
    priority: Priority
    """The order's, as in `BuildResult`."""


class RunFailure(Record):
    """What `ai.run.failed` and `longview runs` say: no free text, no identifier."""

    run_id: str
    study_key: str
    thread_id: str
    study_instance_uid: str
    event_id: str
    inventory_digest: str
    """Empty where the failure lies in what came after a result."""
    stage: Stage
    code: str
    hint: str
    retryable: bool
    attempts: int
    account: Digest | None = None
    """Addresses the JSON list of `SeriesOutcome`, where images were looked at."""


class TellUnread(Record):
    """A study that is the patient's and could not be read: people are told."""

    run_id: str
    study_key: str
    thread_id: str
    issued: str
    event: StudyAvailable
    timeline: Digest
    account: Digest | None
    code: str
    hint: str
    priority: Priority


class AttendStudy(Record):
    """Somebody has looked at a study that could not be read."""

    result_id: str
    task: str
    act_id: str
    by: str
    at: str


class SkipRun(Record):
    """A study that is not read, and why: its radiologist's report is final already, its order was cancelled, or a person has to say whose it is."""

    run_id: str
    study_key: str
    thread_id: str
    inventory_digest: str
    state: Literal["superseded", "withdrawn", "held"]
    code: str


class ReindexPatient(Record):
    """The inbox's entries of a thread name the patient that survived a merge; reviewed results stay as they are in FHIR."""

    thread_id: str
    patient: str


class PolicyQuery(Record):
    """Which escalation the site wants for a result of this priority."""

    priority: Priority


class WriteReview(Record):
    study_key: str
    thread_id: str
    act: ReviewAct
    written: ResultWritten


class ReviewWritten(Record):
    act_id: str
    result_id: str
    outcome: str
    report: str
    provenance: str


class RecordReview(Record):
    """After FHIR has accepted the review: what the inbox and the bus are told."""

    review: WriteReview
    reviewed: ReviewWritten


class CloseRun(Record):
    run_id: str
    state: RunState
    result_id: str | None = None


class TakeInventory(Record):
    """Ask the archive what the study holds now, and the records whether that has been read already."""

    run_id: str
    study_key: str
    thread_id: str
    event: StudyAvailable
    timeline: Digest
    reread: bool = False
    """Read again although the images are unchanged: the order or the patient has changed."""


class InventoryTaken(Record):
    """`unchanged_result_id` is set when this very instance set has been read by this release: nothing is to be done."""

    inventory_digest: str
    unchanged_result_id: str | None


StepState = Literal["running", "done", "failed"]


class StepProgress(Record):
    """One step of a run; times are RFC 3339 in UTC, workflow time."""

    step: str
    started: str
    ended: str | None
    state: StepState


class StudyProgress(Record):
    """Answer of the query `progress`."""

    state: RunState
    steps: list[StepProgress]
    written: ResultWritten | None
    failure_code: str | None
    failure_stage: str | None
    failure_hint: str | None = None
    failure_account: Digest | None = None
    """What became of each series, where the study could not be read."""


class StudyOutcome(Record):
    """Result of `ReportStudyWorkflow`."""

    state: RunState
    result_id: str | None
