"""The age of the key that encrypts Temporal's payloads, and how many are kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from services.clients.keyring import KeySource
from services.operations.meter import gauge


def age_of_keys(keys: KeySource) -> Callable[[], None]:
    """Sets their gauges each time it is called; the file is read again when it has changed."""

    def look() -> None:
        ring = keys.current()
        created = datetime.fromisoformat(ring.newest.created).timestamp()
        gauge("longview_payload_key_created_timestamp_seconds", created)
        gauge("longview_payload_keys", len(ring.keys))

    return look
