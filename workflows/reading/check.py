"""Checks between the model's answer and anything that is written: what fails is dropped and named, what cannot be read at all stops the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jsonschema_rs
import orjson
from pydantic import ValidationError

from schemas.errors import PermanentFailure
from schemas.inference import NOT_COMPARED, AnsweredFinding, FindingsAnswer, ModelAnswer, ModelRequest
from schemas.outcomes import Unanswered
from schemas.report import AbstentionReason, DroppedFinding, Finding
from workflows.reading.conflict import contradicts_itself, exclude_each_other
from workflows.reading.places import Dropped, Place, Places

MEASURE_TOLERANCE = 1.1
"""A long axis may exceed its box's diagonal by a tenth: the box is rounded to thousandths and to the model's own grid."""
MOST_DROPPED = 0.5
"""If more than this share of the answers fails a check, the rest is not believed either: the reading abstains."""


@dataclass(frozen=True)
class CheckedAnswer:
    """Findings that passed, what was dropped with the name of the check, and why the whole reading abstains if it does."""

    findings: list[Finding]
    dropped: list[DroppedFinding]
    abstained: AbstentionReason | None = None


def read_answer(answer: ModelAnswer, request: ModelRequest) -> FindingsAnswer:
    """The answer as a record; `PermanentFailure` (`model-output-cut`, `model-output-invalid`) if it breaks the schema that was asked for."""
    if answer.finish_reason != "stop":
        raise PermanentFailure("model-output-cut", "the answer ended before it was complete")
    try:
        body = orjson.loads(answer.text)
        parsed = FindingsAnswer.model_validate(body, strict=False)
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise PermanentFailure("model-output-invalid", "the answer is not the JSON that was asked for") from error
    if not jsonschema_rs.Draft202012Validator(request.answer_schema).is_valid(body):
        raise PermanentFailure("model-output-invalid", "the answer breaks the schema that was asked for")
    return parsed


def check_reading(answer: FindingsAnswer, places: Places, *, compared: bool) -> CheckedAnswer:
    """Every check: whether the stacks are plausible at all, each finding, the findings against each other, and how many of them are left."""
    reason = places.implausible()
    if reason is not None:
        return CheckedAnswer([], [], reason)
    checked = check_findings(answer, places, compared=compared)
    lost = len(answer.findings) - len(checked.findings)
    if lost > MOST_DROPPED * len(answer.findings):
        return CheckedAnswer([], checked.dropped, "most-answers-dropped")
    return checked


def without_denials(checked: CheckedAnswer, unanswered: Sequence[Unanswered]) -> CheckedAnswer:
    """Nothing is "not detected" that was not looked at: such an answer is dropped under the name of what was not."""
    findings: list[Finding] = []
    dropped = list(checked.dropped)
    for finding in checked.findings:
        why = next((each for each in unanswered if each.concerns(finding.label)), None)
        if why is None or finding.presence != "not-detected":
            findings.append(finding)
        else:
            dropped.append(DroppedFinding(label=finding.label, code=why.code))
    nothing_left = bool(checked.findings) and not findings
    return CheckedAnswer(findings, dropped, "not-looked-at" if nothing_left else checked.abstained)


def check_findings(answer: FindingsAnswer, places: Places, *, compared: bool = True) -> CheckedAnswer:
    """Each finding against itself and the geometry of the current study, then against the others."""
    findings: list[Finding] = []
    dropped: list[DroppedFinding] = []
    for label, answered in answer.findings.items():
        try:
            finding = _check_one(label, answered, places, dropped)
        except Dropped as failed:
            dropped.append(DroppedFinding(label=label, code=str(failed)))
        else:
            findings.append(_named_change(finding, compared, dropped))
    excluded = exclude_each_other(findings)
    dropped += [DroppedFinding(label=f.label, code="label-conflict") for f in findings if f.label in excluded]
    return CheckedAnswer([f for f in findings if f.label not in excluded], dropped)


def _check_one(label: str, answered: AnsweredFinding, places: Places, dropped: list[DroppedFinding]) -> Finding:
    conflict = contradicts_itself(answered)
    if conflict is not None:
        raise Dropped(conflict)
    place = long_axis = None
    if answered.location is not None:
        place = places.place(answered.location)
        _check_side(answered, places, place)
        long_axis, code = _measured(answered.location.long_axis_mm, places, place)
        if code is not None:
            dropped.append(DroppedFinding(label=label, code=code))
    return Finding(
        label=label,
        presence=answered.presence,
        likelihood=answered.likelihood,
        side=None if answered.side == "not-applicable" or place is None else answered.side,
        region=place.region if place else None,
        long_axis_mm=long_axis,
        projected=place is not None and place.projected and long_axis is not None,
        change=answered.change,
    )


def _check_side(answered: AnsweredFinding, places: Places, place: Place) -> None:
    """The side in words must agree with the box: a row that says right over a box in the left lung is worse than none."""
    if answered.side not in ("left", "right"):
        return
    seen = places.side(place)
    if seen in ("left", "right") and seen != answered.side:
        raise Dropped("laterality-conflict")


def _measured(long_axis: int | None, places: Places, place: Place) -> tuple[float | None, str | None]:
    """The measure, or the name of the check that it fails: it fits its box, and is no longer than the body is, through the stack included."""
    if long_axis is None:
        return None, None
    body, diagonal = places.body_mm(place), places.diagonal_mm(place)
    if diagonal is None:
        return None, "measurement-without-scale"
    if long_axis > MEASURE_TOLERANCE * diagonal:
        return None, "measurement-outside-box"
    if body is not None and long_axis > MEASURE_TOLERANCE * body:
        return None, "measurement-outside-body"
    return float(long_axis), None


def _named_change(finding: Finding, compared: bool, dropped: list[DroppedFinding]) -> Finding:
    """Without a prior nothing is new, worse or better: the finding stays, its change does not."""
    if compared or finding.change == NOT_COMPARED:
        return finding
    dropped.append(DroppedFinding(label=finding.label, code="change-without-prior"))
    return finding.model_copy(update={"change": NOT_COMPARED})
