"""The composition root: where our processes begin. `services.adapters` is its other half: how each adapter is made from the settings.

A process imports what it wires only when it starts: a gateway needs neither Litestar nor pydicom, an inbox no Kafka client.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from schemas.errors import PartUnavailable
from schemas.telemetry.fields import fields
from services.adapters import (
    GATEWAY_GROUP,
    archive,
    audit_delivery,
    checked_fhir,
    derived_secret,
    history_model,
    kafka_access,
    logins,
    model,
    oversight_activities,
    payload_keys,
    site,
    smart_tokens,
    temporal,
    temporal_answers,
)
from services.renewal import ending_when_replaced
from services.settings import Settings
from services.telemetry.process import configure_logging, traced

if TYPE_CHECKING:
    from temporalio.client import Client

    from services.db import Database
    from services.operations.metric import Process as ProcessName
    from services.operations.process import Operations

log = logging.getLogger(__name__)
GRACE_IS_OVER = 75
"""Exit status of a process that had to be cut off (EX_TEMPFAIL)."""

ENDING_SECONDS = 2.0
"""Of a worker's grace period, for what comes after its activities."""

Process = Callable[[Settings, asyncio.Event, "Operations"], Awaitable[None]]


def run_process(process: Process, settings: Settings) -> None:
    """Run one of the processes below until SIGTERM or SIGINT. `PartUnavailable` says what it could not reach."""
    configure_logging(settings.log_format)
    with traced(settings, process.__name__):
        asyncio.run(_until_told(process, settings))


async def _until_told(process: Process, settings: Settings) -> None:
    """The port of the probes is open before anything else is begun, and `/ready` says no from the moment of the signal."""
    from services.operations.process import Operations

    stop, operations = asyncio.Event(), Operations(cast("ProcessName", process.__name__), settings)

    def told() -> None:
        if not stop.is_set():
            end_within(float(settings.grace_seconds))
        operations.vitals.stop()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    with operations.serving():
        async with ending_when_replaced(settings, told):
            await process(settings, stop, operations)


def end_within(seconds: float) -> None:
    """Whatever hangs by then, the process ends: what it had under way comes again. No handler and no thread is waited for."""

    def end() -> None:
        log.error("ended-in-the-middle", extra=fields(seconds=seconds))
        logging.shutdown()
        os._exit(GRACE_IS_OVER)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


async def gateway(settings: Settings, stop: asyncio.Event, operations: Operations) -> None:
    """Events from the bus to Temporal, and the outbox to the bus."""
    from schemas.events import INBOUND_TOPICS
    from services.clients.kafka import BrokerProbe, Consumer, Producer
    from services.db import DeadLetterRecords, Lease, OutboxRecords, open_migrated
    from services.db.state import StateReader
    from services.gateway.blocking import BlockingCalls
    from services.gateway.cap import DeadLetterCap, Limits
    from services.gateway.dead_letters import DeadLetterKeeper
    from services.gateway.intake import Intake
    from services.gateway.relay import Relay
    from services.gateway.service import consume, publish
    from services.gateway.supervisor import keep_going
    from services.operations.database_state import of_gateway
    from services.operations.vitals import Beat
    from services.store import FolderObjectStore

    operations.measure_temporal()
    database = open_migrated(settings.database)
    client, bootstrap = await temporal(settings), settings.require("kafka_bootstrap")
    access = kafka_access(settings)
    probe = BrokerProbe(bootstrap, access)
    await asyncio.to_thread(probe.ask)
    producer = await asyncio.to_thread(Producer, bootstrap, access)
    keeper = DeadLetterKeeper(FolderObjectStore(settings.store), DeadLetterRecords(database), producer)
    cap = DeadLetterCap(Limits(int(settings.dead_letter_cap), int(settings.dead_letter_share) / 100))
    intake = Intake(client, settings.namespace, settings.task_queue, settings.event_source, keeper, cap)

    async def consuming(beat: Beat) -> None:
        calls = BlockingCalls(2)
        consumer = await calls.run(lambda: Consumer(bootstrap, GATEWAY_GROUP, INBOUND_TOPICS, access=access))
        try:
            await consume(consumer, intake, stop, beat)
        finally:
            await calls.run(consumer.close)

    async def publishing(beat: Beat) -> None:
        await publish(Relay(OutboxRecords(database), Lease(database, "outbox"), producer, keeper), stop, beat)

    watch(operations, settings, database, client)
    operations.tell_state(of_gateway(StateReader(database)))
    operations.needs("bus", probe.ask)
    operations.ready()
    vitals = operations.vitals
    try:
        await asyncio.gather(
            keep_going("consume", consuming, stop, vitals, operations.loop("consume")),
            keep_going("publish", publishing, stop, vitals, operations.loop("publish")),
        )
    finally:
        producer.close()
        database.close()


