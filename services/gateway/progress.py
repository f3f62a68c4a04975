"""How far the gateway is behind the bus, as its metrics say."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from schemas.errors import TransientFailure
from schemas.events import INBOUND_TOPICS
from services.clients.kafka import Consumer, GroupLag, Reach, Record
from services.operations.meter import clear, gauge

LOOK_SECONDS = 1.0
QUIET_SECONDS = 45.0
"""Without a record, before the broker is asked whether there is really none."""


class Progress:
    """Looks at most once a second; called from the loop that polls, between two polls."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._looked = 0.0

    def tell(
        self,
        first_unhandled: Mapping[tuple[str, int], Record],
        paused_topics: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """`first_unhandled`: of each partition that has any, the first record that was fetched and is not handled."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        paused = paused_topics()
        for topic in INBOUND_TOPICS:
            gauge("longview_gateway_paused", topic in paused, topic=topic)
        try:
            reach = self._consumer.reach()
        except TransientFailure:
            return  # the group is being put together anew: what was told last stands until it is known better
        clear("longview_gateway_lag_records")
        for (topic, partition), lag in lags(reach, first_unhandled).items():
            gauge("longview_gateway_lag_records", lag, topic=topic, partition=str(partition))
        gauge("longview_gateway_oldest_record_seconds", oldest_seconds(first_unhandled, time.time()))


class Standstill:
    """Notices a group that leaves records unread: its consumers come round, and get nothing. Asked only while nothing was polled for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._polled = clock()
        self._seen: GroupLag | None = None

    def polled(self, count: int) -> None:
        if count:
            self._polled, self._seen = self._clock(), None

    def is_due(self) -> bool:
        """Whether to ask the broker now: at most once in `QUIET_SECONDS`, and only in silence."""
        return self._clock() - self._polled >= QUIET_SECONDS

    def proves(self, lag: GroupLag) -> bool:
        """Whether the same records lie unread as at the last look, and nobody in the group has committed anything since."""
        before, self._seen, self._polled = self._seen, lag, self._clock()
        return before is not None and min(before.unread, lag.unread) > 0 and before.committed == lag.committed


def lags(
    reach: Mapping[tuple[str, int], Reach], first_unhandled: Mapping[tuple[str, int], Record]
) -> dict[tuple[str, int], int]:
    """Records of each partition from the first that is not handled to the end. What another gateway has now is not among them."""
    return {
        place: max(0, known.end - (first_unhandled[place].offset if place in first_unhandled else known.position))
        for place, known in reach.items()
    }


def oldest_seconds(first_unhandled: Mapping[tuple[str, int], Record], now: float) -> float:
    """Age of the oldest; `now` is Unix time. A clock that goes ahead of ours makes no negative age."""
    written = [record.timestamp_ms for record in first_unhandled.values() if record.timestamp_ms is not None]
    return max(0.0, now - min(written) / 1000) if written else 0.0
