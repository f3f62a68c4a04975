"""Checks between the model's answer and anything that is written: what fails is dropped and named, what cannot be read at all stops the run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import orjson
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from schemas.errors import PermanentFailure
from schemas.imaging import StoredVolume
from schemas.inference import (
    BOX_SCALE,
    NOT_COMPARED,
    AnsweredFinding,
    FindingsAnswer,
    Location,
    ModelAnswer,
    ModelRequest,
)
from schemas.report import AbstentionReason, DroppedFinding, Finding, ImageRegion
from schemas.volume import Volume
from workflows.reading.conflict import contradicts_itself, exclude_each_other
from workflows.reading.plausible import body_on, implausible
from workflows.series import side_of

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


class _Dropped(Exception):
    """A finding failed a check; the argument names it."""


def read_answer(answer: ModelAnswer, request: ModelRequest) -> FindingsAnswer:
    """The answer as a record; `PermanentFailure` (`model-output-cut`, `model-output-invalid`) if it breaks the schema that was asked for."""
    if answer.finish_reason != "stop":
        raise PermanentFailure("model-output-cut", "the answer ended before it was complete")
    try:
        body = orjson.loads(answer.text)
        parsed = FindingsAnswer.model_validate(body, strict=False)
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise PermanentFailure("model-output-invalid", "the answer is not the JSON that was asked for") from error
    if not Draft202012Validator(request.answer_schema).is_valid(body):
        raise PermanentFailure("model-output-invalid", "the answer breaks the schema that was asked for")
    return parsed


def check_reading(answer: FindingsAnswer, stored: StoredVolume, volume: Volume, *, compared: bool) -> CheckedAnswer:
    """Every check: the volume's own plausibility, each finding, the findings against each other, and how many of them are left."""
    reason = implausible(volume)
    if reason is not None:
        return CheckedAnswer([], [], reason)
    checked = check_findings(answer, stored, volume, compared=compared)
    lost = len(answer.findings) - len(checked.findings)
    if lost > MOST_DROPPED * len(answer.findings):
        return CheckedAnswer([], checked.dropped, "most-answers-dropped")
    return checked


def check_findings(
    answer: FindingsAnswer, stored: StoredVolume, volume: Volume | None = None, *, compared: bool = True
) -> CheckedAnswer:
    """Each finding against itself and the geometry of the current study, then against the others; against the body where `volume` is given."""
    findings: list[Finding] = []
    dropped: list[DroppedFinding] = []
    for label, answered in answer.findings.items():
        try:
            finding = _check_one(label, answered, stored, dropped)
            findings.append(_named_change(_check_body(finding, stored, volume, dropped), compared, dropped))
        except _Dropped as failed:
            dropped.append(DroppedFinding(label=label, code=str(failed)))
    excluded = exclude_each_other(findings)
    dropped += [DroppedFinding(label=f.label, code="label-conflict") for f in findings if f.label in excluded]
    return CheckedAnswer([f for f in findings if f.label not in excluded], dropped)


def _check_one(label: str, answered: AnsweredFinding, volume: StoredVolume, dropped: list[DroppedFinding]) -> Finding:
    conflict = contradicts_itself(answered)
    if conflict is not None:
        raise _Dropped(conflict)
    region = long_axis = None
    if answered.location is not None:
        k, region = region_of(answered.location, volume)
        _check_side(answered, volume, k, region)
        long_axis = float(answered.location.long_axis_mm)
        if long_axis > MEASURE_TOLERANCE * _diagonal_mm(region, volume):
            dropped.append(DroppedFinding(label=label, code="measurement-outside-box"))
            long_axis = None
    return Finding(
        label=label,
        presence=answered.presence,
        likelihood=answered.likelihood,
        side=None if answered.side == "not-applicable" or region is None else answered.side,
        region=region,
        long_axis_mm=long_axis,
        change=answered.change,
    )


def _check_body(
    finding: Finding, stored: StoredVolume, volume: Volume | None, dropped: list[DroppedFinding]
) -> Finding:
    """A box must lie on the body, and a measure cannot be longer than the body is, through the stack included."""
    if volume is None or finding.region is None:
        return finding
    body = body_on(volume, _index_of(finding.region, stored))
    if body is None or not body.holds(finding.region):
        raise _Dropped("box-outside-body")
    if finding.long_axis_mm is not None and finding.long_axis_mm > MEASURE_TOLERANCE * body.diagonal_mm:
        dropped.append(DroppedFinding(label=finding.label, code="measurement-outside-body"))
        return finding.model_copy(update={"long_axis_mm": None})
    return finding


def _named_change(finding: Finding, compared: bool, dropped: list[DroppedFinding]) -> Finding:
    """Without a prior nothing is new, worse or better: the finding stays, its change does not."""
    if compared or finding.change == NOT_COMPARED:
        return finding
    dropped.append(DroppedFinding(label=finding.label, code="change-without-prior"))
    return finding.model_copy(update={"change": NOT_COMPARED})


def _index_of(region: ImageRegion, stored: StoredVolume) -> int:
    places = [(frame.sop_instance_uid, frame.frame) for frame in stored.series.frames]
    return places.index((region.sop_instance_uid, region.frame))


def region_of(location: Location, volume: StoredVolume) -> tuple[int, ImageRegion]:
    """Index in the stack and the box in source pixels of a place that the model named.

    The model sees slices resized as a whole to its own square, without padding or cropping, so thousandths scale back by columns and rows.
    """
    if location.slice > len(volume.model_slices):
        raise _Dropped("slice-outside-stack")
    k = volume.model_slices[location.slice - 1]
    series, frame = volume.series, volume.series.frames[k]
    y0, x0, y1, x1 = location.box_2d
    if not (0 <= x0 < x1 <= BOX_SCALE and 0 <= y0 < y1 <= BOX_SCALE):
        raise _Dropped("box-not-a-box")
    return k, ImageRegion(
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        series_number=series.series_number,
        sop_instance_uid=frame.sop_instance_uid,
        sop_class_uid=frame.sop_class_uid,
        instance_number=frame.instance_number,
        frame=frame.frame,
        columns=series.columns,
        rows=series.rows,
        x0=round(x0 * series.columns / BOX_SCALE, 2),
        y0=round(y0 * series.rows / BOX_SCALE, 2),
        x1=round(x1 * series.columns / BOX_SCALE, 2),
        y1=round(y1 * series.rows / BOX_SCALE, 2),
    )


def _check_side(answered: AnsweredFinding, volume: StoredVolume, k: int, region: ImageRegion) -> None:
    """The side in words must agree with the box: a row that says right over a box in the left lung is worse than none."""
    if answered.side not in ("left", "right"):
        return
    seen = side_of(volume.series, k, (region.y0 + region.y1) / 2, (region.x0 + region.x1) / 2)
    if seen in ("left", "right") and seen != answered.side:
        raise _Dropped("laterality-conflict")


def _diagonal_mm(region: ImageRegion, volume: StoredVolume) -> float:
    return math.hypot(
        (region.x1 - region.x0) * volume.series.column_spacing, (region.y1 - region.y0) * volume.series.row_spacing
    )
