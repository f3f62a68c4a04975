"""Our own codes: every local code that is written to FHIR, with its meaning. `schemas.conformance` publishes them from here.

A code is never removed and never changes its meaning: results written with it stay. Adding or rewording one raises the system's `version`
and `date`, because a server that holds this version already holds other content (`longview fhir publish` says so).
"""

from __future__ import annotations

from typing import Literal

from schemas.code_system import System, Term, terms
from schemas.codes import LABELS, LIKELIHOOD_TEXT
from schemas.inference import Change, LikelihoodBand
from schemas.lifecycle import CloseReason
from schemas.report import ReviewOutcome

MAX_ESCALATION_STEPS = 9
"""The longest escalation policy whose steps have codes."""

# -- findings (contract 1.2) ---------------------------------------------------------------------------------------------

FINDING_LABEL = System(
    "finding-label",
    "Finding label",
    "Questions that are put to the model. A label is a question: only the value of the Observation says what was answered.",
    ("Observation.code", "Task.input:critical-finding.value[x]"),
    "required",
    tuple(
        Term(label.code, label.text, f"Do the images show this: {label.text}? Asked of: {label.site}.")
        for label in LABELS
    ),
    version="1.0.1",
    date="2026-11-30",
)
FINDING_COMPONENT = System(
    "finding-component",
    "Finding component",
    "What a component of a finding says.",
    ("Observation.component.code",),
    "preferred",
    terms(
        [
            ("likelihood", "Likelihood of presence", "How likely the finding is present, as a likelihood band."),
            (
                "change-from-prior",
                "Change from named prior",
                "What became of the finding since the prior study that the Observation names.",
            ),
            (
                "chart-relation",
                "Relation of the history to the finding",
                "What the entries of the chart that the Observation cites say about the finding.",
            ),
            (
                "long-axis-change",
                "Long axis change from named prior",
                "Long axis now minus long axis in the named prior, in millimetres.",
            ),
        ]
    ),
)
_BAND_MEANING: dict[LikelihoodBand, str] = {
    "absent": "The images show that the finding is not there.",
    "improbable": "The finding is more likely absent than present.",
    "possible": "Presence and absence are about equally likely.",
    "probable": "The finding is more likely present than absent.",
    "definite": "The images show that the finding is there.",
}
LIKELIHOOD_BAND = System(
    "likelihood-band",
    "Likelihood band",
    "Ordered bands of how likely a finding is present, from absent to definite. They are words of the model and no calibrated probabilities.",
    ("Observation.component:likelihood.value[x]", "Task.input:critical-likelihood.value[x]"),
    "required",
    tuple(Term(band, LIKELIHOOD_TEXT[band], meaning) for band, meaning in _BAND_MEANING.items()),
    version="1.0.1",
    date="2026-11-30",
)
_CHANGE_MEANING: dict[Change, tuple[str, str]] = {
    "new": ("New", "Present now, not present in the named prior."),
    "worse": ("Worse", "Present in both, larger or more extensive now."),
    "stable": ("Stable", "No change that matters since the named prior."),
    "better": ("Better", "Present in both, smaller or less extensive now."),
    "resolved": ("Resolved", "Present in the named prior, not present now."),
    "indeterminate": ("Indeterminate", "A prior was read, but whether the finding changed cannot be told."),
    "not-compared": ("Not compared", "No prior was read: nothing is said about change."),
}
CHANGE_FROM_PRIOR = System(
    "change-from-prior",
    "Change from prior",
    "What became of a finding since a named prior study. Always written; without a prior it is `not-compared`.",
    ("Observation.component:change-from-prior.value[x]",),
    "required",
    tuple(Term(change, *meaning) for change, meaning in _CHANGE_MEANING.items()),
)
CHART_RELATION = System(
    "chart-relation",
    "Chart relation",
    "What the history says about a finding of the images. It never says whether the finding is there.",
    ("Observation.component:chart-relation.value[x]",),
    "required",
    terms(
        [
            ("supports", "The history supports it", "An entry of the chart makes the finding more plausible."),
            ("contradicts", "The history contradicts it", "An entry of the chart makes the finding less plausible."),
            ("explains", "The history explains it", "An entry of the chart is a reason for what the images show."),
            ("unrelated", "The history says nothing about it", "No entry of the chart concerns the finding."),
        ]
    ),
)
ABSTENTION_REASON = System(
    "abstention-reason",
    "Abstention reason",
    "Why the system gives no reading. Other reasons may follow: read an unknown one as an abstention all the same.",
    ("DiagnosticReport.extension:event-statusReason",),
    "required",
    terms(
        [
            ("volume-empty", "The images show no body", "Nearly every pixel is background."),
            ("volume-constant", "The images are the same value all over", "The images have no contrast at all."),
            (
                "most-answers-dropped",
                "More than half of the model's answers failed the checks",
                "So many answers were dropped that the rest is not believed either.",
            ),
            (
                "no-results-found",
                "No result was found in the document",
                "No line of the document gave a value that passed the checks.",
            ),
            (
                "not-looked-at",
                "What would show the findings was not read",
                "The series that shows them best could not be read, so nothing is denied.",
            ),
        ]
    ),
    version="1.2.0",
    date="2026-11-30",
)

