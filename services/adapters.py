"""The adapters, chosen and wired as the settings say: the other half of the composition root (`services.bootstrap` has the processes).

What an adapter needs is imported when it is made: an inbox needs no Kafka client, a gateway no pydicom.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import TransientFailure
from services.connection_rules import require_kafka_login
from services.settings import Settings

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
    from services.store import FolderObjectStore
    from services.worker.audit_delivery import AuditDelivery
    from workflows.reconcile.activities import ReconcileActivities
    from workflows.report_study.assembly import Site
    from workflows.shadow.activities import ShadowActivities

GATEWAY_GROUP = "longview-gateway"
ASK_TEMPORAL_SECONDS = 5


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


def derived_secret(settings: Settings, purpose: bytes) -> bytes:
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
        Groups(
            settings.oidc_roles_claim,
            settings.oidc_reviewers,
            settings.oidc_auditors,
            settings.oidc_practitioner_claim,
            settings.fhir_url,
        ),
        SessionRecords(database),
        AuditTrail(database),
        seal=base64.urlsafe_b64encode(derived_secret(settings, b"longview inbox logins")),
        public_url=settings.inbox_url,
    )


def checked_fhir(settings: Settings) -> FhirClient:
    """That of whoever writes results: what is not valid is not sent."""
    from services.clients.fhir_checked import CheckedFhirClient

    return fhir(settings, CheckedFhirClient)


def fhir(settings: Settings, kind: type[FhirClient] | None = None) -> FhirClient:
    from services.clients.fhir import FhirClient

    auth = None
    if (tokens := smart_tokens(settings)) is not None:
        from services.clients.smart import SmartAuth

        auth = SmartAuth(tokens)
    return (kind or FhirClient)(
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
    release, url = settings.require("model_release"), settings.require("model_url")
    return _vllm(settings, store, url, release, settings.bearer_of_model())


def site(settings: Settings) -> Site:
    from services.critical_list import critical_list
    from services.escalation import escalation_policies
    from workflows.report_study.assembly import Site

    return Site(
        namespace=settings.namespace,
        event_source=settings.event_source,
        organization=settings.organization,
        review_role=settings.review_role,
        dicomweb_public_url=settings.dicomweb_public_url or settings.require("dicomweb_url"),
        conclusion_codes=settings.conclusion_codes == "on",
        escalation=escalation_policies(settings),
        critical=critical_list(settings),
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
    url, release, token = settings.history_model_url, settings.history_model_release, settings.history_model_token
    return _vllm(settings, store, url, release, token, "history-model") if url else None


def shadow_model(settings: Settings, store: FolderObjectStore) -> VllmModel | None:
    """The second release, where one is configured."""
    url, release, token = settings.shadow_model_url, settings.shadow_model_release, settings.shadow_model_token
    return _vllm(settings, store, url, release, token, "shadow-model") if url else None


def _vllm(
    settings: Settings, store: FolderObjectStore, url: str, release: str, token: str, part: str = "model"
) -> VllmModel:
    from services.clients.model import VllmModel

    verify = trust(settings).context()
    return VllmModel(url, Path(release), store.path, media=settings.media, token=token, verify=verify, part=part)
