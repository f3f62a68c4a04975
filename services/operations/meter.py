"""Recording what a process does, as its list of metrics says. As with logging, a process has one meter; until it is installed, nothing is kept.

A name or a label that is not in the list is a slip of ours and raises; a value beyond a label's bound is recorded as `other`.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from services.operations.metric import OTHER, Label, Metric, Process
from services.operations.metrics import BY_NAME, METRICS

Instrument = Counter | Gauge | Histogram
Families = Callable[[], Iterable[Family]]

MOST_AT_ZERO = 50
"""Series of one metric that are made before anything happened."""
FROM_COLLECTORS = (
    "longview_state_read",
    "longview_outbox_waiting_events",
    "longview_outbox_oldest_seconds",
    "longview_dead_letters_kept",
    "longview_reconcile_ended_timestamp_seconds",
    "longview_reconcile_flagged_items",
    "longview_reconcile_left_items",
    "longview_drift_alarms",
    "longview_inbox_open_results",
    "longview_inbox_oldest_unread_seconds",
    "longview_inbox_overdue_results",
    "longview_inbox_unheard_results",
)
"""Told by a collector at each scrape, so that they are absent rather than stale while the database is away."""


class Meter:
    """The metrics of one process, on a registry of their own."""

    def __init__(self, process: Process) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each first one, which nothing asks for
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._instruments = {
            metric.name: _instrument(metric, self._registry)
            for metric in METRICS
            if process in metric.processes and metric.name not in FROM_COLLECTORS
        }
        self._seen: dict[tuple[str, str], set[str]] = {}
        self._lock = threading.Lock()

    def page(self) -> bytes:
        """The Prometheus text format, version 0.0.4."""
        return generate_latest(self._registry)

    def collect_from(self, families: Families) -> None:
        """Ask `families` at each scrape as well."""
        self._registry.register(_Collected(families))

    def add(self, name: str, amount: float, labels: dict[str, str]) -> None:
        if isinstance(child := self._child(name, labels), Counter):
            child.inc(amount)

    def observe(self, name: str, value: float, labels: dict[str, str]) -> None:
        if isinstance(child := self._child(name, labels), Histogram):
            child.observe(value)

    def set(self, name: str, value: float, labels: dict[str, str]) -> None:
        if isinstance(child := self._child(name, labels), Gauge):
            child.set(value)

    def clear(self, name: str) -> None:
        """Forget every value of a gauge with labels."""
        if (instrument := self._instruments.get(name)) is not None:
            instrument.clear()

    def _child(self, name: str, labels: dict[str, str]) -> Instrument | None:
        instrument = self._instruments.get(name)
        if instrument is None:
            return None
        metric = BY_NAME[name]
        values = [self._bounded(name, label, labels[label.name]) for label in metric.labels]
        return instrument.labels(*values) if values else instrument

    def _bounded(self, name: str, label: Label, value: str) -> str:
        """A pattern bounds the look of a value, not how many there are: that is counted here."""
        bounded = label.bounded(value)
        if label.values:
            return bounded
        with self._lock:
            seen = self._seen.setdefault((name, label.name), set())
            if bounded not in seen and len(seen) >= label.most:
                return OTHER
            seen.add(bounded)
        return bounded


class _Collected(Collector):
    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families()

    def describe(self) -> Iterable[Family]:
        """Nothing: asking at registration would open connections."""
        return []


def _instrument(metric: Metric, registry: CollectorRegistry) -> Instrument:
    """With every value that is known beforehand at 0, so that the first event is seen as an increase and not as a new series."""
    names = [label.name for label in metric.labels]
    instrument: Instrument
    if metric.kind == "histogram":
        instrument = Histogram(metric.name, metric.meaning, names, registry=registry, buckets=metric.buckets)
    else:
        kind = Counter if metric.kind == "counter" else Gauge
        instrument = kind(metric.name, metric.meaning, names, registry=registry)
    known = list(itertools.product(*(label.values for label in metric.labels)))
    if metric.kind != "gauge" and metric.labels and len(known) <= MOST_AT_ZERO:
        for values in known:
            instrument.labels(*values)
    return instrument


# -- the meter of this process -----------------------------------------------------------------------------------------

_installed: list[Meter] = []


def install(meter: Meter | None) -> None:
    """From now on everything is recorded there; None: nowhere."""
    _installed[:] = [] if meter is None else [meter]


def count(name: str, amount: float = 1, **labels: str) -> None:
    """Add to a counter."""
    _check(name, "counter", labels)
    for meter in _installed:
        meter.add(name, amount, labels)


def observe(name: str, value: float, **labels: str) -> None:
    """One value of a histogram."""
    _check(name, "histogram", labels)
    for meter in _installed:
        meter.observe(name, value, labels)


def gauge(name: str, value: float, **labels: str) -> None:
    """What a gauge shows from now on."""
    _check(name, "gauge", labels)
    for meter in _installed:
        meter.set(name, value, labels)


def clear(name: str) -> None:
    """Forget every value of a gauge with labels, before it is set anew."""
    for meter in _installed:
        meter.clear(name)


@contextmanager
def timed(name: str, **labels: str) -> Iterator[None]:
    """Observe how many seconds the block took, however it ended."""
    start = time.monotonic()
    try:
        yield
    finally:
        observe(name, time.monotonic() - start, **labels)


def _check(name: str, kind: str, labels: dict[str, str]) -> None:
    metric = BY_NAME[name]
    if metric.kind != kind or labels.keys() != {label.name for label in metric.labels}:
        raise ValueError(f"{name} is a {metric.kind} with the labels {[label.name for label in metric.labels]}")
