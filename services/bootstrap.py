"""The composition root: the one place where adapters are chosen and wired, and where our three processes begin.

A process imports what it wires only when it starts: a gateway needs neither Litestar nor pydicom, an inbox no Kafka client.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import signal
import sys
import warnings
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from schemas.errors import PartUnavailable
from services.settings import Settings

if TYPE_CHECKING:
    from temporalio.client import Client

    from schemas.reproduction import Reproduction
    from services.clients.dicomweb import DicomWebArchive
    from services.clients.fhir import FhirClient
    from services.clients.keyring import KeyFile
    from services.clients.model import VllmModel
    from services.publish_definitions import PublishedDefinition
    from services.store import FolderObjectStore
    from workflows.report_study.assembly import Site

GATEWAY_GROUP = "longview-gateway"
NOISY_LOGGERS = ("httpx", "httpcore", "urllib3", "dicomweb_client", "kafka", "pydicom", "uvicorn", "alembic")
"""Libraries that would log URLs or values, and with them identifiers of patients."""

Ready = Callable[[], None]
Process = Callable[[Settings, asyncio.Event, Ready], Awaitable[None]]


# -- processes ---------------------------------------------------------------------------------------------------------


def run_process(process: Process, settings: Settings) -> None:
    """Run one of the processes below until SIGTERM or SIGINT. `PartUnavailable` says what it could not reach."""
    configure_logging()
    asyncio.run(_until_told(process, settings))


async def _until_told(process: Process, settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await process(settings, stop, lambda: _say_ready(settings.ready_file))


async def gateway(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """Events from the bus to Temporal, and the outbox to the bus."""
    from schemas.events import INBOUND_TOPICS
    from services.clients.kafka import Consumer, Producer
    from services.db import DeadLetterRecords, OutboxRecords, open_migrated
    from services.gateway.dead_letters import DeadLetterKeeper
    from services.gateway.intake import Intake
    from services.gateway.relay import Relay
    from services.gateway.service import consume, publish
    from services.store import FolderObjectStore

    database = open_migrated(settings.database)
    client, bootstrap = await temporal(settings), settings.require("kafka_bootstrap")
    producer = await asyncio.to_thread(Producer, bootstrap)
    consumer = await asyncio.to_thread(Consumer, bootstrap, GATEWAY_GROUP, INBOUND_TOPICS)
    keeper = DeadLetterKeeper(FolderObjectStore(settings.store), DeadLetterRecords(database), producer)
    intake = Intake(client, settings.namespace, settings.task_queue, settings.event_source, keeper)
    ready()
    try:
        await asyncio.gather(consume(consumer, intake, stop), publish(Relay(OutboxRecords(database), producer), stop))
    finally:
        consumer.close()
        producer.close()
        database.close()


async def worker(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """Workflows and their activities."""
    from services.clients.patient_memory import TemporalPatientMemory
    from services.clients.pixel_text import OcrTextInPixels
    from services.db import BuildRecords, InboxRecords, RunRecords, open_migrated
    from services.oversight import ensure_schedule, oversight_activities
    from services.store import FolderObjectStore
    from services.worker.background import run_background
    from services.worker.deployment import deployment_version
    from services.worker.service import run_worker
    from workflows.report_study.activities import ReportStudyActivities
    from workflows.report_study.lifecycle import LifecycleActivities
    from workflows.report_study.records import RecordActivities

    database = open_migrated(settings.database)
    client, store = await temporal(settings), FolderObjectStore(settings.store)
    here, server = site(settings), fhir(settings)
    runs, entries, builds = RunRecords(database), InboxRecords(database), BuildRecords(database)
    reading = ReportStudyActivities(
        here,
        fhir=server,
        archive=archive(settings),
        model=model(settings, store),
        store=store,
        memory=TemporalPatientMemory(client, asyncio.get_running_loop()),
        runs=runs,
        inbox=entries,
        builds=builds,
        text_in_pixels=OcrTextInPixels(),
    )
    records = RecordActivities(here, fhir=server, runs=runs, inbox=entries, builds=builds)
    lifecycle = LifecycleActivities(here, fhir=server, store=store, inbox=entries)
    reconcile, shadow = oversight_activities(settings, database, client, store)
    await ensure_schedule(client, settings)
    name, current = settings.worker_deployment, settings.worker_current == "on"
    version = deployment_version(name, settings.worker_build_id) if name else None
    activities = [*reading.all(), *records.all(), *lifecycle.all(), shadow.plan_shadow]
    try:
        async with run_background(client, settings.task_queue, reconcile, shadow, reading.create_inbox_entry):
            await run_worker(client, settings.task_queue, activities, stop, ready, version, current=current)
    finally:
        database.close()


async def inbox(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """The clinicians' page."""
    from services.clients.reviews import TemporalReviewer
    from services.db import InboxReader, open_migrated
    from services.inbox.app import create_app
    from services.inbox.deps import LOOPBACK_HOSTS, InboxDeps
    from services.inbox.service import serve
    from services.store import FolderObjectStore

    database = open_migrated(settings.database)
    public = urlsplit(settings.inbox_url)
    deps = InboxDeps(
        reader=InboxReader(database),
        objects=FolderObjectStore(settings.store),
        reviewer=TemporalReviewer(await temporal(settings)),
        csrf_secret=hmac.digest(
            payload_keys(settings).current().oldest.secret, b"longview inbox forms", "sha256"
        ).hex(),
        allowed_hosts=(*LOOPBACK_HOSTS, settings.inbox_host, *filter(None, [public.hostname])),
        secure_cookies=public.scheme == "https",
    )
    try:
        await serve(create_app(deps), settings.inbox_host, int(settings.inbox_port), stop, ready)
    finally:
        database.close()


