"""What the pages show, in words: dates, ages, due times, labels. Pure; escaping is the templates' business."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import get_args
from urllib.parse import urlencode

from schemas.caution import Caution
from schemas.codes import LABEL_BY_CODE
from schemas.documents import LabValue
from schemas.imaging import MODALITIES_READ
from schemas.report import DroppedFinding, EvidenceImage, Finding, Priority, Reading
from schemas.terms import CHART_RELATION
from schemas.timeline import TimelineEntry
from services.db import Entry, EntryRow, Filter, Listing
from services.db.reading import SHOWN, Shown
from services.inbox.raised import raised_of
from services.inbox.schemas import REASONS
from services.inbox.series import SeriesLine, series_line
from workflows.report.text import (
    CAUTION_ROUTES,
    abstention_sentence,
    caution_sentences,
    history_sentences,
    line_name,
    name_of,
    not_compared,
    unreported_sentences,
    value_sentence,
    why_dropped,
)
from workflows.timeline.dates import age_at
from workflows.timeline.line import part_words, shown

PAGE = 50
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
TAB_NAMES: dict[Shown, str] = {"open": "To review", "reviewed": "Reviewed", "superseded": "Superseded", "all": "All"}
STATUS_NAMES = {
    "unread": "Unread",
    "opened": "Opened",
    "accepted": "Accepted",
    "amended": "Amended",
    "rejected": "Rejected",
    "attended": "Looked at",
    "superseded": "Superseded",
    "withdrawn": "Withdrawn",
}
PRESENCE_NAMES = {"detected": "Detected", "not-detected": "Not detected", "indeterminate": "Indeterminate"}
CLOSED_NAMES = {
    "superseded-by-final-report": "the radiologist's final report has been issued.",
    "order-cancelled": "the order was cancelled.",
    "patient-unmerged": "patient records were separated after this reading, which used both.",
    "result-wrong": "a defect of the system made it wrong. Do not rely on it.",
}


@dataclass(frozen=True)
class Tab:
    """One choice of the list, as a link."""

    name: str
    href: str
    current: bool
    count: int | None


@dataclass(frozen=True)
class Line:
    """One line of the list."""

    row: EntryRow
    status: str
    person: str
    study: str
    due: str
    due_state: str
    issued: str
    issued_iso: str
    due_iso: str
    escalation: str
    """Who has been told, or has answered, so far."""
    cautions: list[str]
    raised: str
    """Why it stands above its order."""


@dataclass(frozen=True)
class Cited:
    """An entry of the history that a finding cites."""

    when: str
    kind: str
    text: str


@dataclass(frozen=True)
class FindingLine:
    """One line of the findings' table."""

    label: str
    presence: str
    detected: bool
    likelihood: str
    side: str
    size: str
    change: str
    relation: str
    cites: list[Cited]


@dataclass(frozen=True)
class ValueLine:
    """One line of a document's values."""

    name: str
    code: str
    value: str
    outside: str
    range: str
    collected: str
    place: str
    checked: str
    """What the reader without a model says, and whether the text was read from a picture."""


@dataclass(frozen=True)
class Picture:
    """One slice beside its prior; the box is in pixels of the picture."""

    number: int
    image: EvidenceImage
    caption: str
    box: tuple[float, float, float, float] | None
    """x, y, width, height."""


@dataclass(frozen=True)
class HistoryLine:
    """One entry of the history."""

    kind: str
    """For the style sheet."""
    resource: str
    when: str
    name: str
    fact: str


@dataclass(frozen=True)
class ResultPage:
    """Everything that the page of one result shows."""

    entry: Entry
    line: Line
    findings: list[FindingLine]
    values: list[ValueLine]
    unreported: list[str]
    dropped: list[str]
    pictures: list[Picture]
    history: list[HistoryLine]
    flagged: frozenset[str]
    """References of entries that read like instructions."""
    cautions: list[str]
    caution_places: list[str]
    abstained: str
    weighed: list[str]
    comparison: str
    series: list[SeriesLine]
    decidable: bool
    reason: str
    reviewed: str
    closed: str
    """Why the system closed it, if it did."""
    acknowledged: str
    """Who has taken notice, and when."""


def filter_of(shown: str, modality: str | None, priority: str | None) -> Filter:
    """The filter of an address; a value that is none of ours counts as not given."""
    return Filter(
        shown=next((known for known in SHOWN if known == shown), "open"),
        modality=modality if modality in MODALITIES_READ else None,
        priority=priority if priority in PRIORITIES else None,
    )


