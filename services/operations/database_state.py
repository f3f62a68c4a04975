"""Metrics of what the database holds, read when somebody scrapes: at most every 15 seconds, however many scrape, and absent while it is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily

from schemas.errors import LongviewError
from schemas.telemetry.fields import fields
from services.db.state import StateReader
from services.operations.metrics import BY_NAME, PRIORITIES

log = logging.getLogger(__name__)
KEPT_SECONDS = 15.0

Sample = tuple[str, float, dict[str, str]]
Read = Callable[[datetime], list[Sample]]


class DatabaseState:
    """A collector: what `read` tells, and whether it could be read."""

    def __init__(self, read: Read, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._at: float | None = None
        self._samples: list[Sample] = []

    def __call__(self) -> Iterator[GaugeMetricFamily]:
        samples = self._current()
        yield from _families([*samples, ("longview_state_read", float(bool(samples)), {})])

    def _current(self) -> list[Sample]:
        """One reader at a time; who comes meanwhile waits for what that one finds. A failure is kept as long as an answer."""
        with self._lock:
            if self._at is None or self._clock() - self._at >= KEPT_SECONDS:
                try:
                    self._samples = self._read(datetime.now(UTC))
                except LongviewError as failure:
                    log.warning("state-not-told", extra=fields(code=failure.code))
                    self._samples = []
                self._at = self._clock()
            return self._samples


def of_gateway(reader: StateReader) -> Read:
    def read(now: datetime) -> list[Sample]:
        state = reader.bus()
        return [
            ("longview_outbox_waiting_events", state.waiting_events, {}),
            ("longview_outbox_oldest_seconds", _age(state.oldest_event, now), {}),
            ("longview_dead_letters_kept", state.dead_letters, {}),
        ]

    return read


def of_inbox(reader: StateReader) -> Read:
    def read(now: datetime) -> list[Sample]:
        state = reader.inbox(now)
        return [("longview_inbox_unheard_results", state.unheard, {})] + [
            (name, value, {"priority": priority})
            for priority in PRIORITIES
            for name, value in (
                ("longview_inbox_open_results", state.open.get(priority, 0)),
                ("longview_inbox_oldest_unread_seconds", _age(state.oldest_unread.get(priority), now)),
                ("longview_inbox_overdue_results", state.overdue.get(priority, 0)),
            )
        ]

    return read


def of_worker(reader: StateReader) -> Read:
    def read(now: datetime) -> list[Sample]:
        state = reader.oversight()
        samples: list[Sample] = [
            ("longview_reconcile_flagged_items", state.flagged, {}),
            ("longview_reconcile_left_items", state.left_over, {}),
            ("longview_drift_alarms", state.drift_alarms, {}),
        ]
        if state.ended_at is not None:
            samples.append(("longview_reconcile_ended_timestamp_seconds", state.ended_at.timestamp(), {}))
        return samples

    return read


def _age(then: datetime | None, now: datetime) -> float:
    return max(0.0, (now - then).total_seconds()) if then else 0.0


def _families(samples: Iterable[Sample]) -> Iterator[GaugeMetricFamily]:
    families: dict[str, GaugeMetricFamily] = {}
    for name, value, labels in samples:
        if name not in families:
            families[name] = GaugeMetricFamily(name, BY_NAME[name].meaning, labels=list(labels))
        families[name].add_metric(list(labels.values()), value)
    yield from families.values()
