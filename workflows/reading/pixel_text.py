"""Marks like printed letters in the slices that the model saw, found cheaply so that only those are read by an OCR engine. Pure but for the reader.

Printed letters have strokes of one to three pixels whose edges are one pixel sharp, rising and falling in equal number, dozens of them side by side.
Anatomy is smoother (the scanner's own blur) and noise is not coherent, so a count of such edges against the local noise tells them apart.
What is found is cut out as a strip, freed of the slowly varying picture behind it (which shows letters of few grey levels as well as bright ones)
and read. Not found: letters fainter than the noise around them, larger than a strip, smaller than about 8 pixels,
upright (turned) or handwritten ones.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.caution import Caution, PixelTextSearch
from schemas.volume import Volume
from workflows.reading.caution import instruction_in

CELL = 16
TILE = (2, 8)
"""Cells (rows, columns) that a run of letters fills."""
BLOCK = 64
"""Pixels in which the noise is taken to be the same."""
NOISE_PERCENTILE = 80.0
"""Of the steps within a block: a line of letters makes fewer than a fifth of them."""
TIMES_NOISE = 2.4
LEAST_STEP = 3.0
"""In HU, or 2048ths of the range where the scale is not absolute."""
SHARPNESS = 0.5
"""Share of the contrast within 7 pixels that one step from pixel to pixel must cover."""
SUSPICIOUS = 0.045
"""Share of a tile's pixels that are such edges, rising and falling ones counted by the lesser."""
STRIP = 48
FIRST_STRIPS = 16
"""Strips that are read of one volume in any case: with text in it one takes about a quarter of a second."""
MOST_STRIPS, MOST_COLUMNS = 128, 1 << 16
"""So many are read as long as none holds text, the strongest of each slice before a second of any, and of so many columns together: looking for text
takes time by the pixel, about 30 ms in 384 columns and a quarter of a second in 896."""
SURE = 0.12
"""From here marks count as letters even where they cannot be read: twice what clean CT comes to. On CT alone, since thin structures of MR come near
to it."""
STANDS_OUT, TIMES_OTHERS = 0.07, 1.6
"""Or from here, where they are so many times as strong as those of the usual slice of the stack: anatomy is alike from slice to slice."""
WORDS, WORD, LONG_WORD = 2, 3, 8
"""Text is so many words of at least so many letters or digits, or one that is long: noise is read as single letters and short words."""
REPEATED = 4
"""Letters of a word that is text where several slices have it."""
TEXT, MARKS = "burnt-in-text", "letter-like-marks"
SIDE_MARKS = frozenset({
    "left", "right", "post", "ant", "sup", "inf", "head", "feet", "l", "r", "ap", "pa", "lat", "lateral", "portable", "mobile", "erect", "upright",
    "supine", "semi", "seated", "decub",
})  # fmt: skip
"""What a scanner or a lead marker says of how the patient lay: no text."""

Picture = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.float32]
Lines = Callable[[Picture], list[str]]


@dataclass(frozen=True)
class Strip:
    """Rows `top` .. `top` + `STRIP` of a slice, which look like a line of letters with this strength."""

    index: int
    top: int
    score: float


def search_text(
    volume: Volume, numbers: list[int], lines: Lines, name: str = ""
) -> tuple[list[Caution], PixelTextSearch]:
    """Cautions for the slices of `volume`, whose indices in the stack are `numbers`; `lines` reads the text of a picture.

    Text that reads like an instruction is named by its kind, other text as `burnt-in-text` (a name or a date is worth knowing too), marks
    that are letters and cannot be read as `letter-like-marks`.
    """
    strips, usual = _strips_and_usual(volume)
    told, read = _read(volume, strips, lines)
    repeated = _repeated(told)
    letters = {strip.index for strip in strips if volume.units == "HU" and _is_certain(strip.score, usual)}
    codes = {k: code for k, found in told.items() if (code := _code_of(found, repeated, certain=k in letters))}
    cautions = [
        Caution(route="pixels", code=code, where=f"{name}slice {numbers[k] + 1}") for k, code in sorted(codes.items())
    ]
    return cautions, PixelTextSearch(slices=len(numbers), suspicious=len({s.index for s in strips}), read=read)


