"""Light profiles: what our DiagnosticReport, Observation, Task, Communication and Provenance promise beyond R4 (contract 1 to 3).

We do not claim them in `meta.profile`, because strict servers refuse profiles that they do not know; the validator is told to apply them.
"""

from __future__ import annotations

from schemas.code_system import System
from schemas.codes import AIAST, STATUS_REASON, UCUM, Canonical, Json
from schemas.conformance.document_line import NAME as DOCUMENT_LINE
from schemas.conformance.image_region import NAME as IMAGE_REGION
from schemas.conformance.structure import binding, by_pattern, element, local_coding, pattern, rule, structure
from schemas.conformance.terminology import PRESENCE_SET, RESULT_REASONS, TASK_REASONS
from schemas.terms import (
    CHANGE_FROM_PRIOR,
    CHART_RELATION,
    DEADLINE_OUTCOME,
    ESCALATION_STEP,
    FINDING_COMPONENT,
    FINDING_LABEL,
    LIKELIHOOD_BAND,
    RESULT_STATUS_REASON,
    REVIEW_OUTCOME,
    REVIEW_STATUS,
    TASK_CODE,
    TASK_INPUT,
    TASK_OUTPUT,
)

AI_RESULT, AI_FINDING, AI_REVIEW_TASK = "ai-result", "ai-finding", "ai-review-task"
AI_VALUE = "ai-value"
AI_NOTIFICATION, AI_ACT = "ai-notification", "ai-act"
_CODED = [{"code": "CodeableConcept"}]
_LABELLED = rule(
    "longview-label",
    "Labelled as asserted by an AI; the label stays after a review",
    f"meta.security.where(system = '{AIAST['system']}' and code = '{AIAST['code']}').exists()",
)


def profiles(canonical: Canonical) -> list[Json]:
    return [
        _result(canonical),
        _finding(canonical),
        _value(canonical),
        _task(canonical),
        _notification(canonical),
        _act(canonical),
    ]


def _result(canonical: Canonical) -> Json:
    rules = [
        _LABELLED,
        rule(
            "longview-status",
            "The AI's report is never final and never amended",
            "status in ('partial' | 'preliminary' | 'cancelled' | 'entered-in-error')",
        ),
        rule("longview-words", "Its first words say who made it", "conclusion.startsWith('AI-generated')"),
        _identified(canonical, "ai-result"),
        _identified(canonical, "ai-report-thread"),
    ]
    elements = [
        element("DiagnosticReport", constraint=rules),
        *_status_reason("DiagnosticReport", canonical.value_set(RESULT_REASONS)),
        element("DiagnosticReport.identifier", min=2),
        element("DiagnosticReport.category", min=1),
        element("DiagnosticReport.subject", min=1),
        element("DiagnosticReport.issued", min=1),
        element("DiagnosticReport.performer", min=1),
        element("DiagnosticReport.imagingStudy", min=1),
        element("DiagnosticReport.conclusion", min=1),
    ]
    text = (
        "An AI reading of an imaging study: unverified until a clinician has accepted it, and never the legal report."
    )
    return _profile(canonical, AI_RESULT, "DiagnosticReport", "AI result", text, elements)


def _finding(canonical: Canonical) -> Json:
    rules = [
        _LABELLED,
        rule(
            "longview-finding-status",
            "Preliminary until a clinician has decided",
            "status in ('preliminary' | 'final' | 'cancelled' | 'entered-in-error')",
        ),
        _identified(canonical, "ai-finding"),
    ]
    region = [{"code": "Extension", "profile": [canonical.structure(IMAGE_REGION)]}]
    presence = {"strength": "required", "valueSet": canonical.value_set(PRESENCE_SET)}
    elements = [
        element("Observation", constraint=rules),
        *_status_reason("Observation", canonical.value_set(RESULT_STATUS_REASON.name)),
        element("Observation.extension:imageRegion", min=0, max="1", type=region),
        element("Observation.identifier", min=1),
        *local_coding(canonical, "Observation.code", FINDING_LABEL),
        element("Observation.subject", min=1),
        element("Observation.value[x]", min=1, type=_CODED, binding=presence),
        element("Observation.device", min=1),
        element("Observation.derivedFrom", min=1),
        element("Observation.component", slicing=by_pattern("code"), min=2),
        *_answer(canonical, "likelihood", LIKELIHOOD_BAND),
        *_answer(canonical, "change-from-prior", CHANGE_FROM_PRIOR),
        *_answer(canonical, "chart-relation", CHART_RELATION, always=False),
    ]
    text = "One finding of an AI reading: the code is the question, the value its answer. It always says how likely, and what changed."
    return _profile(canonical, AI_FINDING, "Observation", "AI finding", text, elements)


