"""The composition root: the one place where adapters are chosen and wired, and where our three processes begin.

A process imports what it wires only when it starts: a gateway needs neither Litestar nor pydicom, an inbox no Kafka client.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import signal
from collections.abc import Awaitable, Callable
from contextlib import closing, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from schemas.errors import PartUnavailable, TransientFailure
from services.connection_rules import require_kafka_login
from services.renewal import ending_when_replaced
from services.settings import Settings
from services.telemetry.process import configure_logging, traced

if TYPE_CHECKING:
    from temporalio.client import Client

    from services.clients.dicomweb import DicomWebArchive
    from services.clients.fhir import FhirClient
    from services.clients.kafka import KafkaAccess
    from services.clients.keyring import KeyFile
    from services.clients.model import VllmModel
    from services.clients.smart import SmartTokens
    from services.clients.temporal import TemporalAccess
    from services.clients.trust import Trust
    from services.db import Database
    from services.inbox.login import Logins
    from services.operations.metric import Process as ProcessName
    from services.operations.process import Operations
    from services.store import FolderObjectStore
    from services.worker.audit_delivery import AuditDelivery
    from workflows.reconcile.activities import ReconcileActivities
    from workflows.report_study.assembly import Site
    from workflows.shadow.activities import ShadowActivities

GATEWAY_GROUP = "longview-gateway"
ASK_TEMPORAL_SECONDS = 5

Process = Callable[[Settings, asyncio.Event, "Operations"], Awaitable[None]]


# -- processes ---------------------------------------------------------------------------------------------------------


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
        operations.vitals.stop()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    with operations.serving():
        async with ending_when_replaced(settings, told):
            await process(settings, stop, operations)


async def gateway(settings: Settings, stop: asyncio.Event, operations: Operations) -> None:
    """Events from the bus to Temporal, and the outbox to the bus."""
    from schemas.events import INBOUND_TOPICS
    from services.clients.kafka import BrokerProbe, Consumer, Producer
    from services.db import DeadLetterRecords, OutboxRecords, open_migrated
    from services.db.state import StateReader
    from services.gateway.dead_letters import DeadLetterKeeper
    from services.gateway.intake import Intake
    from services.gateway.relay import Relay
    from services.gateway.service import consume, publish
    from services.operations.database_state import of_gateway
    from services.store import FolderObjectStore

    operations.measure_temporal()
    database = open_migrated(settings.database)
    client, bootstrap = await temporal(settings), settings.require("kafka_bootstrap")
    access = kafka_access(settings)
    producer = await asyncio.to_thread(Producer, bootstrap, access)
    consumer = await asyncio.to_thread(Consumer, bootstrap, GATEWAY_GROUP, INBOUND_TOPICS, access=access)
    keeper = DeadLetterKeeper(FolderObjectStore(settings.store), DeadLetterRecords(database), producer)
    intake = Intake(client, settings.namespace, settings.task_queue, settings.event_source, keeper)
    watch(operations, settings, database, client)
    operations.tell_state(of_gateway(StateReader(database)))
    operations.needs("bus", BrokerProbe(bootstrap, access).ask)
    operations.ready()
    try:
        await asyncio.gather(
            consume(consumer, intake, stop, operations.loop("consume")),
            publish(Relay(OutboxRecords(database), producer), stop, operations.loop("publish")),
        )
    finally:
        consumer.close()
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
    from services.store import FolderObjectStore
    from services.worker.audit_delivery import STALLED_SECONDS, delivering
    from services.worker.background import run_background
    from services.worker.deployment import deployment_version
    from services.worker.schedule import ensure_schedule
    from services.worker.service import run_worker
    from workflows.report_study.activities import ReportStudyActivities
    from workflows.report_study.lifecycle import LifecycleActivities
    from workflows.report_study.records import RecordActivities

    operations.measure_temporal()
    database = open_migrated(settings.database)
    if (tokens := smart_tokens(settings)) is not None:
        with closing(tokens):
            await asyncio.to_thread(tokens.require)
    client, store = await temporal(settings), FolderObjectStore(settings.store)
    here, server = site(settings), fhir(settings)
    runs, entries, builds = RunRecords(database), InboxRecords(database), BuildRecords(database)
    reading = ReportStudyActivities(
        here,
        fhir=server,
        archive=archive(settings),
        model=model(settings, store),
        history_model=history_model(settings, store),
        store=store,
        memory=TemporalPatientMemory(client, asyncio.get_running_loop()),
        runs=runs,
        inbox=entries,
        builds=builds,
        text_in_pixels=OcrTextInPixels(),
        decode_pdf=PdfInItsOwnProcess(),
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
    activities = [*reading.all(), *records.all(), *lifecycle.all(), shadow.plan_shadow]
    queue, served = settings.task_queue, settings.worker_queues
    background = run_background(client, queue, reconcile, shadow, reading.create_inbox_entry, version)
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
                await run_worker(client, queue, activities, stop, operations.ready, version, current=current)
    finally:
        database.close()


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
        reviewer=TemporalReviewer(temporal_client),
        csrf_secret=_derived(settings, b"longview inbox forms").hex(),
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
        await serve(app, listener, stop, operations.ready, app.state.feed.close)
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
    deps = CodecDeps(
        trail=AuditTrail(database),
        codec=EncryptionCodec(payload_keys(settings)),
        storage=ObjectStoreDriver(FolderObjectStore(settings.store)),
        login=Login(settings.codec_operators, Brake()),
        origin=settings.codec_ui_origin,
    )
    operations.needs("keys", payload_keys(settings).current)
    operations.needs("store", FolderObjectStore(settings.store).ask)
    operations.needs("database", database.ask)
    try:
        listener = listen(settings.codec_host, int(settings.codec_port), "codec", "LONGVIEW_CODEC_HOST")
        # forwarded addresses are not believed: whoever could write them could go around the brake on failed logins
        await serve(create_app(deps), listener, stop, operations.ready, proxied=False)
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
        temporal_access(settings),
    )


def trust(settings: Settings) -> Trust:
    """Whom every outgoing connection trusts, and what it shows of us."""
    from services.clients.trust import Trust

    return Trust(settings.ca_file, settings.client_cert_file, settings.client_key_file)


def temporal_access(settings: Settings) -> TemporalAccess:
    from services.clients.temporal import TemporalAccess

    return TemporalAccess(trust(settings) if settings.temporal_tls == "on" else None, settings.temporal_api_key)


def kafka_access(settings: Settings) -> KafkaAccess:
    from services.clients.kafka import KafkaAccess

    require_kafka_login(settings)
    return KafkaAccess(
        settings.kafka_security,
        trust(settings).context() if settings.kafka_security.endswith("ssl") else None,
        settings.kafka_sasl_mechanism,
        settings.kafka_username,
        settings.kafka_password,
    )


async def temporal_answers(client: Client) -> None:
    """Raises while the frontend does not serve."""
    if not await client.service_client.check_health(timeout=timedelta(seconds=ASK_TEMPORAL_SECONDS)):
        raise TransientFailure("temporal-unavailable", "Temporal's frontend says that it does not serve")


def payload_keys(settings: Settings) -> KeyFile:
    from services.clients.keyring import KeyFile

    return KeyFile(Path(settings.require("payload_key_file")))


def _derived(settings: Settings, purpose: bytes) -> bytes:
    """32 bytes for one purpose, the same in every process of this deployment and across restarts."""
    return hmac.digest(payload_keys(settings).current().oldest.secret, purpose, "sha256")


def logins(settings: Settings, database: Database) -> Logins:
    """The inbox's login; called on its event loop."""
    from services.clients.oidc import OpenIdIssuer
    from services.db import AuditTrail, SessionRecords
    from services.inbox.access import Groups
    from services.inbox.login import Logins

    return Logins(
        OpenIdIssuer(
            settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret, verify=trust(settings).context()
        ),
        Groups(settings.oidc_roles_claim, settings.oidc_reviewers, settings.oidc_auditors),
        SessionRecords(database),
        AuditTrail(database),
        seal=base64.urlsafe_b64encode(_derived(settings, b"longview inbox logins")),
        public_url=settings.inbox_url,
    )


