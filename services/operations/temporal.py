"""The metrics of Temporal's SDK on our own page: it is told to buffer them, and what the list names is carried over."""

from __future__ import annotations

import threading

from temporalio.runtime import (
    BufferedMetricUpdate,
    MetricBuffer,
    MetricBufferDurationFormat,
    Runtime,
    TelemetryConfig,
)

from services.operations.meter import count, gauge, observe
from services.operations.metrics import OF_TEMPORAL, Metric

BUFFER = 50_000
DRAIN_SECONDS = 5.0
ABSENT = "none"
"""Of a label that the SDK did not give."""

_SUFFIX = {"counter": "_total", "histogram": "_seconds", "gauge": ""}
_KEPT = {metric.name.removesuffix(_SUFFIX[metric.kind]): metric for metric in OF_TEMPORAL}


class SdkMetrics:
    """Becomes the default runtime of every Temporal client that is made afterwards; once a process."""

    def __init__(self) -> None:
        self._buffer = MetricBuffer(BUFFER, MetricBufferDurationFormat.SECONDS)
        Runtime.set_default(Runtime(telemetry=TelemetryConfig(metrics=self._buffer)))
        self._lock = threading.Lock()
        self._done = threading.Event()
        threading.Thread(target=self._keep_draining, name="temporal-metrics", daemon=True).start()

    def drain(self) -> None:
        """Carry over what has been buffered since the last time."""
        with self._lock:
            for update in self._buffer.retrieve_updates():
                if metric := _KEPT.get(update.metric.name):
                    _record(metric, update)

    def close(self) -> None:
        self._done.set()

    def _keep_draining(self) -> None:
        """A full buffer drops what comes, so it is emptied whether anybody scrapes or not."""
        while not self._done.wait(DRAIN_SECONDS):
            self.drain()


def _record(metric: Metric, update: BufferedMetricUpdate) -> None:
    labels = {label.name: str(update.attributes.get(label.name, ABSENT)) for label in metric.labels}
    if metric.kind == "counter":
        count(metric.name, update.value, **labels)
    elif metric.kind == "histogram":
        observe(metric.name, update.value, **labels)
    else:
        gauge(metric.name, update.value, **labels)
