"""The sentences of a result. All words are ours: nothing that a chart or the model wrote is repeated; of the tags the series' descriptions, quoted.

The first words are always that an AI said it and nobody has verified it; they survive clients that drop labels.
"""

from __future__ import annotations

from html import escape

from schemas.caution import Caution
from schemas.codes import LABEL_BY_CODE, LIKELIHOOD_TEXT
from schemas.documents import LabValue
from schemas.inference import NOT_COMPARED
from schemas.report import DroppedFinding, Finding, HistoryWeighed, Reading
from schemas.terms import ABSTENTION_REASON, CHART_RELATION
from workflows.report.context import ResultContext
from workflows.report.series_text import series_sentences
from workflows.timeline.completeness import incomplete_sentence

MOST_LINES_NAMED = 12
BANNER = "AI-generated, not verified."
UNTRAINED = "Untrained model: this output is meaningless and shows only that the system works."
_PRESENCE = {"detected": "detected", "not-detected": "not detected", "indeterminate": "indeterminate"}
_DROPPED = {
    "box-not-a-box": "its box is not a box",
    "box-outside-image": "its box lies outside the image",
    "series-outside-study": "it names a series or image that the study does not have",
    "slice-outside-stack": "its slice does not exist",
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
    "stand-in": "the series that shows it best could not be read, and the one read in its place does not reach as far",
    "series-refused": "images of the study that may show it could not be read",
    "kernel-sharp": "the series was reconstructed for bone or lung, which hides it",
    "contrast-not-read": "the sequence that shows it best was not read",
    "region-not-read": "the images that were read show another region",
    "side-not-read": "the images that were read show the other side",
    "citation-unknown": "it cites an entry that it was not given (citation dropped, finding kept)",
    "value-not-in-line": "its value does not stand in the cited line",
    "value-previous": "its value is an earlier one that is printed beside the result",
    "value-ambiguous": "its number can be read in two ways, or the line holds several",
    "value-not-number": "its value is no number",
    "value-conflict": "the document gives two values that no time tells apart",
    "name-not-in-line": "its name does not stand in the cited line",
    "unit-missing": "its line names no unit",
    "unit-not-in-line": "its unit does not stand in the cited line",
    "unit-not-of-value": "its unit is that of another number",
    "unit-unknown": "its unit is none that is known",
    "unit-ambiguous": "its unit can be read as two",
    "flag-conflict": "its value, range and flag contradict each other",
    "text-uncertain": "the text was not read surely enough",
    "text-instructs": "its line reads like an instruction",
    "line-unknown": "it cites a line that the document does not have",
    "range-not-in-line": "its range does not stand in the line (range dropped, value kept)",
    "range-ambiguous": "its range can be read in two ways (range dropped, value kept)",
    "flag-not-in-line": "its flag does not stand in the line (flag dropped, value kept)",
    "time-not-in-line": "its time does not stand in the document (time dropped, value kept)",
    "time-ambiguous": "its date can be read in two ways (time dropped, value kept)",
    "relation-uncited": "it relates the history to the finding without citing it (relation dropped, finding kept)",
}
_NOT_COMPARED = {
    "no-prior": "there is none that could be compared",
    "prior-region-unknown": "nothing tells that the earlier studies show the same region",
    "model-one-study": "the model takes one study at a time",
    "prior-patient-mismatch": "the archive has the earlier study under another patient",
    "prior-study-not-found": "the archive no longer has the earlier study",
}
_NOT_WEIGHED = {
    "no-findings": "there is no finding to weigh it against",
    "no-history": "FHIR holds none that could be weighed",
    "history-withheld": "all of it reads like instructions",
    "history-no-room": "the model that weighs it has no room for any of it",
    "model-cannot": "the model that should weigh it takes no text",
    "model-context": "findings and history are more than the model that weighs it holds",
    "model-output-invalid": "the model's answer about it was not valid",
    "model-output-cut": "the model's answer about it was cut",
    "model-refused": "the model refused it",
    "model-unavailable": "the model was away",
    "model-release": "the model's release could not be read",
}
CAUTION_ROUTES = {
    "chart": "Chart text contains instructions: treat the history with care.",
    "dicom": "DICOM tags contain instructions: treat what they say with care.",
    "pixels": "Text is burnt into the images: treat the answers with care.",
    "document": "The document holds instructions or hidden text, or does not name the patient: treat its values with care.",
}
NOT_NAMED = "The document names neither the patient nor an identifier of theirs: check whose it is."
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


def value_sentence(value: LabValue) -> str:
    """One value as it is written, and where."""
    told = f"{value.value} {value.unit}" if value.unit else value.value
    parts = [f"{value.name}: {told}"]
    if value.interpretation:
        parts.append(value.interpretation)
    if value.range:
        parts.append(f"reference {value.range.text}")
    if value.collected:
        parts.append(f"collected {value.collected.replace('T', ' ')}")
    return f"{', '.join(parts)}, {line_name(value.label)}."


