"""Pieces of text with their places: words of a PDF's text layer, or what an OCR engine has read. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from statistics import median

from schemas.documents import Place
from workflows.reading.fold import shown_text

Corners = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""Top left, top right, bottom right, bottom left, as the text runs; x, y in pixels."""
STEEPEST = math.radians(8)
"""A page scanned more askew than this is not set straight."""


_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")


@dataclass(frozen=True, slots=True)
class Piece:
    """`place` on the page; `y` and `x` its middle and its left edge once the page is set straight."""

    text: str
    place: Place
    confidence: float | None = None
    y: float = math.nan
    x: float = math.nan

    @property
    def height(self) -> float:
        return self.place[3] - self.place[1]

    @property
    def width(self) -> float:
        return self.place[2] - self.place[0]


@dataclass(frozen=True, slots=True)
class PrintedText:
    """What an OCR engine has read in one place of a picture."""

    text: str
    corners: Corners
    confidence: float


def printed_text(text: str) -> str:
    """As it shows (`shown_text`); raised digits become `^9`, since 10⁹ must not turn into 109."""
    return shown_text(_RAISED.sub(lambda run: "^" + run.group(), text))


def upright(pieces: list[Piece]) -> list[Piece]:
    """Words of a text layer: they run straight."""
    return [replace(piece, y=(piece.place[1] + piece.place[3]) / 2, x=piece.place[0]) for piece in pieces]


def straightened(printed: list[PrintedText]) -> list[Piece]:
    """OCR's texts as pieces: rows are looked for along the direction that most of the text runs in; places stay those of the page."""
    slope = _slope(printed)
    return [_piece(text, slope) for text in printed]


def _slope(printed: list[PrintedText]) -> float:
    """The page's skew in radians, by its longer texts."""
    runs = [(_run(text), text) for text in printed]
    longest = max((run for run, _ in runs), default=0.0)
    angles = [_angle(text) for run, text in runs if run > longest / 3]
    slope = median(angles) if angles else 0.0
    return slope if abs(slope) <= STEEPEST else 0.0


def _run(text: PrintedText) -> float:
    return math.dist(text.corners[0], text.corners[1])


def _angle(text: PrintedText) -> float:
    (x0, y0), (x1, y1) = text.corners[0], text.corners[1]
    return math.atan2(y1 - y0, x1 - x0)


def _piece(text: PrintedText, slope: float) -> Piece:
    xs, ys = [x for x, _ in text.corners], [y for _, y in text.corners]
    middle = sum(xs) / 4, sum(ys) / 4
    left = (text.corners[0][0] + text.corners[3][0]) / 2, (text.corners[0][1] + text.corners[3][1]) / 2
    return Piece(
        text=text.text,
        place=(min(xs), min(ys), max(xs), max(ys)),
        confidence=text.confidence,
        y=middle[1] * math.cos(slope) - middle[0] * math.sin(slope),
        x=left[0] * math.cos(slope) + left[1] * math.sin(slope),
    )
