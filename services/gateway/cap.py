"""How many dead letters are bad records, and from when on it is the topic: then intake of the topic pauses instead of emptying it. Pure."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
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
        self._minutes: dict[str, deque[tuple[int, Counter[bool]]]] = defaultdict(deque)
        self._dead: dict[str, dict[tuple[int, int], int]] = defaultdict(dict)
        """Places of dead letters, with the minute in which each was counted."""

    def add(self, topic: str, place: tuple[int, int], *, dead: bool) -> None:
        """The record at `place` (partition and offset) was handled. One that comes again, since one before it had to wait, is one dead letter."""
        minutes, now = self._minutes[topic], int(self._clock() // 60)
        if dead:
            if self._dead[topic].get(place, now - MINUTES) > now - MINUTES:
                return
            self._dead[topic][place] = now
        if not minutes or minutes[-1][0] != now:
            minutes.append((now, Counter()))
        minutes[-1][1][dead] += 1

    def paused(self) -> frozenset[str]:
        """The topics of which nothing is to be taken now."""
        return frozenset(topic for topic in self._minutes if self.is_reached(topic))

    def is_reached(self, topic: str) -> bool:
        """Whether nothing of this topic is to be taken now."""
        minutes, oldest = self._minutes[topic], int(self._clock() // 60) - MINUTES
        if minutes and minutes[0][0] <= oldest:
            while minutes and minutes[0][0] <= oldest:
                minutes.popleft()
            self._dead[topic] = {place: minute for place, minute in self._dead[topic].items() if minute > oldest}
        dead = sum(counted[True] for _, counted in minutes)
        total = dead + sum(counted[False] for _, counted in minutes)
        by_number = bool(self._limits.most) and dead >= self._limits.most
        return by_number or (bool(self._limits.share) and dead >= LEAST and dead > self._limits.share * total)
