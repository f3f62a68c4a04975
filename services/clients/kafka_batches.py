"""Batches of records as kafka-python reads them, with a place for each record that cannot be read.

kafka-python gives up a whole partition at the first record that it cannot decode: its consumer raises once and then returns nothing for ever, because
nobody tells it where to go on. Here such a record comes out like any other, empty but for its raw bytes and the reason, so that it becomes a dead
letter and what stands behind it is read. A batch whose bytes are damaged, or cannot be decompressed, comes out as one such record for each offset.

`install` puts the class in the place where kafka-python 3.0.12 looks it up: tests/contract/test_broker.py notices if another looks elsewhere.
"""

from __future__ import annotations

import logging
from typing import Any

from kafka import codec
from kafka.errors import KafkaError
from kafka.record import memory_records
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

from schemas.telemetry.fields import fields

log = logging.getLogger(__name__)


class Undecodable(bytes):
    """The value of the only header of a record that could not be decoded: the code of the reason."""


def reason_of(headers: list[tuple[str, bytes]]) -> str | None:
    """Why the record could not be decoded; None for every record that could."""
    return str(headers[0][1], "ascii") if len(headers) == 1 and isinstance(headers[0][1], Undecodable) else None


class ReadableBatch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch (Kafka's message format 2) of which every offset comes out."""

    _whole: str | None = None
    """Why none of its records can be read."""

    def validate_crc(self) -> bool:
        if not super().validate_crc():
            self._whole = "record-checksum"
        return True

    def __iter__(self) -> ReadableBatch:
        if self._whole is None:
            try:
                self._maybe_uncompress()
            except Exception as error:  # the codecs' own errors are of any class
                log.warning("bus-batch-unreadable", extra=fields(code=f"{type(error).__name__.lower()}"))
                self._whole = "record-compression"
        return self

    def __next__(self) -> Any:
        if self._whole is not None:
            return self._placeholder()
        try:
            return super().__next__()
        except KafkaError:
            if self._next_record_index >= self._num_records:
                raise StopIteration from None  # bytes behind the last record are nobody's
            return self._skipped()

    next = __next__

    def _placeholder(self) -> Any:
        index = self._next_record_index
        if index >= self._num_records:
            raise StopIteration
        self._next_record_index += 1
        last = index == self._num_records - 1
        return self._record(self.last_offset if last else self.base_offset + index, b"", str(self._whole))

    def _skipped(self) -> Any:
        """The record at hand by its length alone; where even that is no number, it and the rest of the batch."""
        try:
            length, start = decode_varint(self._buffer, self._pos)
            end = start + length
            if length < 0 or end > len(self._buffer):
                raise IndexError
            _, at = decode_varint(self._buffer, start)
            _, at = decode_varint(self._buffer, at)
            delta, _ = decode_varint(self._buffer, at)
        except (IndexError, ValueError):
            self._whole = "record-structure"
            return self._placeholder()
        raw = bytes(self._buffer[start:end])
        self._pos: int = end
        self._next_record_index += 1
        return self._record(self.base_offset + delta, raw, "record-structure")

    def _record(self, offset: int, raw: bytes, code: str) -> Any:
        headers = [("", Undecodable(code.encode()))]
        return DefaultRecord(len(raw), offset, self.first_timestamp, self.timestamp_type, None, raw, headers)


def codecs() -> dict[str, bool]:
    """Whether each compression of Kafka can be read here."""
    return {"gzip": codec.has_gzip(), "snappy": codec.has_snappy(), "lz4": codec.has_lz4(), "zstd": codec.has_zstd()}


def install() -> None:
    """For every consumer of this process."""
    memory_records.DefaultRecordBatch = ReadableBatch