# -- the life of a result (contract 1.5 and 2) -----------------------------------------------------------------------------

_CLOSED: dict[CloseReason, tuple[str, str]] = {
    "superseded-by-final-report": (
        "Superseded by final report",
        "The radiologist's own final report of the study was issued.",
    ),
    "order-cancelled": ("Order cancelled", "The order that the study belongs to was cancelled or discontinued."),
    "patient-unmerged": (
        "Patient un-merged",
        "The patient's records were separated again; a person decides what belongs where.",
    ),
    "result-wrong": ("Result wrong", "A defect of the system made the result wrong."),
}
RESULT_STATUS_REASON = System(
    "status-reason",
    "Status reason",
    "Why a result, a finding or its review task has its status.",
    ("DiagnosticReport.extension:event-statusReason", "Observation.extension:event-statusReason", "Task.statusReason"),
    "required",
    terms(
        [
            ("rejected-by-clinician", "Rejected by clinician", "A clinician looked at the result and rejected it."),
            (
                "amended-by-clinician",
                "Amended by clinician",
                "A clinician replaced this finding by one of their own.",
            ),
            (
                "superseded-by-new-inputs",
                "Superseded by new inputs",
                "Images or history arrived after this reading; a later result takes its place.",
            ),
            *((code, *meaning) for code, meaning in _CLOSED.items()),
            ("nobody-acknowledged", "Nobody acknowledged", "Every step of the escalation policy was taken in vain."),
        ]
    ),
)
REJECT_REASON = System(
    "reject-reason",
    "Reject reason",
    "Why a clinician rejected a result.",
    ("Task.statusReason",),
    "required",
    terms(
        [
            ("false-positive", "The finding is not there", "Something was reported that the images do not show."),
            (
                "missed-finding",
                "A finding was missed",
                "The images show something that was asked for and not reported.",
            ),
            ("wrong-location", "Wrong place or side", "The finding is there, but not where the result says."),
            ("wrong-comparison", "Wrong comparison or change", "The prior or what is said about change is wrong."),
            (
                "wrong-patient-or-study",
                "Wrong patient or study",
                "The result does not belong to this patient or study.",
            ),
            ("image-quality", "Images not good enough to read", "The images do not allow a reading."),
            (
                "untrained-model",
                "Output of an untrained model",
                "The model was not trained: its output is meaningless.",
            ),
            ("other", "Other (say what)", "Another reason, which the text says."),
        ]
    ),
)
_OUTCOMES: dict[ReviewOutcome | Literal["amended"], tuple[str, str]] = {
    "accepted": ("Accepted", "A clinician agrees with every finding."),
    "amended": ("Amended", "A clinician agrees after replacing at least one finding."),
    "rejected": ("Rejected", "A clinician does not agree: the result is withdrawn."),
}
REVIEW_OUTCOME = System(
    "review-outcome",
    "Review outcome",
    "What became of a result: a clinician's decision, or that another report took its place.",
    ("Provenance.reason",),
    "extensible",
    terms(
        [
            *((code, *meaning) for code, meaning in _OUTCOMES.items()),
            ("superseded", "Superseded", "Another report or result took its place."),
            (
                "withdrawn",
                "Withdrawn",
                "The system closed the result, or marked it as wrong; the status reason says why.",
            ),
        ]
    ),
)
LIFECYCLE = System(
    "lifecycle",
    "Lifecycle",
    "Labels of a result that stays as it is although something happened after its review.",
    ("DiagnosticReport.meta.tag",),
    "required",
    terms([("superseded", "Superseded", "Reviewed, and followed by the radiologist's final report.")]),
)

# -- inbox and communication (contract 3) ----------------------------------------------------------------------------------

_STEPS = range(1, MAX_ESCALATION_STEPS + 1)


def escalated(step: int) -> str:
    """The review status of an escalation's step; steps count from 1."""
    return f"escalated-{step}"


def escalation_level(step: int, suffix: Literal["", "-ack", "-exhausted"] = "") -> str:
    """The reason code of a step's Communication, of the answer to it, or of the record that nobody answered it and no step is left."""
    return f"L{step}{suffix}"