async def codec(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """What operators see payloads with; refuses to start while nobody may log in."""
    from services.clients.payloads import EncryptionCodec, ObjectStoreDriver
    from services.codec.app import CodecDeps, create_app
    from services.codec.login import Brake, Login
    from services.codec.operators import read_operators
    from services.codec.service import serve
    from services.store import FolderObjectStore

    if not read_operators(settings.codec_operators).operators:
        raise PartUnavailable(
            "codec-operators", "nobody may log in to the codec server: add one with 'longview codec --add-user NAME'."
        )
    deps = CodecDeps(
        codec=EncryptionCodec(payload_keys(settings)),
        storage=ObjectStoreDriver(FolderObjectStore(settings.store)),
        login=Login(settings.codec_operators, Brake()),
        origin=settings.codec_ui_origin,
    )
    await serve(create_app(deps), settings.codec_host, int(settings.codec_port), stop, ready)


def _say_ready(path: str) -> None:
    """The ready file, which the launcher and a probe of Kubernetes look for."""
    if path:
        Path(path).write_text(f"{os.getpid()}\n")


def configure_logging() -> None:
    """One line an event on standard error; libraries that log addresses or values are held to errors."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pydicom")  # its warnings repeat values of elements


# -- adapters ----------------------------------------------------------------------------------------------------------


async def temporal(settings: Settings) -> Client:
    from services.clients.temporal import connect
    from services.store import FolderObjectStore

    return await connect(
        settings.require("temporal_address"),
        settings.temporal_namespace,
        payload_keys(settings),
        FolderObjectStore(settings.store),
        int(settings.payload_store_bytes),
    )


def payload_keys(settings: Settings) -> KeyFile:
    from services.clients.keyring import KeyFile

    return KeyFile(Path(settings.require("payload_key_file")))


def fhir(settings: Settings) -> FhirClient:
    from services.clients.fhir import FhirClient

    return FhirClient(settings.require("fhir_url"), token=settings.fhir_token)


def publish_definitions(settings: Settings, *, dry_run: bool) -> list[PublishedDefinition]:
    from schemas.codes import Canonical
    from services.publish_definitions import publish

    with closing(fhir(settings)) as server:
        return publish(server, Canonical(settings.canonical_base), dry_run=dry_run)


def archive(settings: Settings) -> DicomWebArchive:
    from services.clients.dicomweb import DicomWebArchive

    return DicomWebArchive(settings.require("dicomweb_url"), token=settings.dicomweb_token)


def model(settings: Settings, store: FolderObjectStore) -> VllmModel:
    from services.clients.model import VllmModel

    release = Path(settings.require("model_release"))
    return VllmModel(
        settings.require("model_url"), release, store.path, media=settings.media, token=settings.model_token
    )


def site(settings: Settings) -> Site:
    from services.escalation import escalation_policies
    from workflows.report_study.assembly import Site

    return Site(
        namespace=settings.namespace,
        event_source=settings.event_source,
        organization=settings.organization,
        review_role=settings.review_role,
        acknowledge_within=timedelta(minutes=int(settings.acknowledge_minutes)),
        dicomweb_public_url=settings.dicomweb_public_url or settings.require("dicomweb_url"),
        conclusion_codes=settings.conclusion_codes == "on",
        escalation=escalation_policies(settings),
        time_zone=settings.zone,
    )


# -- what operators ask ------------------------------------------------------------------------------------------------


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
    with ExitStack() as open_clients:
        return Reproducer(
            settings.namespace,
            fhir=open_clients.enter_context(closing(fhir(settings))),
            archive=open_clients.enter_context(closing(archive(settings))),
            store=store,
            model=open_clients.enter_context(closing(model(settings, store))),
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
