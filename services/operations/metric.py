"""What a metric is: its kind and unit, and labels whose values are bounded, by name or by pattern."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["counter", "gauge", "histogram"]
Unit = Literal["seconds", "items", "bytes", "yes or no", "unix time"]
Process = Literal["gateway", "worker", "inbox", "codec", "model"]

PROCESSES: tuple[Process, ...] = get_args(Process)
OURS: tuple[Process, ...] = ("gateway", "worker", "inbox", "codec")
"""Served by `services.operations`; the model server is a process of another package and has its own page."""

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
WHOLE = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 14400.0, 86400.0)

OTHER = "other"
"""Stands for every value beyond a label's bound."""
MOST_VALUES = 100


@dataclass(frozen=True)
class Label:
    """A label: the values that it may have, or the pattern that they follow."""

    name: str
    values: tuple[str, ...] = ()
    pattern: str = ""
    most: int = MOST_VALUES
    """How many different values of a pattern are told apart."""

    def bounded(self, value: str) -> str:
        """The value if it is one of this label's, else `other`."""
        allowed = value in self.values if self.values else re.fullmatch(self.pattern, value) is not None
        return value if allowed else OTHER


@dataclass(frozen=True)
class Metric:
    """One metric. `name` as it is scraped (a histogram's without `_bucket`), `processes` are those that give it."""

    name: str
    kind: Kind
    unit: Unit
    meaning: str
    processes: tuple[Process, ...]
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = field(default=FAST)