REVIEW_STATUS = System(
    "review-status",
    "Review status",
    "Where a result stands in the inbox.",
    ("Task.businessStatus",),
    "required",
    terms(
        [
            ("unread", "Unread", "Nobody has opened the result."),
            ("read", "Read", "Somebody has opened the result; nothing is decided."),
            *((code, *meaning) for code, meaning in _OUTCOMES.items()),
            *(
                (
                    escalated(n),
                    f"Escalated, step {n}",
                    f"Step {n} of the escalation policy was taken; an answer is awaited.",
                )
                for n in _STEPS
            ),
            ("superseded", "Superseded", "Another report or result took its place before anyone decided."),
            (
                "withdrawn",
                "Withdrawn",
                "The system closed the result before anyone decided; the status reason says why.",
            ),
            ("exhausted", "Escalation exhausted", "Every step of the escalation policy was taken and nobody answered."),
            ("attended", "Attended", "Somebody has looked at a study that the AI could not read."),
        ]
    ),
    version="1.1.0",
    date="2026-11-30",
)
TASK_CODE = System(
    "task-code",
    "Task code",
    "What is to be done.",
    ("Task.code",),
    "required",
    terms(
        [
            ("review-ai-result", "Review AI result", "A clinician is to accept, amend or reject an AI result."),
            (
                "read-unread-study",
                "Read unread study",
                "The AI could not read the study: a clinician is to look at it.",
            ),
        ]
    ),
    version="1.1.0",
    date="2026-11-30",
)
TASK_INPUT = System(
    "task-input",
    "Task input",
    "What a review task is given.",
    ("Task.input.type",),
    "required",
    terms(
        [
            ("escalation-policy", "Escalation policy", "Name and version of the escalation policy in force."),
            (
                "order-priority",
                "Priority of the order",
                "What the order asks for, where a critical finding has raised the review above it.",
            ),
            (
                "critical-priority",
                "Priority of the critical finding",
                "What the site's critical list asks for because of the finding; it counts while the order asks for less.",
            ),
            (
                "critical-finding",
                "Critical finding",
                "The AI's finding, unverified, for which the critical list has raised the review.",
            ),
            ("critical-likelihood", "Likelihood of the critical finding", "As the AI has worded it, as a band."),
            ("critical-list", "Critical list", "Name and version of the site's critical list that was applied."),
        ]
    ),
    version="1.1.0",
    date="2026-11-30",
)
TASK_OUTPUT = System(
    "task-output",
    "Task output",
    "What a review task has brought about.",
    ("Task.output.type",),
    "required",
    terms(
        [
            ("communication", "Communication", "A message that was sent about the result, or the answer to one."),
            ("deadline-outcome", "Deadline outcome", "Whether the result was acknowledged in time: met or missed."),
            (
                "minutes-available-to-acknowledged",
                "Minutes from available to acknowledged",
                "Minutes between the result's issue and its acknowledgement.",
            ),
        ]
    ),
)
DEADLINE_OUTCOME = System(
    "deadline-outcome",
    "Deadline outcome",
    "Whether a result was acknowledged in time. Written as a plain code, without its system.",
    ("Task.output:deadline-outcome.value[x]",),
    "required",
    terms(
        [
            ("met", "Met", "Acknowledged before the deadline."),
            ("missed", "Missed", "Not acknowledged before the deadline."),
        ]
    ),
)
ESCALATION_STEP = System(
    "escalation-step",
    "Escalation step",
    "Why a message is sent: the step of the escalation policy that it belongs to, or a recall.",
    ("Communication.reasonCode",),
    "extensible",
    terms(
        [
            *((escalation_level(n), f"Level {n}", f"Message of step {n}.") for n in _STEPS),
            *((escalation_level(n, "-ack"), f"Level {n}, acknowledged", f"Answer to step {n}.") for n in _STEPS),
            *(
                (escalation_level(n, "-exhausted"), f"Level {n}, exhausted", f"Nobody answered step {n}, the last one.")
                for n in _STEPS
            ),
            ("recall", "Recall", "Tells whoever reviewed a result that it was wrong."),
        ]
    ),
)

SYSTEMS: tuple[System, ...] = (
    FINDING_LABEL,
    FINDING_COMPONENT,
    LIKELIHOOD_BAND,
    CHANGE_FROM_PRIOR,
    CHART_RELATION,
    ABSTENTION_REASON,
    RESULT_STATUS_REASON,
    REJECT_REASON,
    REVIEW_OUTCOME,
    LIFECYCLE,
    REVIEW_STATUS,
    TASK_CODE,
    TASK_INPUT,
    TASK_OUTPUT,
    DEADLINE_OUTCOME,
    ESCALATION_STEP,
)