async def worker(settings: Settings, stop: asyncio.Event, operations: Operations) -> None:
    """Workflows and their activities, on the task queues that LONGVIEW_WORKER_QUEUES names."""
    from services.clients.patient_memory import TemporalPatientMemory
    from services.clients.pdf_process import PdfInItsOwnProcess
    from services.clients.pixel_text import OcrTextInPixels
    from services.db import BuildRecords, InboxRecords, RunRecords, open_migrated
    from services.db.state import StateReader
    from services.operations.database_state import of_worker
    from services.operations.keys import age_of_keys
    from services.operations.meter import gauge
    from services.series_table import series_table
    from services.store import FolderObjectStore
    from services.worker.audit_delivery import STALLED_SECONDS, delivering
    from services.worker.background import run_background
    from services.worker.deployment import deployment_version
    from services.worker.schedule import ensure_schedule
    from services.worker.service import run_worker
    from workflows.report_study.activities import ReportStudyActivities
    from workflows.report_study.lifecycle import LifecycleActivities
    from workflows.report_study.records import RecordActivities
    from workflows.report_study.unread import UnreadActivities

    operations.measure_temporal()
    database = open_migrated(settings.database)
    if (tokens := smart_tokens(settings)) is not None:
        with closing(tokens):
            await asyncio.to_thread(tokens.require)
    client, store = await temporal(settings), FolderObjectStore(settings.store)
    here, server = site(settings), checked_fhir(settings)
    runs, entries, builds = RunRecords(database), InboxRecords(database), BuildRecords(database)
    reading_model = model(settings, store)
    reading = ReportStudyActivities(
        here,
        fhir=server,
        archive=archive(settings),
        model=reading_model,
        history_model=history_model(settings, store),
        store=store,
        memory=TemporalPatientMemory(client, asyncio.get_running_loop()),
        runs=runs,
        inbox=entries,
        builds=builds,
        text_in_pixels=OcrTextInPixels(),
        decode_pdf=PdfInItsOwnProcess(),
        series_table=series_table(settings),
    )
    records = RecordActivities(here, fhir=server, runs=runs, inbox=entries, builds=builds)
    lifecycle = LifecycleActivities(here, fhir=server, store=store, inbox=entries)
    reconcile, shadow = oversight_activities(settings, database, client, store)
    watch(operations, settings, database, client)
    operations.tell_state(of_worker(StateReader(database)))
    operations.before_page(age_of_keys(payload_keys(settings)))
    gauge("longview_reconcile_every_seconds", int(settings.reconcile_minutes) * 60)
    if settings.worker_queues == "all":  # elsewhere 'longview schedules' does it once
        await ensure_schedule(client, settings)
    name, current = settings.worker_deployment, settings.worker_current == "on"
    version = deployment_version(name, settings.worker_build_id) if name else None
    unread = UnreadActivities(here, fhir=server, inbox=entries, store=store, model=reading_model)
    activities = [*reading.all(), *records.all(), *lifecycle.all(), *unread.all(), shadow.plan_shadow]
    queue, served = settings.task_queue, settings.worker_queues
    grace = _worker_grace(settings)
    background = run_background(client, queue, reconcile, shadow, reading.create_inbox_entry, version, grace)
    audit = audit_delivery(settings, database) if served != "reading" else None
    try:
        async with (
            delivering(audit, operations.vitals.loop("audit", STALLED_SECONDS)) if audit else nullcontext(),
            background if served in ("all", "background") else nullcontext(),
        ):
            if served == "background":
                operations.ready()
                await stop.wait()
            else:
                await run_worker(
                    client, queue, activities, stop, operations.ready, version, current=current, grace=grace
                )
    finally:
        database.close()


