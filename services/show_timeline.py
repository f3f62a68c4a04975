"""`longview timeline`: a patient's history on the operator's terminal, and nowhere else."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from schemas.timeline import HistoryExcerpt, Timeline, TimelineEntry
from services.parts.tables import print_table
from services.settings import Settings
from workflows.ports import FhirServer
from workflows.timeline import build_timeline, dropped_sentence, fit_history
from workflows.timeline.completeness import incomplete_sentence
from workflows.timeline.line import one_line, part_words
from workflows.timeline.line import shown as value_of


@dataclass(frozen=True)
class Shown:
    """A timeline, and what of it a budget would leave; None where none was asked for."""

    timeline: Timeline
    excerpt: HistoryExcerpt | None


def gather(settings: Settings, patient: str, study: str, as_of: str | None, tokens: int | None) -> Shown:
    """Read the patient's record from FHIR and build its timeline, as `gather_timeline` does for a study."""
    from services.adapters import fhir

    client = fhir(settings)
    try:
        return show(client, settings, patient, study, as_of, tokens)
    finally:
        client.close()


def show(
    server: FhirServer, settings: Settings, patient: str, study: str, as_of: str | None, tokens: int | None
) -> Shown:
    resources = server.patient_record(patient)
    timeline = build_timeline(patient, resources, study_instance_uid=study, as_of=as_of, site_zone=settings.zone)
    return Shown(timeline, None if tokens is None else fit_history(timeline, tokens))


def as_document(shown: Shown) -> dict[str, Any]:
    """For machines: the timeline as it is kept, with the excerpt of the budget."""
    document: dict[str, Any] = {"timeline": shown.timeline.model_dump(mode="json")}
    if shown.excerpt is not None:
        document["excerpt"] = shown.excerpt.model_dump(mode="json")
        document["dropped_sentence"] = dropped_sentence(shown.excerpt)
    return document


def print_timeline(shown: Shown) -> None:
    """For people: the history oldest first, then the priors with their reasons, then what was left out."""
    timeline = shown.timeline
    kept = {line.entry.resource: line.id for line in shown.excerpt.lines} if shown.excerpt else None
    columns = ["date", "kind", "status", "what", "value", "source"]
    rows = [_row(entry) for entry in timeline.entries]
    if kept is not None:
        columns.insert(0, "id")
        rows = [[kept.get(e.resource, "-"), *row] for e, row in zip(timeline.entries, rows, strict=True)]
    print_table(_title(timeline), columns, rows)
    if timeline.prior_choices:
        print_table("priors", ["study", "began", "what", "taken", "reason"], _prior_rows(timeline))
    for sentence in _notes(shown):
        print(sentence, file=sys.stderr)  # noqa: T201


def _title(timeline: Timeline) -> str:
    patient = timeline.patient
    moment = f", as of {timeline.as_of}" if timeline.as_of else ""
    return one_line(f"{patient.name}, born {patient.birth_date or '?'}, {patient.sex or 'sex unknown'}{moment}")


def _row(entry: TimelineEntry) -> list[str]:
    when = (entry.when or "").replace("T", " ")[:16]
    what = ": ".join(part for part in (entry.title, entry.text) if part)
    values = [
        value_of(entry),
        *(part_words(part) for part in entry.components),
        entry.interpretation,
    ]
    mark = f" (unit as written: {entry.not_normalised})" if entry.not_normalised else ""
    value = ", ".join(part for part in values if part) + mark
    more = f" ({entry.detail})" if entry.detail else ""
    return [when, entry.kind, entry.status, one_line(what + more), one_line(value), entry.resource]


def _prior_rows(timeline: Timeline) -> list[list[str]]:
    known = {study.study_instance_uid: study for study in timeline.priors}
    rows = []
    for choice in timeline.prior_choices:
        study = known.get(choice.study_instance_uid)
        what = f"{'/'.join(study.modalities)} {study.description or ''}" if study else ""
        began = (study.started or "")[:16] if study else ""
        rows.append([choice.study_instance_uid, began, one_line(what), "yes" if choice.taken else "no", choice.reason])
    return rows


def _notes(shown: Shown) -> list[str]:
    timeline, notes = shown.timeline, [f"{len(shown.timeline.entries)} entries"]
    if timeline.left_out:
        notes.append("left out: " + ", ".join(f"{n} {reason}" for reason, n in timeline.left_out.items()))
    if timeline.other_types:
        notes.append("of other types: " + ", ".join(f"{n} {kind}" for kind, n in timeline.other_types.items()))
    if sentence := incomplete_sentence(timeline.incomplete):
        notes.append(sentence)
    if shown.excerpt is not None:
        notes.append(dropped_sentence(shown.excerpt) or "The whole history fits into the budget.")
        notes.append(f"{shown.excerpt.tokens} of {shown.excerpt.budget} tokens, rule {shown.excerpt.rule}")
        notes += [f"  {each.count} {each.kind}: {each.reason}" for each in shown.excerpt.dropped]
    return notes