def fhir(settings: Settings) -> FhirClient:
    from services.clients.fhir import FhirClient

    auth = None
    if (tokens := smart_tokens(settings)) is not None:
        from services.clients.smart import SmartAuth

        auth = SmartAuth(tokens)
    return FhirClient(
        settings.require("fhir_url"), token=settings.fhir_token, auth=auth, verify=trust(settings).context()
    )


def smart_tokens(settings: Settings) -> SmartTokens | None:
    """Access tokens by SMART Backend Services, where LONGVIEW_FHIR_CLIENT_ID is set."""
    if not settings.fhir_client_id:
        return None
    from services.clients.smart import SmartClient, SmartTokens

    client = SmartClient(
        settings.require("fhir_url"),
        settings.fhir_client_id,
        Path(settings.require("fhir_key_file")),
        settings.fhir_token_url,
        tuple(settings.fhir_scopes.split()),
    )
    return SmartTokens(client, verify=trust(settings).context())


def audit_delivery(settings: Settings, database: Database) -> AuditDelivery | None:
    """What sends the audit trail to the hospital's repository; None where there is none."""
    from schemas.codes import Canonical
    from services.clients.fhir import FhirClient
    from services.db import AuditOutbox
    from services.worker.audit_delivery import AuditDelivery
    from workflows.report.audit import AuditAddresses

    if not settings.audit_url:
        return None
    return AuditDelivery(
        AuditOutbox(database),
        FhirClient(settings.audit_url, token=settings.audit_token, timeout=20.0, verify=trust(settings).context()),
        Canonical(settings.canonical_base),
        AuditAddresses(settings.fhir_url, settings.inbox_url),
    )