def _read(volume: Volume, strips: list[Strip], lines: Lines) -> tuple[dict[int, list[str]], int]:
    """The text of each slice from top to bottom, and how many slices were read: those beyond the first as long as there is none."""
    found: dict[int, list[tuple[int, str]]] = {}
    most = max(FIRST_STRIPS, min(MOST_STRIPS, MOST_COLUMNS // volume.voxels.shape[2]))
    for count, strip in enumerate(_ranked(strips)[:most]):
        if count >= FIRST_STRIPS and any(_is_text(_words(text for _, text in said), set()) for said in found.values()):
            break
        found.setdefault(strip.index, []).append((strip.top, read_strip(volume, strip, lines)))
    return {k: [text for _, text in sorted(said)] for k, said in found.items()}, len(found)


def _repeated(told: dict[int, list[str]]) -> set[str]:
    """Words that several slices have."""
    slices = Counter(word for said in told.values() for word in set(_words(said)) if len(word) >= REPEATED)
    return {word for word, count in slices.items() if count > 1}


def _code_of(said: list[str], repeated: set[str], *, certain: bool) -> str | None:
    """What a slice says, from top to bottom: its lines may stand in several strips."""
    kind = instruction_in(" ".join(said))
    if kind is not None:
        return kind
    if _is_text(_words(said), repeated):
        return TEXT
    return MARKS if certain else None


def _is_certain(score: float, usual: float) -> bool:
    return score >= SURE or (score >= STANDS_OUT and score >= TIMES_OTHERS * usual)


def suspicious_strips(volume: Volume) -> list[Strip]:
    """Strips with marks like letters, strongest first."""
    return _strips_and_usual(volume)[0]


def _strips_and_usual(volume: Volume) -> tuple[list[Strip], float]:
    """The strips, and the strongest score of the usual slice."""
    scale = 1.0 if volume.units == "HU" else max(_range(volume) / 2048, 1.0)
    scores = [letter_scores(pixels.astype(np.float32) / scale) for pixels in volume.voxels]
    found = [strip for k, each in enumerate(scores) for strip in _strips_of(each, k, volume.voxels.shape[1])]
    best = [float(each.max()) if each.size else 0.0 for each in scores]
    return sorted(found, key=lambda strip: (-strip.score, strip.index, strip.top)), float(np.median(best or [0.0]))


def _range(volume: Volume) -> float:
    return max(float(volume.voxels.max()) - float(volume.voxels.min()), 1.0)


def _strips_of(scores: Grey, index: int, rows: int) -> list[Strip]:
    if not scores.size:
        return []
    best, found = scores.max(axis=1), []
    while float(best.max()) >= SUSPICIOUS:
        row = int(best.argmax())
        middle = row * CELL + TILE[0] * CELL // 2
        found.append(Strip(index, min(max(middle - STRIP // 2, 0), max(rows - STRIP, 0)), float(best[row])))
        best[max(row - 1, 0) : row + 2] = 0
    return found


def letter_scores(values: Grey) -> Grey:
    """For every tile of the slice the share of its pixels that are sharp edges of thin strokes; [tiles down, tiles across]."""
    rows, columns = (size // CELL * CELL for size in values.shape)
    if rows < TILE[0] * CELL or columns < TILE[1] * CELL:
        return np.zeros((0, 0), np.float32)
    step, sharp = _sharp_steps(values[:rows, :columns])
    rising, falling = (_cells(sharp & (step > 0)), _cells(sharp & (step < 0)))
    share: Grey = np.minimum(_tiles(rising), _tiles(falling)) * np.float32(2 / (TILE[0] * TILE[1] * CELL * CELL))
    return share


def _sharp_steps(values: Grey) -> tuple[Grey, npt.NDArray[np.bool_]]:
    """Steps from pixel to pixel along the rows, and which of them are edges as sharp as a printed stroke's."""
    step: Grey = np.diff(values, axis=1, append=values[:, -1:])
    size = np.abs(step)
    return step, (size >= _least_step(size)) & (size >= SHARPNESS * _contrast(values))


def _least_step(size: Grey) -> Grey:
    """The step from pixel to pixel that noise does not make, for each pixel by its block."""
    rows, columns = (max(n // BLOCK, 1) for n in size.shape)
    high, wide = size.shape[0] // rows, size.shape[1] // columns
    blocks = size[: rows * high, : columns * wide].reshape(rows, high, columns, wide)
    noise = np.percentile(blocks, NOISE_PERCENTILE, axis=(1, 3))
    down = np.minimum(np.arange(size.shape[0]) // high, rows - 1)
    across = np.minimum(np.arange(size.shape[1]) // wide, columns - 1)
    least: Grey = np.maximum(TIMES_NOISE * noise, LEAST_STEP)[down[:, None], across[None, :]].astype(np.float32)
    return least


def _contrast(values: Grey) -> Grey:
    """Greatest less least value within 7 pixels along the row."""
    padded = np.pad(values, ((0, 0), (3, 3)), mode="edge")
    high = low = padded[:, : values.shape[1]]
    for shift in range(1, 7):
        beside = padded[:, shift : shift + values.shape[1]]
        high, low = np.maximum(high, beside), np.minimum(low, beside)
    return high - low


def _cells(mask: npt.NDArray[np.bool_]) -> Grey:
    rows, columns = mask.shape[0] // CELL, mask.shape[1] // CELL
    counted: Grey = mask.reshape(rows, CELL, columns, CELL).sum(axis=(1, 3)).astype(np.float32)
    return counted


def _tiles(cells: Grey) -> Grey:
    """Sums over every run of `TILE` cells."""
    total = np.pad(cells.cumsum(0).cumsum(1), ((1, 0), (1, 0))).astype(np.float32)
    high, wide = TILE
    sums: Grey = total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide] + total[:-high, :-wide]
    return sums


def _ranked(strips: list[Strip]) -> list[Strip]:
    """In the order of reading: one of each slice before a second of any."""
    order: dict[int, int] = {}
    ranked = []
    for position, strip in enumerate(strips):
        order[strip.index] = order.get(strip.index, -1) + 1
        ranked.append((order[strip.index], position, strip))
    return [strip for _, _, strip in sorted(ranked, key=lambda at: at[:2])]


def read_strip(volume: Volume, strip: Strip, lines: Lines) -> str:
    """The text of a strip; empty where the reader finds none."""
    return " ".join(lines(_flattened(volume.voxels[strip.index, strip.top : strip.top + STRIP])))


def _flattened(pixels: npt.NDArray[np.int16]) -> Picture:
    """The strip without the picture behind it, stretched to the letters' own contrast and enlarged twice."""
    values = pixels.astype(np.float32)
    rest = values - _blurred(values)
    top = 1.5 * _stroke_contrast(values)
    grey = np.clip(128 + 127 * rest / top, 0, 255).astype(np.uint8)
    return np.repeat(np.repeat(grey, 2, axis=0), 2, axis=1)


def _stroke_contrast(values: Grey) -> float:
    """The usual step at the edge of a stroke; edges of bone are steeper and fewer."""
    step, sharp = _sharp_steps(values)
    return float(np.median(np.abs(step[sharp]))) if sharp.any() else 1.0


def _blurred(values: Grey, reach: int = 12) -> Grey:
    """Mean over a square of 2 * `reach` + 1 pixels."""
    padded = np.pad(values, reach, mode="edge").astype(np.float64)
    total = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    side = 2 * reach + 1
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    mean: Grey = (sums / side**2).astype(np.float32)
    return mean


def _words(said: Iterable[str]) -> list[str]:
    """The letters and digits of what stands between blanks; without side marks, and without what is too short for a word."""
    pieces = [re.findall(r"[^\W_]+", word) for text in said for word in text.lower().split()]
    found = ["".join(each) for each in pieces if not SIDE_MARKS.issuperset(each)]
    return [word for word in found if len(word) >= WORD]


def _is_text(words: list[str], repeated: set[str]) -> bool:
    return len(words) >= WORDS or any(len(word) >= LONG_WORD or word in repeated for word in words)
