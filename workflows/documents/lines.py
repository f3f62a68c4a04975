"""Pieces of text -> rows of cells in reading order. Pure geometry.

Pieces on one level form a row; a gap wider than a letter is high, a run of dots or a bar ends a cell. A page may hold results side by side in two
panels: where a row holds a second result to the right of a first, it is cut there, and where rows are cut at about the same place the left panel is
read before the right one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from statistics import median

from schemas.documents import DocumentCell, DocumentLine, Place
from schemas.errors import PermanentFailure
from workflows.documents.printed import Piece, printed_text

CELL_GAP = 0.9
"""Of the text's height."""
SAME_LEVEL = 0.5
"""Of the lesser height: middles nearer than this are one row."""
MAX_LINES = 1500
LONGEST_CELL = 400
_LEADER = re.compile(r"(?:\s*[.·…_]){4,}|…+|[|¦]+")
"""Dots or lines that lead the eye from a name to its value, or the rule of a table."""
FEWEST_CUTS = 3
"""Rows that must be cut at the same place before a page counts as two panels."""

Starts = Callable[[list[DocumentCell]], list[int]]
"""For the cells of a row, at which of them (but the first) another result begins."""


def lines_of(page: int, pieces: list[Piece], starts: Starts) -> list[DocumentLine]:
    """The page's lines in reading order; `PermanentFailure` (`document-too-long`) beyond `MAX_LINES`."""
    rows = [(row, _cells(row)) for row in _rows(pieces)]
    parts = [part for row, cells in rows if cells for part in _cut(row, cells, starts)]
    if len(parts) > MAX_LINES:
        raise PermanentFailure("document-too-long", "a page holds more rows than a page of print can")
    ordered = _in_reading_order(parts)
    return [
        DocumentLine(
            id=f"P{page}L{n}", page=page, cells=cells, place=_around([c.place for c in cells]), confidence=sure
        )
        for n, (cells, sure, _) in enumerate(ordered, start=1)
    ]


_Part = tuple[list[DocumentCell], float | None, float | None]
"""Cells, least confidence, and where its row was cut (None: it was not)."""


def _rows(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """Pieces by level, from top to bottom, each row from left to right."""
    rows: list[list[Piece]] = []
    for piece in sorted((piece for piece in pieces if printed_text(piece.text)), key=lambda piece: (piece.y, piece.x)):
        near = next((row for row in reversed(rows[-6:]) if _level(row, piece)), None)
        if near is None:
            rows.append([piece])
        else:
            near.append(piece)
    for row in sorted(rows, key=lambda row: median(piece.y for piece in row)):
        yield sorted(row, key=lambda piece: piece.x)


def _level(row: list[Piece], piece: Piece) -> bool:
    """On the level of its nearest neighbour in the row: a row may still lean a little."""
    beside = min(row, key=lambda other: abs(other.x - piece.x))
    return abs(beside.y - piece.y) < SAME_LEVEL * min(beside.height, piece.height)


def _cells(row: list[Piece]) -> list[DocumentCell]:
    cells: list[DocumentCell] = []
    run: list[Piece] = []
    for piece in row:
        if run and piece.x - (run[-1].x + run[-1].width) > CELL_GAP * min(piece.height, run[-1].height):
            cells += _split(run)
            run = []
        run.append(piece)
    return cells + (_split(run) if run else [])


def _split(run: list[Piece]) -> list[DocumentCell]:
    """The run as cells: leaders stand between two, wherever in a piece they are."""
    text = " ".join(printed_text(piece.text) for piece in run)[: LONGEST_CELL * 4]
    found, start = [], 0
    for leader in [*_LEADER.finditer(text), None]:
        end = leader.start() if leader else len(text)
        part = text[start:end].strip()
        if part:
            begin = start + text[start:end].index(part)
            found.append(DocumentCell(text=part[:LONGEST_CELL], place=_place_of(run, begin, begin + len(part))))
        start = leader.end() if leader else end
    return found


def _place_of(run: list[Piece], start: int, end: int) -> Place:
    """Around the characters `start` .. `end` of the run's text; within a piece letters count as equally wide."""
    places, offset = [], 0
    for piece in run:
        length = len(printed_text(piece.text))
        first, last = max(start - offset, 0), min(end - offset, length)
        if first < last:
            x0, y0, x1, y1 = piece.place
            step = (x1 - x0) / length
            places.append((x0 + first * step, y0, x0 + last * step, y1))
        offset += length + 1
    return _around(places)


def _around(places: list[Place]) -> Place:
    x0, y0, x1, y1 = zip(*places, strict=True)
    return round(min(x0), 2), round(min(y0), 2), round(max(x1), 2), round(max(y1), 2)


def _cut(row: list[Piece], cells: list[DocumentCell], starts: Starts) -> Iterator[_Part]:
    told = [piece.confidence for piece in row if piece.confidence is not None and not _only_leads(piece.text)]
    sure = min(told, default=None)
    cuts = starts(cells)
    edge = cells[cuts[0]].place[0] if cuts else None
    for begin, end in zip([0, *cuts], [*cuts, len(cells)], strict=True):
        yield cells[begin:end], sure, edge


def _only_leads(text: str) -> bool:
    """Dots and rules: how surely they were read says nothing of the row."""
    return not text.strip(".·…_-|¦ ")


def _in_reading_order(parts: list[_Part]) -> list[_Part]:
    """Left panel before right panel, between rows that run across both; as they are where the page has one."""
    edges = [edge for _, _, edge in parts if edge is not None]
    gutter = median(edges) if edges else 0.0
    if sum(abs(edge - gutter) < 12 for edge in edges) < 2 * FEWEST_CUTS:  # each cut row counts twice: once a part
        return parts
    ordered: list[_Part] = []
    left: list[_Part] = []
    right: list[_Part] = []
    for part in parts:
        x0, x1 = part[0][0].place[0], part[0][-1].place[2]
        if x0 >= gutter - 12:
            right.append(part)
        elif x1 <= gutter:
            left.append(part)
        else:
            ordered += [*left, *right, part]
            left, right = [], []
    return [*ordered, *left, *right]
