"""How many dead letters are bad records, and from when on it is the topic: then intake of the topic pauses instead of emptying it. Pure."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

MINUTES = 10
"""Over which is counted. A paused topic goes on by itself when the oldest minutes are forgotten, and pauses again if nothing is better."""
LEAST = 50
"""Dead letters from which their share counts: three bad records of five say nothing."""


@dataclass(frozen=True)
class Limits:
    """`most` dead letters of a topic in `MINUTES`, or `share` (0 to 1) of its records; 0: no limit."""

    most: int = 1000
    share: float = 0.2


class DeadLetterCap:
    """Counts by topic and minute; `clock` gives seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._dead: dict[str, dict[tuple[int, int], int]] = defaultdict(dict)
        """By topic: places of dead letters, with the minute in which each was counted first, oldest first."""
        self._sound: dict[str, Counter[int]] = defaultdict(Counter)
        """By topic: how many others, by minute."""

    def add(self, topic: str, place: tuple[int, int], *, dead: bool) -> None:
        """The record at `place` (partition and offset) was handled. One that comes again, since one before it had to wait, is one dead letter."""
        now = self._forget(topic)
        if dead:
            self._dead[topic].setdefault(place, now)
        else:
            self._sound[topic][now] += 1

    def _forget(self, topic: str) -> int:
        """What is older than `MINUTES`; the minute that it is now."""
        now = int(self._clock() // 60)
        places, sound = self._dead[topic], self._sound[topic]
        while places and places[oldest := next(iter(places))] <= now - MINUTES:
            del places[oldest]
        for minute in [minute for minute in sound if minute <= now - MINUTES]:
            del sound[minute]
        return now

    def paused(self) -> frozenset[str]:
        """The topics of which nothing is to be taken now."""
        return frozenset(topic for topic in list(self._dead) if self.is_reached(topic))

    def is_reached(self, topic: str) -> bool:
        """Whether nothing of this topic is to be taken now."""
        self._forget(topic)
        dead = len(self._dead[topic])
        total = dead + self._sound[topic].total()
        by_number = bool(self._limits.most) and dead >= self._limits.most
        return by_number or (bool(self._limits.share) and dead >= LEAST and dead > self._limits.share * total)