def _worker_grace(settings: Settings) -> timedelta:
    """What activities have to end; where both queues are served, they end one after the other."""
    left = max(float(settings.grace_seconds) - ENDING_SECONDS, 1.0)
    return timedelta(seconds=left / 2 if settings.worker_queues == "all" else left)


async def inbox(settings: Settings, stop: asyncio.Event, operations: Operations) -> None:
    """The clinicians' page."""
    from services.clients.reviews import TemporalReviewer
    from services.db import AuditTrail, InboxReader, open_migrated
    from services.db.state import StateReader
    from services.http_server import listen, serve
    from services.inbox.access import refuse_open_inbox
    from services.inbox.app import create_app
    from services.inbox.deps import LOOPBACK_HOSTS, InboxDeps
    from services.operations.database_state import of_inbox
    from services.store import FolderObjectStore

    refuse_open_inbox(settings)
    operations.measure_temporal()
    database = open_migrated(settings.database)
    public, temporal_client = urlsplit(settings.inbox_url), await temporal(settings)
    deps = InboxDeps(
        reader=InboxReader(database),
        trail=AuditTrail(database),
        objects=FolderObjectStore(settings.store),
        reviewer=TemporalReviewer(temporal_client, settings.task_queue),
        csrf_secret=derived_secret(settings, b"longview inbox forms").hex(),
        logins=logins(settings, database) if settings.inbox_login == "oidc" else None,
        allowed_hosts=(*LOOPBACK_HOSTS, settings.inbox_host, *filter(None, [public.hostname])),
        secure_cookies=public.scheme == "https",
        feed_beat=operations.loop("feed"),
    )
    app = create_app(deps)
    watch(operations, settings, database, temporal_client)
    operations.tell_state(of_inbox(StateReader(database)))
    try:
        listener = listen(settings.inbox_host, int(settings.inbox_port), "inbox", "LONGVIEW_INBOX_HOST")
        await serve(app, listener, stop, operations.ready, app.state.feed.close, proxies=settings.proxies)
    finally:
        if deps.logins is not None:
            await deps.logins.close()
        database.close()


async def codec(settings: Settings, stop: asyncio.Event, operations: Operations) -> None:
    """What operators see payloads with; refuses to start while nobody may log in."""
    from services.clients.payloads import EncryptionCodec, ObjectStoreDriver
    from services.codec.app import CodecDeps, create_app
    from services.codec.login import Brake, Login
    from services.codec.operators import read_operators
    from services.db import AuditTrail, open_migrated
    from services.http_server import listen, serve
    from services.store import FolderObjectStore

    if not read_operators(settings.codec_operators).operators:
        raise PartUnavailable(
            "codec-operators", "nobody may log in to the codec server: add one with 'longview codec --add-user NAME'."
        )
    database = open_migrated(settings.database)
    keys, store = payload_keys(settings), FolderObjectStore(settings.store)
    deps = CodecDeps(
        trail=AuditTrail(database),
        codec=EncryptionCodec(keys),
        storage=ObjectStoreDriver(store),
        login=Login(settings.codec_operators, Brake()),
        origin=settings.codec_ui_origin,
    )
    operations.needs("keys", keys.current)
    operations.needs("store", store.ask)
    operations.needs("database", database.ask)
    try:
        listener = listen(settings.codec_host, int(settings.codec_port), "codec", "LONGVIEW_CODEC_HOST")
        # no proxy is believed: whoever could write a forwarded address could go around the brake on failed logins
        await serve(create_app(deps), listener, stop, operations.ready)
    finally:
        database.close()


def watch(operations: Operations, settings: Settings, database: Database, client: Client) -> None:
    """What all but the codec server cannot do their work without. FHIR, the archive and the model are not among it: while one is away, work waits
    in Temporal, and a worker that was taken out of service would help nobody."""
    from services.operations.pool import connections
    from services.store import FolderObjectStore

    loop = asyncio.get_running_loop()
    operations.before_page(connections(database))
    operations.needs("database", database.ask)
    operations.needs("store", FolderObjectStore(settings.store).ask)
    operations.needs("temporal", lambda: asyncio.run_coroutine_threadsafe(temporal_answers(client), loop).result())