def line_name(label: str) -> str:
    """`P1L12` -> `page 1 line 12`."""
    page, _, line = label.removeprefix("P").partition("L")
    return f"page {page} line {line}"


def unreported_sentences(reading: Reading) -> list[str]:
    """A list of values is not to be thought complete where lines that look like results gave none."""
    if not reading.unreported:
        return []
    shown = ", ".join(map(line_name, reading.unreported[:MOST_LINES_NAMED]))
    more = len(reading.unreported) - MOST_LINES_NAMED
    rest = f" and {more} more" if more > 0 else ""
    return [f"Lines that look like results and are not reported: {len(reading.unreported)} ({shown}{rest})."]


def name_of(label: str) -> str:
    """What is asked: a finding, or a line of a document."""
    return LABEL_BY_CODE[label].text if label in LABEL_BY_CODE else line_name(label)


def dropped_sentence(dropped: DroppedFinding) -> str:
    label = name_of(dropped.label)
    return f"Dropped by a check: {label}, because {why_dropped(dropped.code)}."


def why_dropped(code: str) -> str:
    return _DROPPED.get(code, code)


def comparison_sentence(context: ResultContext) -> str:
    if context.prior is not None:
        return f"Compared with the study of {(context.prior.started or 'unknown date')[:10]}."
    return f"Not compared with a prior study: {not_compared(context.reading.not_compared_reason)}."


def not_compared(reason: str | None) -> str:
    """Why nothing was compared, in words; a prior that could not be read is one for people to look at."""
    return _NOT_COMPARED.get(reason or "no-prior", "the prior study could not be read, look at it yourself")


def abstention_sentence(reading: Reading) -> str:
    why = (
        ABSTENTION_REASON.display(reading.abstained)
        if reading.abstained
        else "No answer of the model passed the checks"
    )
    about = "value" if reading.kind == "values" else "finding"
    return f"The system abstained: {why[0].lower()}{why[1:]}. Nothing is said about any {about}."


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
    return [*lines, *filter(None, [history.left_out, incomplete_sentence(history.incomplete)])]


def caution_sentences(reading: Reading) -> list[str]:
    """What a reader must know about text that came with the study: where it stands by kind, never what it says."""
    lines = list(dict.fromkeys(_caution_sentence(caution) for caution in reading.cautions))
    if lines and lines != [NOT_NAMED]:
        lines.append("It was not followed and changes nothing in this result.")
    search = reading.text_search
    if search is not None and search.read < search.suspicious:
        lines.append(
            f"Slices with marks like letters: {search.suspicious} of {search.slices}; only {search.read} of them were searched for text."
        )
    return lines


def _caution_sentence(caution: Caution) -> str:
    if caution.code == "patient-not-named":
        return NOT_NAMED
    if caution.route == "pixels" and caution.code not in ("burnt-in-text", "letter-like-marks"):
        return BURNT_INSTRUCTION
    if caution.code == "burnt-in-annotation":
        return DECLARED_BURNT
    return CAUTION_ROUTES[caution.route]


def sentences(context: ResultContext) -> list[str]:
    """Cautions; findings, or that the system abstained; then what was dropped, what was compared and what was weighed."""
    reading = context.reading
    lines = [*map(finding_sentence, reading.findings), *map(value_sentence, reading.values)]
    if not lines:
        lines = [abstention_sentence(reading)]
    dropped = map(dropped_sentence, reading.dropped)
    if reading.kind == "values":
        told = [*lines, *unreported_sentences(reading), *dropped, *series_sentences(reading.series)]
        return [*caution_sentences(reading), *told]
    told = [*lines, *dropped, *series_sentences(reading.series), comparison_sentence(context)]
    told += history_sentences(reading.history)
    return [*caution_sentences(reading), *told]


def conclusion(context: ResultContext) -> str:
    return " ".join([warnings(context), *sentences(context)])


def plain_text(context: ResultContext) -> bytes:
    """The presented form: the same words, one a line."""
    head = ["AI-GENERATED RESULT - NOT VERIFIED BY A CLINICIAN"]
    if not context.model.trained:
        head.append(UNTRAINED.upper())
    head.append(f"{context.series.modality}, release {context.release}")
    title = "VALUES" if context.reading.kind == "values" else "FINDINGS"
    return ("\n".join([*head, title, *sentences(context)]) + "\n").encode()


def narrative(text: str) -> dict[str, str]:
    """A generated Narrative; the text is escaped, never trusted."""
    return {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{escape(text, quote=False)}</div>',
    }


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)
