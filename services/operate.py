"""What operators ask of a running system: runs, dead letters, reproduction, keys, definitions. Each opens what it needs and closes it again."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.bootstrap import archive, fhir, history_model, model, payload_keys
from services.settings import Settings

if TYPE_CHECKING:
    from schemas.reproduction import Reproduction
    from services.publish_definitions import PublishedDefinition


def list_runs(settings: Settings, *, failed: bool = False) -> list[dict[str, Any]]:
    """Rows for `longview runs`, newest first: keys and codes, no identifier of a patient."""
    from services.db import RunRecords, open_migrated

    database = open_migrated(settings.database)
    try:
        return [asdict(row) for row in RunRecords(database).list_runs(failed=failed)]
    finally:
        database.close()


def list_dead_letters(settings: Settings) -> list[dict[str, Any]]:
    """Rows for `longview dead-letters`, newest first: where each was and why it is here, never what it holds."""
    from services.db import DeadLetterRecords, open_migrated

    database = open_migrated(settings.database)
    shown = ("id", "reason", "code", "stage", "topic", "partition", "offset", "created_at", "replayed_at")
    try:
        rows = DeadLetterRecords(database).list_dead_letters()
        return [{name: getattr(row, name) for name in shown} for row in rows]
    finally:
        database.close()


def replay_dead_letter(settings: Settings, dead_letter: str) -> None:
    """Send a dead letter to its topic again, byte for byte; the event keeps its id, so that replaying twice reads once."""
    from services.clients.kafka import Producer
    from services.db import DeadLetterRecords, open_migrated
    from services.gateway.dead_letters import send_again
    from services.store import FolderObjectStore

    database = open_migrated(settings.database)
    producer = Producer(settings.require("kafka_bootstrap"))
    try:
        send_again(dead_letter, DeadLetterRecords(database), FolderObjectStore(settings.store), producer)
    finally:
        producer.close()
        database.close()


def reproduce_result(settings: Settings, result: str, *, ask: bool) -> Reproduction:
    """What became of a result's ingredients, and whether the model answers the same."""
    from services.reproduce import Reproducer
    from services.store import FolderObjectStore
    from workflows.timeline import build_timeline

    store = FolderObjectStore(settings.store)
    weighs = history_model(settings, store)
    with ExitStack() as open_clients:
        return Reproducer(
            settings.namespace,
            fhir=open_clients.enter_context(closing(fhir(settings))),
            archive=open_clients.enter_context(closing(archive(settings))),
            store=store,
            model=open_clients.enter_context(closing(model(settings, store))),
            history_model=open_clients.enter_context(closing(weighs)) if weighs else None,
            build=partial(build_timeline, site_zone=settings.zone),
        ).reproduce(result, ask=ask)


def list_keys(settings: Settings) -> list[dict[str, Any]]:
    """Rows for `longview keys list`, newest first."""
    ring, now = payload_keys(settings).current(), datetime.now(UTC)
    made = [(key.id, datetime.fromisoformat(key.created)) for key in reversed(ring.keys)]
    return [
        {
            "id": key_id,
            "created_at": created,
            "days": (now - created).days,
            "use": "encrypts" if key_id == ring.newest.id else "decrypts",
        }
        for key_id, created in made
    ]


def rotate_keys(settings: Settings) -> str:
    """Add a payload key; its id."""
    from services.clients.keyring import rotate

    return rotate(Path(settings.require("payload_key_file")), datetime.now(UTC)).id


def change_operators(settings: Settings, *, add: str = "", remove: str = "") -> str:
    """The new operator's token, or nothing where one was removed."""
    from services.codec.operators import add_operator, remove_operator

    if remove:
        remove_operator(settings.codec_operators, remove)
    return add_operator(settings.codec_operators, add, datetime.now(UTC)) if add else ""


def remove_key(settings: Settings, key_id: str) -> None:
    from services.clients.keyring import remove

    remove(Path(settings.require("payload_key_file")), key_id)


def publish_definitions(settings: Settings, *, dry_run: bool) -> list[PublishedDefinition]:
    from schemas.codes import Canonical
    from services.publish_definitions import publish

    with closing(fhir(settings)) as server:
        return publish(server, Canonical(settings.canonical_base), dry_run=dry_run)