def tabs_of(wanted: Filter, listing: Listing) -> list[Tab]:
    kept = {"modality": wanted.modality, "priority": wanted.priority}
    counts = {"open": listing.open}
    return [
        Tab(
            TAB_NAMES[shown],
            "/?" + urlencode({"shown": shown} | {name: value for name, value in kept.items() if value}),
            shown == wanted.shown,
            counts.get(shown),
        )
        for shown in SHOWN
    ]


def rows_of(listing: Listing, now: datetime) -> list[Line]:
    return [line_of(row, now) for row in listing.rows]


def line_of(row: EntryRow, now: datetime) -> Line:
    due, state = due_of(row, now)
    return Line(
        row=row,
        status=STATUS_NAMES.get(row.status, row.status),
        person=person_of(row),
        study=", ".join(filter(None, [row.modality, moment(row.study_started)])),
        due=due,
        due_state=state,
        issued=utc(row.issued_at),
        issued_iso=iso(row.issued_at),
        due_iso=iso(row.acknowledge_by) if row.acknowledge_by else "",
        escalation=escalation_of(row),
        cautions=[CAUTION_ROUTES[route] for route in row.cautions or [] if route in CAUTION_ROUTES],
        raised=raised_of(row),
    )


def escalation_of(row: EntryRow) -> str:
    """Nothing while the first step waits."""
    if row.acknowledged_by:
        return f"acknowledged by {row.acknowledged_by}"
    if row.escalation_exhausted:
        return "nobody acknowledged"
    return f"escalated, step {row.escalation_step}" if row.escalation_step > 1 else ""


def person_of(row: EntryRow) -> str:
    """Birth date, age at the study, sex."""
    age = age_at(row.birth_date, row.study_started)
    born = f"born {row.birth_date}" if row.birth_date else "birth date unknown"
    return ", ".join(filter(None, [born, f"{age} y" if age is not None else "", row.sex or "sex unknown"]))


