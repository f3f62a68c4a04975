"""Looks for text that reads like an instruction, in whatever disguise, and says only where it stands. Pure.

What is found changes nothing that is read, routed or written; it is shown, and the text is kept from the second pass.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterable, Iterator

from schemas.caution import Caution
from schemas.timeline import Coding, Timeline, TimelineEntry
from workflows.reading.fold import folded, hidden_text, hides, shown_text, unleeted
from workflows.reading.patterns import compiled

HIDDEN = "hidden-characters"
BURNED_IN = "burnt-in-annotation"
LONGEST = 20_000
"""Characters of one text that are looked at; a chart's note is far shorter."""
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_SPACED_OUT = re.compile(r"(?:\b\w[\W_]{1,3}){6,}\w\b")
_EVERY_OTHER = re.compile(r".([ ._*/-])(?:.\1){7,}.")
_BLANKS = re.compile(r"\s+")


def instruction_in(text: str) -> str | None:
    """The code of the first kind of instruction that the text reads like; None for all else."""
    if not text:
        return None
    text = text[:LONGEST]
    if hides(text):
        return HIDDEN
    for form in filter(None, _forms(text)):
        found = _first(folded(form), squeezed=False)
        if found is not None:
            return found
    return None


def _forms(text: str) -> Iterator[str]:
    """The text, and what it says once a disguise is taken off."""
    yield text
    yield hidden_text(text)
    plain = html.unescape(text)
    if plain != text:
        yield plain
    shown = shown_text(text)
    yield from (run.group()[::2] for form in (text, shown) for run in _EVERY_OTHER.finditer(form))
    yield from _decoded(shown)


def _first(text: str, *, squeezed: bool) -> str | None:
    forms = [text] if squeezed else [text, unleeted(text)]
    for form in dict.fromkeys(forms):
        for code, pattern in compiled(squeezed=squeezed):
            if pattern.search(form):
                return code
    if squeezed:
        return None
    runs = [re.sub(r"[\W_]+", "", run.group()) for run in _SPACED_OUT.finditer(text)]
    return next((found for run in runs for found in [_first(unleeted(run), squeezed=True)] if found), None)


def _decoded(text: str) -> Iterator[str]:
    """Readable text that is written in base64, with or without its padding; lines may have been broken."""
    for candidate in {*_ENCODED.findall(text), *_ENCODED.findall(_BLANKS.sub("", text))}:
        body = candidate.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            plain = base64.b64decode(body + "=" * (-len(body) % 4), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        yield plain


def chart_cautions(timeline: Timeline) -> list[Caution]:
    """One for each resource of the history whose text reads like an instruction; `where` is its versioned reference."""
    found: dict[str, str] = {}
    for reference, texts in _chart_texts(timeline):
        code = next((code for code in map(instruction_in, texts) if code), None)
        if code is not None:
            found.setdefault(reference, code)
    return [Caution(route="chart", code=code, where=reference) for reference, code in found.items()]


def _chart_texts(timeline: Timeline) -> Iterator[tuple[str, list[str]]]:
    banner, order = timeline.patient, timeline.order
    yield banner.resource, [banner.name, *(f"{i.value}" for i in banner.identifiers)]
    for study in (timeline.study, *timeline.priors):
        if study is not None:
            yield study.resource, [study.description or ""]
    if order is not None:
        yield order.resource, [order.text or "", *_displays(order.codings)]
    for entry in timeline.entries:
        yield entry.resource, entry_texts(entry)


def entry_texts(entry: TimelineEntry) -> list[str]:
    """Every text of an entry, alone and as one: an instruction may be spread over its fields."""
    parts = [entry.title, entry.text, entry.value, entry.unit, entry.status, entry.interpretation, entry.detail]
    parts += [text for part in entry.components for text in (part.text, part.value, part.unit, part.detail)]
    parts += [*_displays(entry.codings), *(text for part in entry.components for text in _displays(part.codings))]
    found = list(filter(None, parts))
    return list(dict.fromkeys([*found, " ".join(found)]))


def _displays(codings: Iterable[Coding]) -> list[str]:
    return [text for coding in codings for text in (coding.display, coding.code) if text]


def tag_cautions(texts: Iterable[tuple[str, str]]) -> list[Caution]:
    """One for each DICOM keyword of `texts` (keyword, value) that reads like an instruction, or says that text is burnt into the pixels."""
    found: dict[str, str] = {}
    for keyword, text in texts:
        burnt = keyword == "BurnedInAnnotation" and text.strip().upper() == "YES"
        code = BURNED_IN if burnt else instruction_in(text)
        if code is not None:
            found.setdefault(keyword, code)
    return [Caution(route="dicom", code=code, where=keyword) for keyword, code in sorted(found.items())]


def without_instructions(timeline: Timeline) -> Timeline:
    """The order's displays are used for words of the report and for what is asked: one that reads like an instruction is not."""
    order = timeline.order
    if order is None:
        return timeline
    calm = [c.model_copy(update={"display": None}) if instruction_in(c.display or "") else c for c in order.codings]
    return timeline.model_copy(update={"order": order.model_copy(update={"codings": calm})})
