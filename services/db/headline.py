"""The one line by which the inbox's list tells what a result says."""

from __future__ import annotations

from schemas.codes import LABEL_BY_CODE
from schemas.documents import LabValue
from schemas.report import Finding, Reading
from schemas.terms import ABSTENTION_REASON

MOST_TOLD = 4
"""Values of a document that the list's line names."""


def abstained(reading: Reading) -> str:
    """The line of a reading that says nothing, and why; empty for any other."""
    why = ABSTENTION_REASON.display(reading.abstained) if reading.abstained else ""
    return f"The AI abstained: {why[0].lower()}{why[1:]}" if why else ""


def outside(reading: Reading) -> list[LabValue]:
    """Values that lie outside the document's own range, or that it flags."""
    return [value for value in reading.values if value.interpretation in ("low", "high", "abnormal")]


def values_headline(reading: Reading) -> str:
    """The line of a document: what lies outside its range, then how many values there are, and how many lines gave none."""
    if reading.kind != "values":
        return ""
    told = [f"{v.name} {' '.join(filter(None, [v.value, v.unit]))} ({v.interpretation})" for v in outside(reading)]
    count = f"{len(reading.values)} values read from the document"
    missed = f"{len(reading.unreported)} lines not reported" if reading.unreported else ""
    return ". ".join(filter(None, ["; ".join(told[:MOST_TOLD]), ", ".join(filter(None, [count, missed]))]))


def headline(findings: list[Finding]) -> str:
    """One line for the list: what was detected, with side and size; never a bare label for something that is not there."""
    detected = [_phrase(finding) for finding in findings if finding.presence == "detected"]
    open_questions = [_label(finding) for finding in findings if finding.presence == "indeterminate"]
    lines = ["; ".join(detected)] if detected else []
    if open_questions:
        lines.append(f"Indeterminate: {', '.join(open_questions)}")
    if lines:
        return ". ".join(lines)
    return "None of the findings asked for was detected" if findings else "No finding passed the checks"


def _phrase(finding: Finding) -> str:
    parts = [_label(finding)]
    if finding.side in ("left", "right", "midline", "bilateral"):
        parts.append(str(finding.side))
    if finding.long_axis_mm is not None:
        parts.append(f"{finding.long_axis_mm:g} mm")
    if finding.change not in ("not-compared", "indeterminate"):
        parts.append(finding.change)
    return ", ".join(parts)


def _label(finding: Finding) -> str:
    known = LABEL_BY_CODE.get(finding.label)
    return known.text if known else finding.label
