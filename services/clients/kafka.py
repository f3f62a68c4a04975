"""Kafka: a consumer that commits only what it was told to, and a producer that waits for the broker's word."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, MessageSizeTooLargeError, TopicAlreadyExistsError
from kafka.structs import OffsetAndMetadata

from schemas.errors import PartUnavailable, PermanentFailure, TransientFailure
from schemas.events import CloudEvent, Headers, binary_form
from services.clients import kafka_batches

BOOTSTRAP_TIMEOUT_MS = 15_000
PROBE_MS = 5_000
SEND_SECONDS = 30
MOST_FAILURES = 3
"""Sends of a producer that may fail in a row before it is replaced."""
MOST_BETWEEN_POLLS_MS = 120_000
"""Then the broker gives a consumer's partitions to another: longer than a full window takes, and short enough when a consumer hangs."""
PARTITIONS = 4


@dataclass(frozen=True)
class KafkaAccess:
    """How the brokers are spoken to: `security` as LONGVIEW_KAFKA_SECURITY names it, with `tls` where it has ssl in it."""

    security: str = "plaintext"
    tls: ssl.SSLContext | None = None
    mechanism: str = "SCRAM-SHA-512"
    username: str = ""
    password: str = field(default="", repr=False)

    def options(self) -> dict[str, Any]:
        """For each client of kafka-python."""
        given: dict[str, Any] = {"security_protocol": self.security.upper()}
        if self.tls is not None:
            given |= {"ssl_context": self.tls}
        if self.security.startswith("sasl"):
            given |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": str(self.password),
            }
        return given


IN_THE_CLEAR = KafkaAccess()


@dataclass(frozen=True)
class Record:
    """One record of a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    timestamp_ms: int | None = None
    """When it was written, by its producer or the broker (Unix time)."""
    undecodable: str | None = None
    """Why it could not be decoded: then `value` is what there is of its bytes."""


@dataclass(frozen=True)
class Reach:
    """Of a partition: the offset of the next record to be fetched, and the end as the broker said with the last fetch."""

    position: int
    end: int


@dataclass(frozen=True)
class GroupLag:
    """Of a group: the records that nobody has committed, and what was committed (topic, partition, offset)."""

    unread: int
    committed: tuple[tuple[str, int, int], ...]


class Consumer:
    """A member of a consumer group with automatic commits off."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topics: Iterable[str],
        *,
        poll_records: int = 200,
        access: KafkaAccess = IN_THE_CLEAR,
    ) -> None:
        kafka_batches.install()
        self._topics = tuple(topics)
        self._pausing = False
        self._consumer = _connected(
            lambda: KafkaConsumer(
                *self._topics,
                bootstrap_servers=bootstrap.split(","),
                group_id=group,
                enable_auto_commit=False,
                isolation_level="read_committed",  # what a producer has taken back never happened
                auto_offset_reset="earliest",
                max_poll_records=poll_records,
                session_timeout_ms=10_000,
                heartbeat_interval_ms=3_000,
                max_poll_interval_ms=MOST_BETWEEN_POLLS_MS,
                bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
                **access.options(),
            )
        )

    def poll(self, timeout_ms: int = 500, without: Collection[str] = ()) -> list[Record]:
        """The next records, in order within each partition, of all topics but those `without`; none after `timeout_ms`.

        `TransientFailure` while the broker cannot be asked.
        """
        until = time.monotonic() + timeout_ms / 1000
        try:
            self._pause(without)
            polled = self._consumer.poll(timeout_ms=timeout_ms)
        except KafkaError as error:
            raise TransientFailure("kafka-poll", f"the broker gave no records ({type(error).__name__})") from error
        if (
            not polled
        ):  # while a broker hangs kafka-python does not wait: asked again at once, it takes a whole processor
            time.sleep(max(until - time.monotonic(), 0))
        return [_record(message) for messages in polled.values() for message in messages]

    def _pause(self, topics: Collection[str]) -> None:
        """Before each poll: a partition that comes to us anew is not paused."""
        if not topics and not self._pausing:
            return
        self._pausing = bool(topics)
        paused = self._consumer.paused()
        wanted = {place for place in self._consumer.assignment() if place.topic in topics}
        if wanted - paused:
            self._consumer.pause(*(wanted - paused))
        if paused - wanted:
            self._consumer.resume(*(paused - wanted))

    def reach(self) -> dict[tuple[str, int], Reach]:
        """How far each partition of ours has been fetched, where anything is known of it; asks the broker nothing. Not while `poll` runs.

        `TransientFailure` while the group's partitions change hands.
        """
        found = {}
        try:
            for partition in self._consumer.assignment():
                end = self._consumer.highwater(partition)
                position = None if end is None else self._consumer.position(partition, timeout_ms=0)
                if position is not None:
                    found[partition.topic, partition.partition] = Reach(position, end)
        except KafkaError as error:
            raise TransientFailure("kafka-group", "the group is being put together anew") from error
        return found

    def group_lag(self, without: Collection[str] = ()) -> GroupLag:
        """Where the whole group stands in all topics but those `without`, as the broker says. `TransientFailure` while it cannot be asked."""
        try:
            topics = sorted(set(self._topics) - set(without))
            places = [TopicPartition(t, p) for t in topics for p in self._consumer.partitions_for_topic(t) or ()]
            ends = self._consumer.end_offsets(places) if places else {}
            committed = {place: self._consumer.committed(place) or 0 for place in places}
        except KafkaError as error:
            raise TransientFailure("kafka-group", "the broker does not say where the group stands") from error
        unread = sum(max(ends[place] - committed[place], 0) for place in places)
        return GroupLag(unread, tuple(sorted((p.topic, p.partition, at) for p, at in committed.items())))

    def commit(self, handled: Iterable[Record]) -> None:
        """Commit behind the last handled record of each partition; `TransientFailure` if the group has moved on."""
        offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        for record in handled:
            offsets[TopicPartition(record.topic, record.partition)] = OffsetAndMetadata(record.offset + 1, "", -1)
        if not offsets:
            return
        try:
            self._consumer.commit(offsets)
        except KafkaError as error:
            raise TransientFailure(
                "kafka-commit", "the offsets were not committed; the records will come again"
            ) from error

    def rewind(self, records: Iterable[Record]) -> None:
        """Make the given records come again, each partition from its first one."""
        first: dict[TopicPartition, int] = {}
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            first[partition] = min(first.get(partition, record.offset), record.offset)
        assigned = self._consumer.assignment()
        for partition, offset in first.items():
            if partition in assigned:
                self._consumer.seek(partition, offset)

    def close(self) -> None:
        self._consumer.close(autocommit=False)