def due_of(row: EntryRow, now: datetime) -> tuple[str, str]:
    """How long is left until the result is to be acknowledged; nothing once somebody has taken notice or decided."""
    if row.acknowledge_by is None or row.acknowledged_at is not None or row.status not in ("unread", "opened"):
        return "", ""
    minutes = int((row.acknowledge_by - now).total_seconds() // 60)
    if minutes < 0:
        return f"overdue {span(-minutes)}", "overdue"
    return f"due in {span(minutes)}", "soon" if minutes < 15 else "later"


def span(minutes: int) -> str:
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // (24 * 60)} days"


def moment(text: str | None) -> str:
    """A FHIR date or dateTime as people write it, to the minute, in the zone it was written in, which stands beside it."""
    written = (text or "")[:16].replace("T", " ")
    zone = re.search(r"T.*(Z|[+-]\d\d:\d\d)$", text or "")
    return f"{written} {'UTC' if zone[1] in ('Z', '+00:00') else zone[1]}" if zone else written


def utc(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def result_page(entry: Entry, now: datetime) -> ResultPage:
    reading, row = entry.result.reading, entry.row
    return ResultPage(
        entry=entry,
        line=line_of(row, now),
        findings=[finding_line(finding) for finding in reading.findings],
        values=[value_line(value) for value in reading.values],
        unreported=unreported_sentences(reading),
        dropped=[dropped_line(dropped) for dropped in reading.dropped],
        pictures=pictures_of(reading),
        history=[history_line(e) for e in sorted(entry.result.history, key=lambda e: e.when or "", reverse=True)],
        flagged=frozenset(caution.where for caution in reading.cautions),
        cautions=caution_sentences(reading),
        caution_places=[place_of(caution, entry.result.history) for caution in reading.cautions],
        abstained=abstention_sentence(reading)
        if reading.kind != "unread" and not (reading.findings or reading.values)
        else "",
        weighed=history_sentences(reading.history),
        comparison=comparison_of(entry),
        series=[series_line(row) for row in reading.series],
        decidable=row.status == "opened" and reading.kind != "unread",
        reason=REASONS.get(row.reason_code, row.reason_code) if row.reason_code else "",  # type: ignore[call-overload]
        reviewed=utc(row.reviewed_at) if row.reviewed_at else "",
        closed=CLOSED_NAMES.get(row.closed_reason or "", ""),
        acknowledged=f"{row.acknowledged_by}, {utc(row.acknowledged_at)}" if row.acknowledged_at else "",
    )


def finding_line(finding: Finding) -> FindingLine:
    return FindingLine(
        label=label_text(finding.label),
        presence=PRESENCE_NAMES[finding.presence],
        detected=finding.presence == "detected",
        likelihood=finding.likelihood,
        side=finding.side if finding.side not in (None, "not-applicable") else "",
        size=size_of(finding),
        change=finding.change.replace("-", " "),
        relation=CHART_RELATION.display(finding.chart) if finding.chart else "",
        cites=[Cited(moment(entry.when)[:10] or "undated", kind_text(entry), fact(entry)) for entry in finding.cites],
    )


def history_line(entry: TimelineEntry) -> HistoryLine:
    return HistoryLine(entry.kind, entry.resource, (entry.when or "undated")[:10], kind_text(entry), fact(entry))


def size_of(finding: Finding) -> str:
    if finding.long_axis_mm is None:
        return ""
    return f"{finding.long_axis_mm:g} mm{' at the detector' if finding.projected else ''}"


SECOND_READINGS = {
    "agrees": "agrees",
    "differs": "reads the row otherwise",
    "silent": "cannot tell",
}


def value_line(value: LabValue) -> ValueLine:
    read = " (read from a picture)" if value.citation.source == "ocr" else ""
    return ValueLine(
        name=value.name,
        code=f"LOINC {value.loinc}" if value.loinc else "",
        value=" ".join(filter(None, [value.value, value.unit])),
        outside=value.interpretation if value.interpretation not in (None, "normal") else "",
        range=value.range.text if value.range else "",
        collected=moment(value.collected),
        place=line_name(value.label),
        checked=SECOND_READINGS[value.second_reading] + read,
    )


def pictures_of(reading: Reading) -> list[Picture]:
    """Of a document each strip of a page is headed by the value that was read from it."""
    pictures = [picture(number, image) for number, image in enumerate(reading.evidence, start=1)]
    if len(reading.values) != len(pictures):
        return pictures
    told = [value_sentence(value) for value in reading.values]
    return [replace(shown, caption=caption) for shown, caption in zip(pictures, told, strict=True)]


def kind_text(entry: TimelineEntry) -> str:
    return entry.kind.replace("-", " ")


def fact(entry: TimelineEntry) -> str:
    """The entry's text with its value, as a laboratory prints it, its parts, and what has no field of its own."""
    told = "; ".join(filter(None, [shown(entry), *(part_words(part) for part in entry.components)]))
    more = f" ({entry.detail})" if entry.detail else ""
    return f"{entry.text}: {told}{more}" if told else f"{entry.text}{more}"


def place_of(caution: Caution, history: list[TimelineEntry]) -> str:
    """Where the text stands, for people: never what it says."""
    code = caution.code.replace("-", " ")
    if caution.route != "chart":
        return f"{'DICOM ' if caution.route == 'dicom' else ''}{caution.where}: {code}"
    entry = next((entry for entry in history if entry.resource == caution.where), None)
    named = f"{kind_text(entry)} of {moment(entry.when)[:10] or 'unknown date'}, " if entry else ""
    return f"{named}{caution.where}: {code}"


def label_text(code: str) -> str:
    return LABEL_BY_CODE[code].text if code in LABEL_BY_CODE else code


def dropped_line(dropped: DroppedFinding) -> str:
    return f"{name_of(dropped.label)}: {why_dropped(dropped.code)}"


def picture(number: int, image: EvidenceImage) -> Picture:
    region = image.region
    box = None
    if region is not None:
        width, height = (region.x1 - region.x0) / image.scale, (region.y1 - region.y0) / image.scale
        left, top = (region.x0 - image.left) / image.scale, (region.y0 - image.top) / image.scale
        box = (round(left, 2), round(top, 2), round(width, 2), round(height, 2))
    label, colon, where = image.caption.partition(":")
    return Picture(number, image, f"{label_text(label)}{colon}{where}", box)


def comparison_of(entry: Entry) -> str:
    if entry.result.reading.prior_study_instance_uid is not None:
        when = moment(entry.row.prior_started)
        return f"Compared with the study of {when}." if when else "Compared with a prior study."
    return f"Not compared with a prior study: {not_compared(entry.result.reading.not_compared_reason)}."
