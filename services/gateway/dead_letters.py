"""Keeps what cannot be handled: the bytes in the object store, the reason in the database, an event on the topic's dead-letter topic."""

from __future__ import annotations

import orjson

from schemas.errors import InvalidEvent, PermanentFailure
from schemas.events import CloudEvent, dead_letter_topic
from services.clients.kafka import Producer, Record
from services.db import DeadLetterRecords, WaitingEvent
from services.store import FolderObjectStore

UNDECODABLE = "record-"
"""How the codes begin of records that could not be decoded (`services.clients.kafka_batches`)."""


class DeadLetterKeeper:
    """Every step may be repeated: the object by its content, the row and the event by the record's place and content."""

    def __init__(self, store: FolderObjectStore, records: DeadLetterRecords, producer: Producer) -> None:
        self._store = store
        self._records = records
        self._producer = producer

    def keep(self, record: Record, invalid: InvalidEvent, event: CloudEvent) -> None:
        """`TransientFailure` if the bus does not take the event: the record must come again."""
        digest = self._store.put(record.value or b"")
        self._records.add(
            event.id, record.topic, record.partition, record.offset, invalid, digest, record.key, record.headers
        )
        self._producer.send_event(dead_letter_topic(record.topic), event)

    def set_aside(self, row: WaitingEvent, invalid: InvalidEvent) -> None:
        """An event of ours that cannot be sent, by its place in the outbox; structured, so that it can be sent again once that is mended."""
        event = row.event
        digest = self._store.put(orjson.dumps(event.structured()))
        headers = [("content-type", b"application/cloudevents+json")]
        self._records.add(
            event.id, row.topic, 0, row.seq, invalid, digest, event.partitionkey.encode(), headers, stage="publish"
        )


def send_again(dead_letter: str, records: DeadLetterRecords, store: FolderObjectStore, producer: Producer) -> None:
    """Put a dead record back on its topic, byte for byte.

    `PermanentFailure` if there is none of this id, it was never decoded, or its bytes are gone.
    """
    row = records.get(dead_letter)
    if row.code.startswith(UNDECODABLE):
        raise PermanentFailure(
            "dead-letter-undecodable",
            "the record could not be decoded, so there is nothing to send again: ask its producer.",
        )
    value = None if row.code == "event-empty" else store.get(row.object_key)
    producer.send(row.topic, row.key, value, row.headers)
    records.mark_replayed(dead_letter)
