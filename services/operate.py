"""What operators ask of a running system: runs, dead letters, reproduction, keys, definitions. Each opens what it needs and closes it again."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.adapters import archive, fhir, history_model, kafka_access, model, payload_keys, temporal
from services.settings import Settings

if TYPE_CHECKING:
    from schemas.reproduction import Reproduction
    from services.clients.key_use import KeyUse
    from services.publish_definitions import PublishedDefinition


def list_runs(settings: Settings, *, failed: bool = False, study: str = "") -> list[dict[str, Any]]:
    """Rows for `longview runs`, newest first: keys and codes, no identifier of a patient.

    `study`: only its runs, by StudyInstanceUID or accession number; then each row tells what became of the study's series (`series`).
    """
    from services.db import RunRecords, open_migrated

    database = open_migrated(settings.database)
    try:
        records = RunRecords(database)
        if not study:
            return [asdict(row) for row in records.list_runs(failed=failed)]
        rows = records.list_runs(
            failed=failed, study_keys=records.find_studies(study, settings.namespace.study_key(study))
        )
        return [asdict(row) | {"series": [each.shown() for each in records.account_of(row.run_id)]} for row in rows]
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
    producer = Producer(settings.require("kafka_bootstrap"), kafka_access(settings))
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
    from services.clients.key_use import use_of

    ring, now = payload_keys(settings).current(), datetime.now(UTC)
    return [
        {
            "id": key.id,
            "created_at": datetime.fromisoformat(key.created),
            "days": (now - datetime.fromisoformat(key.created)).days,
            "use": use_of(ring, key.id, now),
            "from_at": key.encrypts_from,
        }
        for key in reversed(ring.keys)
    ]


def rotate_keys(settings: Settings, minutes: int, *, in_place: bool) -> tuple[str, bytes]:
    """Add a payload key that encrypts in so many minutes, to the file (`in_place`) or not; its id, and the new file."""
    from services.clients.keyring import ring_bytes, rotate, rotated

    use_in, now = timedelta(minutes=minutes), datetime.now(UTC)
    if in_place:
        key = rotate(Path(settings.require("payload_key_file")), now, use_in)
        return key.id, b""
    ring = rotated(payload_keys(settings).current(), now, use_in)
    return ring.newest.id, ring_bytes(ring)


def check_keys(settings: Settings) -> list[dict[str, Any]]:
    """Rows for `longview keys check`, newest first."""
    from services.clients.key_use import key_use

    async def asked() -> list[KeyUse]:
        return await key_use(await temporal(settings), payload_keys(settings).current(), datetime.now(UTC))

    return [asdict(use) | {"removable": use.removable, "verdict": _verdict(use)} for use in asyncio.run(asked())]


def _verdict(use: KeyUse) -> str:
    if use.use != "decrypts":
        return "in use" if use.use == "encrypts" else "not yet in use"
    if use.removable:
        return "may be removed"
    if use.schedules:
        return "needed: run 'longview schedules', which encrypts them anew"
    if use.open:
        return "needed: open runs began under it"
    return f"needed: closed runs stay for {use.retention_days:g} days after their end"


def change_operators(settings: Settings, *, add: str = "", remove: str = "") -> str:
    """The new operator's token, or nothing where one was removed."""
    from services.codec.operators import add_operator, remove_operator

    if remove:
        remove_operator(settings.codec_operators, remove)
    return add_operator(settings.codec_operators, add, datetime.now(UTC)) if add else ""


def remove_key(settings: Settings, key_id: str, *, in_place: bool) -> bytes:
    """Take a payload key away, from the file (`in_place`) or not; else the new file."""
    from services.clients.keyring import remove, ring_bytes, without

    if in_place:
        remove(Path(settings.require("payload_key_file")), key_id)
        return b""
    return ring_bytes(without(payload_keys(settings).current(), key_id, datetime.now(UTC)))


def publish_definitions(settings: Settings, *, dry_run: bool) -> list[PublishedDefinition]:
    from schemas.codes import Canonical
    from services.publish_definitions import publish

    with closing(fhir(settings)) as server:
        return publish(server, Canonical(settings.canonical_base), dry_run=dry_run)
