"""The sentences of a result. All words are ours: nothing that a chart, a tag or the model wrote is repeated.

The first words are always that an AI said it and nobody has verified it; they survive clients that drop labels.
"""

from __future__ import annotations

from html import escape

from schemas.codes import LABEL_BY_CODE, LIKELIHOOD_TEXT
from schemas.inference import NOT_COMPARED
from schemas.report import DroppedFinding, Finding
from workflows.report.context import ResultContext

BANNER = "AI-generated, not verified."
UNTRAINED = "Untrained model: this output is meaningless and shows only that the system works."
_PRESENCE = {"detected": "detected", "not-detected": "not detected", "indeterminate": "indeterminate"}
_DROPPED = {
    "box-not-a-box": "its box is not a box",
    "slice-outside-stack": "its slice does not exist",
    "laterality-conflict": "its side contradicts its box",
    "measurement-outside-box": "its measure does not fit its box (measure dropped, finding kept)",
}


def warnings(context: ResultContext) -> str:
    return BANNER if context.model.trained else f"{BANNER} {UNTRAINED}"


def finding_sentence(finding: Finding) -> str:
    """One finding in words."""
    label = LABEL_BY_CODE[finding.label].text
    parts = [f"{label}: {_PRESENCE[finding.presence]} ({LIKELIHOOD_TEXT[finding.likelihood].lower()})"]
    if finding.side:
        parts.append(finding.side)
    if finding.long_axis_mm is not None:
        parts.append(f"long axis {finding.long_axis_mm:g} mm")
    if finding.region is not None:
        region = finding.region
        parts.append(f"series {_or_dash(region.series_number)} image {_or_dash(region.instance_number)}")
    if finding.change != NOT_COMPARED:
        parts.append(f"change from prior: {finding.change}")
    return ", ".join(parts) + "."


def dropped_sentence(dropped: DroppedFinding) -> str:
    label = LABEL_BY_CODE[dropped.label].text
    return f"Dropped by a check: {label}, because {_DROPPED.get(dropped.code, dropped.code)}."


def comparison_sentence(context: ResultContext) -> str:
    if context.prior is not None:
        return f"Compared with the study of {(context.prior.started or 'unknown date')[:10]}."
    return f"Not compared with a prior study ({context.reading.not_compared_reason or 'no-prior'})."


def sentences(context: ResultContext) -> list[str]:
    """Findings, or that the system abstained; then what was dropped and what was compared."""
    reading = context.reading
    lines = [finding_sentence(finding) for finding in reading.findings]
    if not lines:
        lines = ["The system abstained: no answer of the model passed the checks."]
    return [*lines, *map(dropped_sentence, reading.dropped), comparison_sentence(context)]


def conclusion(context: ResultContext) -> str:
    return " ".join([warnings(context), *sentences(context)])


def plain_text(context: ResultContext) -> bytes:
    """The presented form: the same words, one a line."""
    head = ["AI-GENERATED RESULT - NOT VERIFIED BY A CLINICIAN"]
    if not context.model.trained:
        head.append(UNTRAINED.upper())
    head.append(f"{context.series.modality}, release {context.release}")
    return ("\n".join([*head, "FINDINGS", *sentences(context)]) + "\n").encode()


def narrative(text: str) -> dict[str, str]:
    """A generated Narrative; the text is escaped, never trusted."""
    return {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{escape(text, quote=False)}</div>',
    }


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)
