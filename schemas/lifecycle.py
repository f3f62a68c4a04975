"""What happens to a result after it was posted: arguments and results of the steps that close it, escalate it and add to it.

References and codes only. A posted result is never changed in content: it is reviewed, closed, escalated, or followed by an addendum
(contract 1.5 to 3).
"""

from __future__ import annotations

from typing import Literal

from schemas.model import Record
from schemas.report import Priority, RaisedPriority, ReviewerIdentity
from schemas.runs import ResultWritten, RunState

# -- the result that stands ----------------------------------------------------------------------------------------------


class StandingQuery(Record):
    """Which result of this study stands in FHIR."""

    thread_id: str


class StandingResult(Record):
    """`state` is `awaiting-review`, `reviewed` or `superseded` (cancelled or withdrawn by the system; it stands no longer).

    `written` is None, and `state` `running`, where FHIR holds no result of the thread. Addenda are no results in this sense.
    """

    written: ResultWritten | None
    state: RunState
    raised: RaisedPriority | None = None
    """Set where a critical finding holds an unread result above its order."""


# -- closing and withdrawing ---------------------------------------------------------------------------------------------

CloseReason = Literal["superseded-by-final-report", "order-cancelled", "patient-unmerged", "result-wrong"]
"""Why a result is closed by the system: codes of the local `status-reason` system."""


class CloseResult(Record):
    """Close a result: unread ones are cancelled (`result-wrong`: entered in error), reviewed ones stay as they are (contract 2).

    `act_id` keys the effect: the Provenance carries it as its tag, so that closing twice is closing once.
    """

    act_id: str
    study_key: str
    thread_id: str
    result_id: str
    reason: CloseReason
    final_report: str | None = None
    """`DiagnosticReport/<id>` of the radiologist, with `superseded-by-final-report`."""
    at: str


class ResultClosed(Record):
    """`changed` is False where a human had decided already: the result's content and status stand."""

    result_id: str
    changed: bool
    report: str
    provenance: str


# -- escalation ----------------------------------------------------------------------------------------------------------


class EscalationStep(Record):
    """One step of a policy: whom to tell, how, and until when an acknowledgement is awaited before the next step."""

    number: int
    recipient: str
    medium: Literal["APPWRIT", "PHONE", "EMAILWRIT"]
    wait_minutes: int


class EscalationPolicy(Record):
    """`name` is versioned (`radiology-urgent@v1`): what counts as critical and who is told is the site's, never the model's."""

    name: str
    steps: list[EscalationStep]


class NotifyStep(Record):
    """Tell the recipient of a step, and write it down: Communication, Task, event `ai.result.escalated` (from step 2)."""

    study_key: str
    thread_id: str
    result_id: str
    policy: str
    step: EscalationStep
    priority: Priority
    due_at: str
    at: str


class StepNotified(Record):
    """Versioned references, as they stand. `written` is False where the result was decided, closed or acknowledged already: nobody was told."""

    communication: str
    """Empty where there is none."""
    task: str
    written: bool = True


class AcknowledgeAct(Record):
    """A human says that the result has reached them; nothing is decided about it yet."""

    act_id: str
    result_id: str
    by: str
    identity: ReviewerIdentity | None = None
    read_back: str | None = None
    """What was read back on the phone, in words of the inbox's own choice list; never chart text."""
    at: str


class RecordAcknowledgement(Record):
    study_key: str
    thread_id: str
    act: AcknowledgeAct
    step: int
    """The step that was answered."""
    available_at: str
    deadline: str
    policy: str


class EscalationExhausted(Record):
    """Nobody acknowledged in any step: Task `failed`, business status `exhausted`, event with `exhausted` true."""

    study_key: str
    thread_id: str
    result_id: str
    policy: str
    step: int
    due_at: str
    at: str


class TaskChanged(Record):
    """`changed` is False where the task is not as was asked: decided, closed or acknowledged already, or more urgent than the order."""

    task: str
    changed: bool = True


class Reprioritise(Record):
    """The order's priority rose: Task and inbox entry of an unread result follow; a lower one changes nothing."""

    study_key: str
    thread_id: str
    result_id: str
    priority: Priority
    at: str


# -- addenda -------------------------------------------------------------------------------------------------------------


class AssessHistory(Record):
    """Do these observations concern the result, by the table of rules?"""

    thread_id: str
    result_id: str
    patient: str
    observations: list[str]


class HistoryAssessed(Record):
    """`relevant` are versioned references that a rule names; `rules` the codes of those rules, in the same order; `table` its version."""

    table: str
    relevant: list[str]
    rules: list[str]


class WriteAddendum(Record):
    """A new result beside the old one: what became known, which finding it concerns, by which rule. The old one stays as it is."""

    study_key: str
    thread_id: str
    result_id: str
    """The result that is added to."""
    workflow_id: str
    event_id: str
    patient: str
    assessed: HistoryAssessed
    priority: Priority
    issued: str


class AddendumWritten(Record):
    """Versioned references; empty, and `written` False, where the result stands no longer and nothing was added to it."""

    addendum_id: str
    report: str
    task: str
    written: bool = True