class Producer:
    """Idempotent, acks=all; every send waits until the broker has it. Any thread may send.

    A client that failed in a way of its own, or `MOST_FAILURES` times in a row, is left behind for a new one.
    """

    def __init__(self, bootstrap: str, access: KafkaAccess = IN_THE_CLEAR) -> None:
        self._connect: Callable[[], Any] = lambda: _connected(
            lambda: KafkaProducer(
                bootstrap_servers=bootstrap.split(","),
                acks="all",
                bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
                **access.options(),
            )
        )
        self._lock = threading.Lock()
        self._producer: Any = self._connect()
        self._failures = 0

    def send_event(self, topic: str, event: CloudEvent) -> None:
        key, headers, value = binary_form(event)
        self.send(topic, key, value, headers)

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Sending again is safe for consumers, who drop known event ids.

        `TransientFailure` if the broker did not take it in time; `PermanentFailure` (`kafka-too-large`) if it never will.
        """
        producer = self._present()
        try:
            producer.send(topic, key=key, value=value, headers=list(headers)).get(timeout=SEND_SECONDS)
        except MessageSizeTooLargeError as error:
            raise PermanentFailure("kafka-too-large", "a record is larger than the topic takes") from error
        except KafkaError as error:
            self._failed(producer, at_once=False)
            raise TransientFailure("kafka-send", "the broker did not take a record") from error
        except Exception as error:  # the client's own fault: its sending thread died, say
            self._failed(producer, at_once=True)
            raise TransientFailure("kafka-client", f"the client took no record ({type(error).__name__})") from error
        self._failures = 0

    def close(self) -> None:
        with self._lock:
            if self._producer is not None:
                self._producer.close(timeout=5)

    def _present(self) -> Any:
        with self._lock:
            if self._producer is None:
                try:
                    self._producer = self._connect()
                except PartUnavailable as away:
                    raise TransientFailure(away.code, "the broker does not answer") from away
            return self._producer

    def _failed(self, producer: Any, *, at_once: bool) -> None:
        with self._lock:
            self._failures += 1
            if self._producer is not producer or not (at_once or self._failures >= MOST_FAILURES):
                return
            self._producer, self._failures = None, 0
        producer.close(timeout=0)


class BrokerProbe:
    """Asks the brokers who they are, over a connection of its own: consumer and producer hide from their callers that nobody answers."""

    def __init__(self, bootstrap: str, access: KafkaAccess = IN_THE_CLEAR) -> None:
        self._bootstrap, self._access = bootstrap, access
        self._admin: Any = None

    def ask(self) -> None:
        """`PartUnavailable` if none answers in time; the next call connects anew."""
        if self._admin is None:
            self._admin = _connected(
                lambda: KafkaAdminClient(
                    bootstrap_servers=self._bootstrap.split(","),
                    bootstrap_timeout_ms=PROBE_MS,
                    request_timeout_ms=PROBE_MS,
                    **self._access.options(),
                )
            )
        try:
            self._admin.describe_cluster()
        except (KafkaError, OSError) as error:
            admin, self._admin = self._admin, None
            admin.close()
            raise PartUnavailable("kafka-unavailable", "Kafka does not answer.") from error


def ensure_topics(bootstrap: str, topics: Iterable[str], access: KafkaAccess = IN_THE_CLEAR) -> None:
    """Create the topics that are not there (embedded broker, tests; a hospital's broker is its own administrators')."""
    admin = _connected(
        lambda: KafkaAdminClient(
            bootstrap_servers=bootstrap.split(","), bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS, **access.options()
        )
    )
    try:
        known = set(admin.list_topics())
        for topic in _missing(topics, known):
            try:
                admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1)])
            except TopicAlreadyExistsError:
                continue  # another was faster
    finally:
        admin.close()


def _record(message: Any) -> Record:
    headers = list(message.headers)
    undecodable = kafka_batches.reason_of(headers)
    kept = [] if undecodable else headers
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        message.value,
        kept,
        message.timestamp,
        undecodable,
    )


def _missing(topics: Iterable[str], known: set[str]) -> Iterator[str]:
    return (topic for topic in topics if topic not in known)


def _connected(connect: Callable[[], Any]) -> Any:
    try:
        return connect()
    except (KafkaError, OSError) as error:
        raise PartUnavailable(
            "kafka-unavailable", "Kafka does not answer: check LONGVIEW_KAFKA_BOOTSTRAP, and LONGVIEW_KAFKA_SECURITY."
        ) from error