def archive(settings: Settings) -> DicomWebArchive:
    from services.clients.dicomweb import DicomWebArchive

    return DicomWebArchive(
        settings.require("dicomweb_url"), token=settings.dicomweb_token, verify=trust(settings).context()
    )


def model(settings: Settings, store: FolderObjectStore) -> VllmModel:
    from services.clients.model import VllmModel

    release = Path(settings.require("model_release"))
    return VllmModel(
        settings.require("model_url"),
        release,
        store.path,
        media=settings.media,
        token=settings.bearer_of_model(),
        verify=trust(settings).context(),
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


def oversight_activities(
    settings: Settings, database: Database, client: Client, store: FolderObjectStore
) -> tuple[ReconcileActivities, ShadowActivities]:
    """The activities of both workflows; called on the worker's event loop."""
    from services.clients.announcer import TemporalAnnouncer
    from services.db import ReconcileRecords, ShadowRecords
    from workflows.reconcile.activities import ReconcileActivities
    from workflows.shadow.activities import ShadowActivities

    shadow = ShadowRecords(database)
    reconcile = ReconcileActivities(
        site(settings),
        fhir=fhir(settings),
        archive=archive(settings),
        model=model(settings, store),
        store=store,
        records=ReconcileRecords(database),
        drift=shadow,
        announcer=TemporalAnnouncer(client, asyncio.get_running_loop(), settings.namespace, settings.task_queue),
    )
    return reconcile, ShadowActivities(model=shadow_model(settings, store), store=store, records=shadow)


def history_model(settings: Settings, store: FolderObjectStore) -> VllmModel | None:
    """The model of the second pass, where it is another one than that of the images."""
    from services.clients.model import VllmModel

    if not settings.history_model_url:
        return None
    release, token = Path(settings.history_model_release), settings.history_model_token
    return VllmModel(
        settings.history_model_url,
        release,
        store.path,
        media=settings.media,
        token=token,
        verify=trust(settings).context(),
        part="history-model",
    )


def shadow_model(settings: Settings, store: FolderObjectStore) -> VllmModel | None:
    """The second release, where one is configured."""
    from services.clients.model import VllmModel

    if not settings.shadow_model_url:
        return None
    release, token = Path(settings.shadow_model_release), settings.shadow_model_token
    return VllmModel(
        settings.shadow_model_url,
        release,
        store.path,
        media=settings.media,
        token=token,
        verify=trust(settings).context(),
        part="shadow-model",
    )
