"""What kafka-python does when a broker hangs, and what the gateway is spared of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from services.clients import kafka


class Hanging:
    """As kafka-python's consumer behaves whose group is complete and whose broker has stopped: it comes back at once, with nothing."""

    def __init__(self, *topics: str, **options: Any) -> None:
        self.polled = 0

    def poll(self, timeout_ms: int) -> dict[Any, Any]:
        self.polled += 1
        return {}


def test_a_gateway_does_not_spin_while_its_broker_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took a whole processor of a node until the broker came back."""
    monkeypatch.setattr(kafka, "KafkaConsumer", Hanging)
    consumer = kafka.Consumer("nowhere:9092", "gateway", ["topic"])
    began = time.monotonic()
    assert consumer.poll(timeout_ms=50) == []
    assert time.monotonic() - began >= 0.05
