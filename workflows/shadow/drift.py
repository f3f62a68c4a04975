"""Whether what a release says has changed: rates of the last week against the four weeks before. Pure; see docs/adr/ADR-0016.

Each rate is tested by Fisher's exact test (two-sided), all rates of one look together by Holm's procedure at `ALPHA`. Fisher's test keeps its
level for every number of studies, so on a stable stream at most one look in a thousand alarms; with one look a day that is at most one false alarm
in 2.7 years, however much the windows overlap (a sum of probabilities needs no independence). A difference that is proved but small does not alarm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RECENT_DAYS, REFERENCE_DAYS = 7, 28
ALPHA = 0.001
"""Probability that a look at a stable stream alarms at all: over all its rates."""

FEWEST_RECENT, FEWEST_REFERENCE = 30, 60
SMALLEST_STEP = 0.05
SMALLEST_FACTOR = 2.0
"""An alarm needs a change of at least this step, or by at least this factor: a proved change of a hair's breadth helps nobody."""


@dataclass(frozen=True)
class Rate:
    """`k` of `n`."""

    k: int
    n: int

    @property
    def value(self) -> float | None:
        return self.k / self.n if self.n else None


@dataclass(frozen=True)
class DriftFinding:
    """One rate in both windows. `verdict`: `alarm`, `stable`, or `few` where a window holds too little to say."""

    metric: str
    recent: Rate
    reference: Rate
    p: float | None
    verdict: str


def watch(recent: Mapping[str, Rate], reference: Mapping[str, Rate]) -> list[DriftFinding]:
    """Every metric of either window, by name. A metric that cannot be tested costs the others nothing."""
    nothing = Rate(0, 0)
    pairs = {m: (recent.get(m, nothing), reference.get(m, nothing)) for m in sorted({*recent, *reference})}
    tested = {m: fisher(r, f) for m, (r, f) in pairs.items() if r.n >= FEWEST_RECENT and f.n >= FEWEST_REFERENCE}
    rejected = holm(tested, ALPHA)
    return [
        DriftFinding(
            metric=metric,
            recent=now,
            reference=before,
            p=tested.get(metric),
            verdict=_verdict(metric in tested, metric in rejected and matters(now, before)),
        )
        for metric, (now, before) in pairs.items()
    ]


def _verdict(tested: bool, alarm: bool) -> str:
    return "alarm" if alarm else "stable" if tested else "few"


def matters(recent: Rate, reference: Rate) -> bool:
    """Whether a proved change is large enough to look at."""
    now, before = recent.value or 0.0, reference.value or 0.0
    low, high = sorted((now, before))
    return high - low >= SMALLEST_STEP or high >= SMALLEST_FACTOR * low


def holm(p_values: Mapping[str, float], alpha: float) -> set[str]:
    """The hypotheses that Holm's step-down procedure (1979) rejects at a family-wise error rate of `alpha`."""
    rejected: set[str] = set()
    ordered: Sequence[tuple[str, float]] = sorted(p_values.items(), key=lambda item: item[1])
    for i, (name, p) in enumerate(ordered):
        if p > alpha / (len(ordered) - i):
            break
        rejected.add(name)
    return rejected


def fisher(a: Rate, b: Rate) -> float:
    """Two-sided p of Fisher's exact test: the tables no likelier than the one seen, its margins held fixed."""
    successes, total = a.k + b.k, a.n + b.n
    low, high = max(0, successes - b.n), min(successes, a.n)
    logs = [_log_choose(a.n, k) + _log_choose(b.n, successes - k) for k in range(low, high + 1)]
    seen, scale = logs[a.k - low], _log_choose(total, successes)
    return min(1.0, math.fsum(math.exp(x - scale) for x in logs if x <= seen + 1e-7))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
