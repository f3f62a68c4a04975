"""The contrast of an MR series: by its timing where the headers tell it, by whole phrases of its description where they do not. Pure.

Timing is what a contrast is: echo, repetition and inversion time in ms (PS3.3 C.8.3.1), the diffusion weight in s/mm2 (C.8.13.5.9). Where it is
known, words count only as far as they agree: a series of b = 1000 that calls itself T2 is diffusion. The limits lie between the protocols of 1.5
and 3 T, with room; what is near them is left to the words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from workflows.series.attributes import Attributes

T1, T1_CONTRAST, T2, FLAIR, DWI, SWI, STIR, PD = "T1", "T1 with contrast", "T2", "FLAIR", "DWI", "SWI", "STIR", "PD"
LEAST_B = 100.0
"""s/mm2 from which images are weighted by diffusion, not by T2."""
SHORT_TI, LONG_TI = (80.0, 300.0), 1500.0
"""Inversion times that null fat (STIR) and, from 1.5 s on, water (FLAIR); between them they only deepen T1."""

_AGENT = (
    r"(\+\s?c\b|\+\s?gd\b|\bgd\b|\bgado?\w*|\bpost\b|\bce\b|\bkm\b|\bcontrast\b|\bcon contraste\b|\binject[eé]e?\b"
    r"|\bapr[eè]s injection\b|\bmdc\b)"
)
_WORDS: tuple[tuple[str, str], ...] = (
    (FLAIR, r"\b\w{0,3}flair\b|\bdark.?fluid\b"),
    (DWI, r"\be?dwi\b|\bdiff\b|\bdiffusion\b|\bdifusion\b|\bdiffusione\b|\bb\s?=?\s?1000\b|\btracew?\b"),
    (SWI, r"\bswi\b|\bswan\b|\bhemo\b|\bt2\*|\bt2.?star\b|\bt2.?gre\b|\bsuscept\w*"),
    (STIR, r"\bstir\b|\btirm\b"),
    (T1_CONTRAST, rf"\bt1.*{_AGENT}|(\bpost\b|\bgd\b|\bkm\b).*\bt1"),
    (T1, r"\bt1|\bmp.?rage\b|\bbravo\b|\bspgr\b|\btfe3d\b"),
    (T2, r"\bt2"),
    (PD, r"\bpdw?\b|\bproton\b"),
)
"""Whole words, in English, German, French, Spanish and Italian; `_` and `-` part them."""
_CONTRASTS = tuple((contrast, re.compile(words, re.IGNORECASE)) for contrast, words in _WORDS)
_MAP = re.compile(r"\badc\b", re.IGNORECASE)
_WITHOUT = re.compile(
    r"\b(pre.?(contrast|gd|km)|without|ohne|sans|sin|senza|w/?o|nativ|non.?contrast)\b", re.IGNORECASE
)


class Timing(NamedTuple):
    """What the headers say: the contrast it makes, and every contrast that it could be."""

    contrast: str
    fits: frozenset[str]


def contrast_of(description: str | None, timing: Timing | None) -> str | None:
    """The contrast; None where neither tells one, or the description names a map that was computed (ADC)."""
    words = _words(description)
    named = _named(words)
    if timing is None or named in timing.fits or _MAP.search(words):
        return named
    return timing.contrast


def named_contrast(description: str | None) -> str | None:
    """By the description alone."""
    return _named(_words(description))


def _words(description: str | None) -> str:
    return re.sub(r"[_-]+", " ", description or "")


def _named(words: str) -> str | None:
    if _MAP.search(words):
        return None
    found = next((contrast for contrast, phrases in _CONTRASTS if phrases.search(words)), None)
    return T1 if found == T1_CONTRAST and _WITHOUT.search(words) else found


def timing_of(images: Sequence[Attributes]) -> Timing | None:
    """By the headers of a series' images; None where they do not tell."""
    if any(b >= LEAST_B for each in images if (b := each.hint("DiffusionBValue")) is not None):
        return Timing(DWI, frozenset({DWI}))
    sequence = {value for each in images for value in each.texts("ScanningSequence")}
    if not sequence:
        return None  # no MR, whose images by the hundred have none of these
    te, tr, ti = (_usual(images, keyword) for keyword in ("EchoTime", "RepetitionTime", "InversionTime"))
    if te is None or tr is None:
        return None
    agent = any(each.text("ContrastBolusAgent") for each in images)
    weighted = Timing(T1_CONTRAST if agent else T1, frozenset({T1_CONTRAST} if agent else {T1, T1_CONTRAST}))
    if ti and (ti >= LONG_TI and te > 60):
        return Timing(FLAIR, frozenset({FLAIR}))
    if ti and SHORT_TI[0] <= ti <= SHORT_TI[1] and "GR" not in sequence:
        return Timing(STIR, frozenset({STIR}))
    if ti and SHORT_TI[1] < ti < LONG_TI and te < 40:
        return weighted
    if "SE" not in sequence or "IR" in sequence or ti:
        return None  # gradient echoes weight by their flip angle as well: the words tell
    if tr < 1000 and te < 30:
        return weighted
    if tr > 2000 and te > 60:
        return Timing(T2, frozenset({T2, DWI} if "EP" in sequence else {T2}))
    return None


def _usual(images: Sequence[Attributes], keyword: str) -> float | None:
    values = [value for each in images if (value := each.hint(keyword)) is not None]
    return median(values) if values else None