def _value(canonical: Canonical) -> Json:
    rules = [
        _LABELLED,
        rule(
            "longview-value-status",
            "Preliminary until a clinician has decided",
            "status in ('preliminary' | 'final' | 'cancelled' | 'entered-in-error')",
        ),
        _identified(canonical, "ai-finding"),
    ]
    region = [{"code": "Extension", "profile": [canonical.structure(IMAGE_REGION)]}]
    line = [{"code": "Extension", "profile": [canonical.structure(DOCUMENT_LINE)]}]
    elements = [
        element("Observation", constraint=rules),
        *_status_reason("Observation", canonical.value_set(RESULT_STATUS_REASON.name)),
        element("Observation.extension:imageRegion", min=1, max="1", type=region),
        element("Observation.extension:documentLine", min=1, max="1", type=line),
        element("Observation.identifier", min=1),
        element("Observation.code.text", min=1),
        element("Observation.subject", min=1),
        element("Observation.value[x]", min=1, type=[{"code": "Quantity"}]),
        element("Observation.value[x].value", min=1),
        element("Observation.value[x].system", min=1, fixedUri=UCUM),
        element("Observation.value[x].code", min=1),
        element("Observation.device", min=1),
        element("Observation.derivedFrom", min=1),
    ]
    text = (
        "One value that an AI read in a document: it stands verbatim in the cited lines, and its unit is a UCUM code."
    )
    return _profile(canonical, AI_VALUE, "Observation", "AI value", text, elements)


def _answer(canonical: Canonical, code: str, system: System, *, always: bool = True) -> list[Json]:
    """A component with a code of ours as its value."""
    place = f"Observation.component:{code}"
    return [
        element(place, min=int(always), max="1"),
        element(f"{place}.code", **pattern(canonical, FINDING_COMPONENT, code)),
        element(f"{place}.value[x]", min=1, type=_CODED),
        *local_coding(canonical, f"{place}.value[x]", system),
    ]


def _task(canonical: Canonical) -> Json:
    reasons = {"strength": "required", "valueSet": canonical.value_set(TASK_REASONS)}
    deadline = "Task.output:deadline-outcome"
    elements = [
        element("Task", constraint=[_identified(canonical, "ai-review-task")]),
        element("Task.identifier", min=1),
        element("Task.statusReason", binding=reasons),
        element("Task.businessStatus", min=1, binding=binding(canonical, REVIEW_STATUS)),
        element("Task.code", min=1, binding=binding(canonical, TASK_CODE)),
        element("Task.focus", min=1),
        element("Task.for", min=1),
        element("Task.owner", min=1),
        element("Task.input", slicing=by_pattern("type")),
        element("Task.input.type", binding=binding(canonical, TASK_INPUT)),
        *_reason(canonical, "critical-finding", FINDING_LABEL),
        *_reason(canonical, "critical-likelihood", LIKELIHOOD_BAND),
        element("Task.output", slicing=by_pattern("type")),
        element("Task.output.type", binding=binding(canonical, TASK_OUTPUT)),
        element(deadline, min=0, max="1"),
        element(f"{deadline}.type", **pattern(canonical, TASK_OUTPUT, "deadline-outcome")),
        element(f"{deadline}.value[x]", type=[{"code": "code"}], binding=binding(canonical, DEADLINE_OUTCOME)),
    ]
    text = "The review of an AI result: whose it is, where it stands, and whether it was acknowledged in time."
    dated = {"version": "1.1.0", "date": "2026-11-30"}
    return _profile(canonical, AI_REVIEW_TASK, "Task", "AI review task", text, elements) | dated


def _reason(canonical: Canonical, code: str, system: System) -> list[Json]:
    """An input that says, with a code of ours, why the task was raised above its order."""
    place = f"Task.input:{code}"
    return [
        element(place, min=0, max="1"),
        element(f"{place}.type", **pattern(canonical, TASK_INPUT, code)),
        element(f"{place}.value[x]", type=_CODED),
        *local_coding(canonical, f"{place}.value[x]", system),
    ]


def _notification(canonical: Canonical) -> Json:
    elements = [
        element("Communication", constraint=[_identified(canonical, "notification")]),
        element("Communication.identifier", min=1),
        element("Communication.reasonCode", binding=binding(canonical, ESCALATION_STEP)),
    ]
    text = "One message about an AI result, or the answer to one."
    return _profile(canonical, AI_NOTIFICATION, "Communication", "AI notification", text, elements)


def _act(canonical: Canonical) -> Json:
    tagged = rule(
        "longview-act",
        "Tagged with the act, which is done once",
        f"meta.tag.where(system = '{canonical.sid('review-act')}').count() = 1",
    )
    elements = [
        element("Provenance", constraint=[tagged]),
        element("Provenance.reason", binding=binding(canonical, REVIEW_OUTCOME)),
        element("Provenance.activity", min=1),
        element("Provenance.entity", min=1),
    ]
    text = "What a person or the system did to an AI result, and to which versions."
    return _profile(canonical, AI_ACT, "Provenance", "Act on an AI result", text, elements)


def _profile(canonical: Canonical, name: str, base: str, title: str, text: str, elements: list[Json]) -> Json:
    return structure(canonical, name, "resource", base, title, text, elements)


def _identified(canonical: Canonical, sid: str) -> Json:
    system = canonical.sid(sid)
    return rule(
        f"longview-{sid}", f"Exactly one identifier {sid}", f"identifier.where(system = '{system}').count() = 1"
    )


def _status_reason(base: str, value_set: str) -> list[Json]:
    """The extension event-statusReason, with a code of ours."""
    place = f"{base}.extension:statusReason"
    return [
        element(f"{base}.extension", slicing=_BY_URL),
        element(place, min=0, max="1", type=[{"code": "Extension", "profile": [STATUS_REASON]}]),
        element(f"{place}.value[x]", binding={"strength": "required", "valueSet": value_set}),
    ]


_BY_URL = {"discriminator": [{"type": "value", "path": "url"}], "ordered": False, "rules": "open"}
