"""What an operator wants to know of the bus: topics, partitions and how far behind our consumer group is. Reads and changes nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from schemas.errors import PartUnavailable

TIMEOUT_MS = 10_000
CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class BusSeen:
    """`members` is None where the broker does not tell; `lag` counts the records of the inbound topics that the group has not committed."""

    partitions: dict[str, int]
    lacking_replicas: list[str]
    """Topics with a partition that has fewer replicas in sync than it ought to."""
    members: int | None
    lag: int


def look_at_bus(bootstrap: str, group: str, topics: Iterable[str], inbound: Iterable[str], **access: Any) -> BusSeen:
    """`PartUnavailable` (`kafka-unavailable`) if the brokers do not answer, or do not let us look."""
    servers = bootstrap.split(",")
    if not any(map(_listens, servers)):  # a client that never connects leaves its sockets to the garbage collector
        raise PartUnavailable(
            "kafka-unavailable", "no broker listens there: check LONGVIEW_KAFKA_BOOTSTRAP and the network."
        )
    try:
        admin = KafkaAdminClient(bootstrap_servers=servers, bootstrap_timeout_ms=TIMEOUT_MS, **access)
        try:
            known = {
                t["name"]: t["partitions"]
                for t in admin.describe_topics(sorted(set(topics) & set(admin.list_topics())))
            }
            mine = [TopicPartition(name, p["partition_index"]) for name in inbound for p in known.get(name, [])]
            committed = admin.list_group_offsets({group: mine})[group] if mine else {}
            return BusSeen(
                partitions={name: len(partitions) for name, partitions in known.items()},
                lacking_replicas=[name for name, parts in known.items() if any(map(_lacks_replicas, parts))],
                members=_members(admin, group),
                lag=_lag(servers, mine, committed, access),
            )
        finally:
            admin.close()
    except (KafkaError, OSError, ValueError) as error:
        raise PartUnavailable(
            "kafka-unavailable",
            f"the bus does not answer or refuses us ({type(error).__name__}): check LONGVIEW_KAFKA_BOOTSTRAP and the LONGVIEW_KAFKA_ settings.",
        ) from error


def _listens(server: str) -> bool:
    host, _, port = server.strip().rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _lacks_replicas(partition: dict[str, Any]) -> bool:
    return len(partition["isr_nodes"]) < len(partition["replica_nodes"])


def _members(admin: Any, group: str) -> int | None:
    with suppress(
        KafkaError, ValueError, KeyError, IndexError, TypeError
    ):  # tansu's answer cannot be read by kafka-python
        described = admin.describe_groups([group])
        [found] = described.values() if isinstance(described, dict) else described
        return len(found["members"])
    return None


def _lag(
    servers: list[str], partitions: list[TopicPartition], committed: dict[Any, Any], access: dict[str, Any]
) -> int:
    if not partitions:
        return 0
    consumer = KafkaConsumer(bootstrap_servers=servers, bootstrap_timeout_ms=TIMEOUT_MS, **access)
    try:
        first, last = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    finally:
        consumer.close()
    return sum(max(last[p] - max(committed[p].offset if p in committed else 0, first[p]), 0) for p in partitions)
