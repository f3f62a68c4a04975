"""How far two readers of the same studies agree, question by question. Pure; methods and limits are in docs/adr/ADR-0016.

* Raw agreement with Wilson's interval (Wilson 1927).
* Agreement on each answer, of which positive and negative agreement are two: 2 n_cc / (n_c. + n_.c) (Cicchetti and Feinstein 1990).
* Cohen's kappa over the three answers, unweighted, with the large-sample standard error of Fleiss, Cohen and Everitt (1969). Where chance
  alone makes both always agree, kappa does not exist and is said to be undefined.
* Overlap of boxes (intersection over union) where both have located the finding on the same slice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from schemas.inference import Presence
from schemas.oversight import BoxPair

ANSWERS: tuple[Presence, ...] = ("detected", "not-detected", "indeterminate")
Z95 = 1.959963984540054
FEWEST = 30
"""Below this many pairs nothing is concluded: the interval of a proportion is wider than a third."""

FEWEST_EACH = 5
"""Nor where either reader has said `detected`, or has not, fewer times than this: kappa then hangs on single studies."""

Interval = tuple[float, float]
Pair = tuple[Presence, Presence]


@dataclass(frozen=True)
class Agreement:
    """Two readers about one label. None where a figure does not exist for these pairs; `verdict` says what may be concluded."""

    label: str
    n: int
    agreeing: int
    raw: float | None
    raw_interval: Interval | None
    kappa: float | None
    kappa_interval: Interval | None
    positive: float | None
    """Agreement on `detected`."""
    negative: float | None
    """Agreement on `not-detected`."""
    both_located: int
    same_slice: int
    iou: float | None
    """Mean overlap of the boxes on the same slice."""
    slices_apart: float | None
    """Median over all that both have located."""
    verdict: str


def agree(label: str, pairs: Sequence[Pair], boxes: Iterable[BoxPair] = (), *, chosen: bool = False) -> Agreement:
    """The figures for one label; each pair is one study. `chosen`: the studies were picked by what one of the readers had said."""
    table = Counter(pairs)
    n, agreeing = len(pairs), sum(table[a, a] for a in ANSWERS)
    located = list(boxes)
    overlaps = [iou(box) for box in located if box.slices_apart == 0]
    return Agreement(
        label=label,
        n=n,
        agreeing=agreeing,
        raw=agreeing / n if n else None,
        raw_interval=wilson(agreeing, n),
        kappa=cohen_kappa(table),
        kappa_interval=kappa_interval(table),
        positive=specific(table, "detected"),
        negative=specific(table, "not-detected"),
        both_located=len(located),
        same_slice=len(overlaps),
        iou=math.fsum(overlaps) / len(overlaps) if overlaps else None,
        slices_apart=float(median(abs(box.slices_apart) for box in located)) if located else None,
        verdict="chosen" if chosen and n >= FEWEST else verdict(table),
    )


def verdict(table: Counter[Pair]) -> str:
    """What may be concluded from so many pairs: `few`, `one-sided`, `undefined`, or `stands`; `chosen` is never more than a hint."""
    n = sum(table.values())
    if n < FEWEST:
        return "few"
    if cohen_kappa(table) is None:
        return "undefined"
    sides = [sum(count for pair, count in table.items() if pair[reader] == "detected") for reader in (0, 1)]
    if any(side < FEWEST_EACH or n - side < FEWEST_EACH for side in sides):
        return "one-sided"
    return "stands"


VERDICTS = {
    "few": f"fewer than {FEWEST} studies: too few to conclude",
    "one-sided": f"a reader has answered one way in all but {FEWEST_EACH - 1} studies at most: kappa is not to be relied on",
    "undefined": "both always gave the same answer: kappa does not exist",
    "chosen": "only answers that a human let stand or changed are known: a chosen sample, not all studies",
    "stands": "",
}


def specific(table: Counter[Pair], answer: Presence) -> float | None:
    """Of all the times that either reader gave the answer, the share where the other gave it too; None if neither ever did."""
    given = sum(count * ((a == answer) + (b == answer)) for (a, b), count in table.items())
    return 2 * table[answer, answer] / given if given else None


def cohen_kappa(table: Counter[Pair]) -> float | None:
    """(po - pe) / (1 - pe); None without pairs, or where pe is 1: both used one and the same answer throughout."""
    n = sum(table.values())
    if not n:
        return None
    rows, columns = _margins(table)
    expected = sum(rows[a] * columns[a] for a in ANSWERS)  # of n * n: exact
    if expected == n * n:
        return None
    agreeing = sum(table[a, a] for a in ANSWERS)
    return (agreeing * n - expected) / (n * n - expected)


def kappa_interval(table: Counter[Pair]) -> Interval | None:
    """95%: the point estimate plus and minus 1.96 standard errors, within [-1, 1].

    The standard error is 0 where all pairs agree, or none does, which no finite number of studies can show. There the interval of raw agreement
    takes its place, carried over with the expected agreement held fixed.
    """
    kappa = cohen_kappa(table)
    if kappa is None:
        return None
    n = sum(table.values())
    agreeing = sum(table[a, a] for a in ANSWERS)
    low, high = _carried(table, wilson(agreeing, n) or (0.0, 1.0))
    if 0 < agreeing < n:
        error = Z95 * _standard_error(table, kappa)
        low, high = kappa - error, kappa + error
    return max(-1.0, min(low, kappa)), min(1.0, max(high, kappa))


def _carried(table: Counter[Pair], raw: Interval) -> Interval:
    n = sum(table.values())
    rows, columns = _margins(table)
    expected = sum(rows[a] * columns[a] for a in ANSWERS) / (n * n)
    low, high = ((p - expected) / (1 - expected) for p in raw)
    return low, high


def _standard_error(table: Counter[Pair], kappa: float) -> float:
    """Fleiss, Cohen and Everitt (1969), for a kappa that is not zero."""
    n = sum(table.values())
    rows, columns = ({a: m[a] / n for a in ANSWERS} for m in _margins(table))
    expected = sum(rows[a] * columns[a] for a in ANSWERS)
    diagonal = sum(table[a, a] / n * (1 - (rows[a] + columns[a]) * (1 - kappa)) ** 2 for a in ANSWERS)
    beside = sum(table[a, b] / n * (columns[a] + rows[b]) ** 2 for a in ANSWERS for b in ANSWERS if a != b)
    constant = (kappa - expected * (1 - kappa)) ** 2
    variance = (diagonal + (1 - kappa) ** 2 * beside - constant) / (n * (1 - expected) ** 2)
    return math.sqrt(max(variance, 0.0))


def _margins(table: Counter[Pair]) -> tuple[Counter[Presence], Counter[Presence]]:
    rows: Counter[Presence] = Counter()
    columns: Counter[Presence] = Counter()
    for (a, b), count in table.items():
        rows[a] += count
        columns[b] += count
    return rows, columns


def wilson(k: int, n: int) -> Interval | None:
    """95% score interval of k out of n; None without observations."""
    if not n:
        return None
    p, z2 = k / n, Z95 * Z95
    middle, half = p + z2 / (2 * n), Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low, high = (middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)
    return max(0.0, min(low, p)), min(1.0, max(high, p))


def iou(boxes: BoxPair) -> float:
    """Intersection over union of two boxes; 0 on different slices."""
    if boxes.slices_apart:
        return 0.0
    union = boxes.area_shown + boxes.area_shadow - boxes.intersection
    return boxes.intersection / union if union > 0 else 0.0
