"""What kafka-python does with a broker that hangs and with records that nobody can read, and what the gateway is spared of it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder

from services.clients import kafka
from services.clients.kafka_batches import ReadableBatch, reason_of


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


# -- records that cannot be read -----------------------------------------------------------------------------------------------

SNAPPY, LZ4, ZSTD = 2, 3, 4


class Raw(str):
    """A header's name in bytes that are no UTF-8, as librdkafka lets a producer write it."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"trace\xff\xfe"


def batch(values: list[bytes], broken: int | None = None, codec: int = 0) -> bytearray:
    """As a producer writes it; record `broken` has a header whose name is no UTF-8."""
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 20)
    for k, value in enumerate(values):
        headers = [(Raw("x"), b"1")] if k == broken else [("ce_id", b"%d" % k)]
        builder.append(k, 1000, b"key", value, headers)
    return bytearray(builder.build())


def read(data: bytearray) -> list[tuple[int, bytes | None, str | None]]:
    records = ReadableBatch(data)
    records.validate_crc()
    return [(one.offset, one.value, reason_of(one.headers)) for one in records]


@given(values=st.lists(st.binary(max_size=40), min_size=1, max_size=8), data=st.data())
def test_what_stands_before_and_behind_an_unreadable_record_is_read(values: list[bytes], data: st.DataObject) -> None:
    broken = data.draw(st.integers(0, len(values) - 1))
    found = read(batch(values, broken))
    assert [offset for offset, _, _ in found] == list(range(len(values)))
    assert [value for k, (_, value, _) in enumerate(found) if k != broken] == values[:broken] + values[broken + 1 :]
    assert [code for _, _, code in found] == ["record-structure" if k == broken else None for k in range(len(values))]
    assert values[broken] in (found[broken][1] or b""), "its bytes are kept"


@pytest.mark.parametrize("codec", [SNAPPY, LZ4, ZSTD])
def test_a_batch_that_cannot_be_decompressed_is_named_record_by_record(codec: int) -> None:
    data = batch([b"one", b"two", b"three"], codec=codec)
    data[61:66] = b"\xff" * 5
    data[17:21] = crc(data).to_bytes(4, "big")
    found = read(data)
    assert [(offset, value) for offset, value, _ in found] == [(0, b""), (1, b""), (2, b"")]
    assert {code for _, _, code in found} <= {"record-compression", "record-structure"}


def test_a_batch_whose_bytes_are_damaged_is_not_trusted() -> None:
    data = batch([b"one", b"two"])
    data[-1] ^= 0xFF
    assert read(data) == [(0, b"", "record-checksum"), (1, b"", "record-checksum")]


@given(st.binary(max_size=60), st.integers(61, 90))
def test_whatever_stands_in_a_batch_every_offset_comes_out_once(noise: bytes, at: int) -> None:
    data = batch([b"one", b"two", b"three"])
    data[at : at + len(noise)] = noise
    data[8:12] = (len(data) - 12).to_bytes(4, "big")
    data[17:21] = crc(data).to_bytes(4, "big")
    assert len(read(data)) == 3


def crc(data: bytearray) -> int:
    from kafka.record.util import calc_crc32c

    return int(calc_crc32c(memoryview(data)[21:]))
