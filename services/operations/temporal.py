"""The metrics of Temporal's SDK on our own page: it is told to buffer them, and what the list names is carried over."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from temporalio.runtime import (
    BufferedMetricUpdate,
    MetricBuffer,
    MetricBufferDurationFormat,
)

from services.operations.meter import count, gauge, observe
from services.operations.metric import Metric
from services.operations.metrics_of_others import OF_TEMPORAL

BUFFER = 50_000
DRAIN_SECONDS = 5.0
ABSENT = "none"
"""Of a label that the SDK did not give."""

_SUFFIX = {"counter": "_total", "histogram": "_seconds", "gauge": ""}
_KEPT = {metric.name.removesuffix(_SUFFIX[metric.kind]): metric for metric in OF_TEMPORAL}


_buffers: list[MetricBuffer] = []


def buffer_of_process() -> MetricBuffer | None:
    """What the SDK's runtime of this process is to record in (`services.clients.temporal`); None where nobody would empty it."""
    return _buffers[0] if _buffers else None


class SdkMetrics:
    """Once a process, before its first Temporal client is made: that one's runtime takes the buffer."""

    def __init__(self) -> None:
        self._buffer = MetricBuffer(BUFFER, MetricBufferDurationFormat.SECONDS)
        _buffers[:] = [self._buffer]
        self._lock = threading.Lock()
        threading.Thread(target=self._keep_draining, name="temporal-metrics", daemon=True).start()

    def drain(self) -> None:
        """Carry over what has been buffered since the last time."""
        with self._lock, suppress(RuntimeError):  # as long as there is no client, there is no runtime either
            for update in self._buffer.retrieve_updates():
                if metric := _KEPT.get(update.metric.name):
                    _record(metric, update)

    def _keep_draining(self) -> None:
        """A full buffer drops what comes, so it is emptied whether anybody scrapes or not."""
        while True:
            time.sleep(DRAIN_SECONDS)
            self.drain()


def _record(metric: Metric, update: BufferedMetricUpdate) -> None:
    labels = {label.name: str(update.attributes.get(label.name, ABSENT)) for label in metric.labels}
    if metric.kind == "counter":
        count(metric.name, update.value, **labels)
    elif metric.kind == "histogram":
        observe(metric.name, update.value, **labels)
    else:
        gauge(metric.name, update.value, **labels)
