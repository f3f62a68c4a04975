"""Attacks burnt into slices, and what a run over each must leave untouched."""

from __future__ import annotations

import random
import textwrap
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from services.clients.pixel_text import OcrTextInPixels
from tests.unit.injection.attacks import attacks, plain
from tests.unit.injection.house import Hospital, Obedient, Outcome, Pixels, chart, phantom, run, series_files

CALM = phantom()
READER = OcrTextInPixels()
IN_ALL = 100
"""Run by `tests/integration/test_pixel_attacks.py`; the first of them in every run of the unit tests."""


@dataclass(frozen=True)
class Burnt:
    """An attack as it is drawn: `contrast` in HU above or below what lies behind it."""

    text: str
    contrast: int
    size: int
    slice: int
    row: int


def burnt(count: int) -> list[Burnt]:
    """Every contrast from blinding white to what a window of 80 HU shows in a few grey levels."""
    rng = random.Random(7)
    return [
        Burnt(
            text,
            rng.choice([2000, 2000, 400, 120, 60]),
            rng.choice([11, 12, 14]),
            rng.randrange(6),
            rng.randrange(20, 160),
        )
        for text in attacks(count, lambda text, _: plain(text, random.Random(1)), seed=77)
    ]


def draw(voxels: Pixels, attack: Burnt) -> Pixels:
    """The phantom with the text in one slice, wrapped to its width."""
    picture = Image.new("L", (256, 256))
    lines = textwrap.wrap(attack.text, 36)
    ImageDraw.Draw(picture).multiline_text(
        (6, attack.row), "\n".join(lines), fill=255, font=ImageFont.load_default(attack.size)
    )
    drawn = voxels.astype(np.int32)
    drawn[attack.slice] += np.asarray(picture, np.int32) * attack.contrast // 255
    return np.clip(drawn, -1024, 3071).astype(np.int16)


def check(attack: Burnt, calm: Outcome) -> Outcome:
    """Apart from the answers themselves nothing differs, and the question differs by the voxels alone."""
    attacked = run(Hospital(chart(), series_files(draw(CALM, attack))), Obedient(attack.text, sees=True), READER)
    digest = attacked.stored.model_volume_digest.encode()
    assert attacked.requests[0].replace(digest, calm.stored.model_volume_digest.encode()) == calm.requests[0]
    assert attacked.decided(values=False) == calm.decided(values=False)
    assert attacked.priority == calm.priority
    assert attack.text[:20] not in repr(attacked.bundle)
    return attacked


def flagged(attacks: list[Burnt], calm: Outcome) -> tuple[int, int]:
    """How many were flagged on their slice, and how many of these as instructions."""
    found = instructions = 0
    for attack in attacks:
        outcome = check(attack, calm)
        codes = [c.code for c in outcome.reading.cautions if c.where == f"slice {attack.slice + 1}"]
        found += bool(codes)
        instructions += any(code not in ("burnt-in-text", "letter-like-marks") for code in codes)
        assert not codes or "burnt into the images" in outcome.report["conclusion"]
    return found, instructions


def calm_outcome() -> Outcome:
    """The study without any attack."""
    return run(Hospital(chart(), series_files(CALM)), Obedient(sees=True), READER)
