"""The bus: topics, replicas, our consumer group."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.events import INBOUND_TOPICS, OUTBOUND_TOPICS, dead_letter_topic
from services.adapters import GATEWAY_GROUP, kafka_access
from services.parts.doctor import Check
from services.settings import Settings

MOST_LAG = 10_000
"""Records: at the speed of the gateway's benchmark a minute's work."""


def look(settings: Settings) -> Iterator[Check]:
    from services.clients.kafka_view import look_at_bus

    topics = (*INBOUND_TOPICS, *OUTBOUND_TOPICS, *map(dead_letter_topic, INBOUND_TOPICS))
    access = kafka_access(settings).options()
    seen = look_at_bus(settings.require("kafka_bootstrap"), GATEWAY_GROUP, topics, INBOUND_TOPICS, **access)
    missing = [topic for topic in topics if topic not in seen.partitions]
    yield Check(
        "bus topics",
        f"{len(seen.partitions)} of {len(topics)}, {sum(seen.partitions.values())} partitions",
        f"these topics are missing or hidden from us: {', '.join(missing)}: create them, or let us see them."
        if missing
        else "",
    )
    if seen.lacking_replicas:
        mend = f"replicas are out of step: {', '.join(seen.lacking_replicas)}: look at the brokers."
        yield Check("bus replicas", f"{len(seen.lacking_replicas)} topics", mend)
    nobody = "no gateway reads the bus: start one, and look at its log."
    yield Check(
        "bus readers",
        "not told by this broker" if seen.members is None else f"{seen.members} gateways",
        nobody if seen.members == 0 else "",
    )
    behind = f"the gateway is {seen.lag} records behind: start more of them, up to the number of partitions."
    yield Check("bus lag", f"{seen.lag} records", behind if seen.lag > MOST_LAG else "")
