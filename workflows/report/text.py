"""The sentences of a result. All words are ours: nothing that a chart, a tag or the model wrote is repeated.

The first words are always that an AI said it and nobody has verified it; they survive clients that drop labels.
"""

from __future__ import annotations

from html import escape

from schemas.caution import Caution
from schemas.codes import LABEL_BY_CODE, LIKELIHOOD_TEXT
from schemas.inference import NOT_COMPARED
from schemas.report import DroppedFinding, Finding, HistoryWeighed, Reading
from schemas.terms import ABSTENTION_REASON, CHART_RELATION
from workflows.report.context import ResultContext

BANNER = "AI-generated, not verified."
UNTRAINED = "Untrained model: this output is meaningless and shows only that the system works."
_PRESENCE = {"detected": "detected", "not-detected": "not detected", "indeterminate": "indeterminate"}
_DROPPED = {
    "box-not-a-box": "its box is not a box",
    "box-outside-image": "its box lies outside the image",
    "series-outside-study": "it names a series or image that the study does not have",
    "slice-outside-stack": "its slice does not exist",
    "box-outside-image": "its box lies outside the image",
    "laterality-conflict": "its side contradicts its box",
    "measurement-outside-box": "its measure does not fit its box (measure dropped, finding kept)",
    "measurement-outside-body": "its measure is longer than the body (measure dropped, finding kept)",
    "measurement-without-scale": "nothing tells how large a pixel is (measure dropped, finding kept)",
    "box-outside-body": "its box lies outside the body",
    "likelihood-conflict": "its likelihood contradicts its answer",
    "change-conflict": "its change contradicts its answer",
    "location-conflict": "its place contradicts its answer",
    "label-conflict": "another finding claims the same place and excludes it",
    "change-without-prior": "it claims a change although no prior was read (change dropped, finding kept)",
    "citation-unknown": "it cites an entry that it was not given (citation dropped, finding kept)",
    "relation-uncited": "it relates the history to the finding without citing it (relation dropped, finding kept)",
}
_NOT_WEIGHED = {
    "no-findings": "there is no finding to weigh it against",
    "no-history": "FHIR holds none that could be weighed",
    "history-withheld": "all of it reads like instructions",
    "model-output-invalid": "the model's answer about it was not valid",
    "model-output-cut": "the model's answer about it was cut",
    "model-refused": "the model refused it",
    "model-unavailable": "the model was away",
}
CAUTION_ROUTES = {
    "chart": "Chart text contains instructions: treat the history with care.",
    "dicom": "DICOM tags contain instructions: treat what they say with care.",
    "pixels": "Text is burnt into the images: treat the answers with care.",
}
BURNT_INSTRUCTION = "Text burnt into the images contains instructions: treat the answers with care."
DECLARED_BURNT = "The images are declared to have text burnt in: treat the answers with care."


def warnings(context: ResultContext) -> str:
    return BANNER if context.model.trained else f"{BANNER} {UNTRAINED}"


def finding_sentence(finding: Finding) -> str:
    """One finding in words."""
    label = LABEL_BY_CODE[finding.label].text
    parts = [f"{label}: {_PRESENCE[finding.presence]} ({LIKELIHOOD_TEXT[finding.likelihood].lower()})"]
    if finding.side:
        parts.append(finding.side)
    if finding.long_axis_mm is not None:
        where = " at the detector (magnified)" if finding.projected else ""
        parts.append(f"long axis {finding.long_axis_mm:g} mm{where}")
    if finding.region is not None:
        region = finding.region
        parts.append(f"series {_or_dash(region.series_number)} image {_or_dash(region.instance_number)}")
        if region.frame is None:
            parts.append(f"from column {region.x0:.0f}, row {region.y0:.0f} of the total pixel matrix")
    if finding.change != NOT_COMPARED:
        parts.append(f"change from prior: {finding.change}")
    if finding.chart is not None:
        cited = f" (entries cited: {len(finding.cites)})" if finding.cites else ""
        parts.append(f"{CHART_RELATION.display(finding.chart).lower()}{cited}")
    return ", ".join(parts) + "."


def dropped_sentence(dropped: DroppedFinding) -> str:
    label = LABEL_BY_CODE[dropped.label].text
    return f"Dropped by a check: {label}, because {_DROPPED.get(dropped.code, dropped.code)}."


def comparison_sentence(context: ResultContext) -> str:
    if context.prior is not None:
        return f"Compared with the study of {(context.prior.started or 'unknown date')[:10]}."
    return f"Not compared with a prior study ({context.reading.not_compared_reason or 'no-prior'})."


def abstention_sentence(reading: Reading) -> str:
    why = (
        ABSTENTION_REASON.display(reading.abstained)
        if reading.abstained
        else "No answer of the model passed the checks"
    )
    return f"The system abstained: {why[0].lower()}{why[1:]}. Nothing is said about any finding."


def history_sentences(history: HistoryWeighed | None) -> list[str]:
    """Whether the history was weighed, and what of it the model was not given."""
    if history is None:
        return []
    reason = history.reason or ""
    lines = [
        f"The history was weighed after the images were read ({len(history.given)} entries)."
        if history.weighed
        else f"The history was not weighed: {_NOT_WEIGHED.get(reason, reason)}."
    ]
    if history.withheld:
        lines.append(
            f"Entries of the history kept from the model because they read like instructions: {history.withheld}."
        )
    return [*lines, *filter(None, [history.left_out])]


def caution_sentences(reading: Reading) -> list[str]:
    """What a reader must know about text that came with the study: where it stands by kind, never what it says."""
    lines = list(dict.fromkeys(_caution_sentence(caution) for caution in reading.cautions))
    if lines:
        lines.append("It was not followed and changes nothing in this result.")
    search = reading.text_search
    if search is not None and search.read < search.suspicious:
        lines.append(
            f"Slices with marks like letters: {search.suspicious} of {search.slices}; only {search.read} of them were searched for text."
        )
    return lines


def _caution_sentence(caution: Caution) -> str:
    if caution.route == "pixels" and caution.code not in ("burnt-in-text", "letter-like-marks"):
        return BURNT_INSTRUCTION
    if caution.code == "burnt-in-annotation":
        return DECLARED_BURNT
    return CAUTION_ROUTES[caution.route]


def sentences(context: ResultContext) -> list[str]:
    """Cautions; findings, or that the system abstained; then what was dropped, what was compared and what was weighed."""
    reading = context.reading
    lines = [finding_sentence(finding) for finding in reading.findings]
    if not lines:
        lines = [abstention_sentence(reading)]
    dropped = map(dropped_sentence, reading.dropped)
    told = [*lines, *dropped, comparison_sentence(context), *history_sentences(reading.history)]
    return [*caution_sentences(reading), *told]


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
