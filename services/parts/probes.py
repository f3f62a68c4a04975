"""Is a part there? Each probe asks the part itself and raises `NotReady` with the reason, which holds no identifier."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from schemas.errors import LongviewError

if TYPE_CHECKING:
    from services.clients.kafka import KafkaAccess
    from services.clients.temporal import TemporalAccess
    from services.settings import Settings

PROBE_SECONDS = 5.0


class NotReady(Exception):
    """The part does not answer (yet); the text says how."""


def http_ok(url: str, *, token: str = "", verify: ssl.SSLContext | bool = True) -> httpx.Response:
    """`GET url` must answer 200 to 204. Proxies of the environment are not used: the parts are asked directly."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if not url.startswith("https:"):
        verify = False  # nothing to verify, and to load the authorities takes 20 ms of processor time at each look
    try:
        response = httpx.get(url, headers=headers, timeout=PROBE_SECONDS, trust_env=False, verify=verify)
    except httpx.HTTPError as error:
        raise NotReady(f"it does not answer ({type(error).__name__})") from error
    if response.status_code not in (200, 204):
        raise NotReady(f"it answers with HTTP status {response.status_code}")
    return response


def fhir_ok(base_url: str, token: str = "", *, verify: ssl.SSLContext | bool = True) -> None:
    """A FHIR server of release 4 (`CapabilityStatement.fhirVersion` 4.0.x)."""
    response = http_ok(f"{base_url.rstrip('/')}/metadata", token=token, verify=verify)
    try:
        version = str(response.json()["fhirVersion"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotReady("its /metadata is not a CapabilityStatement in JSON") from error
    if not version.startswith("4.0"):
        raise NotReady(f"it serves FHIR {version[:8]}, not R4")


def dicomweb_ok(base_url: str, token: str = "", *, verify: ssl.SSLContext | bool = True) -> None:
    """QIDO-RS answers (one study is asked for, and not looked at)."""
    http_ok(f"{base_url.rstrip('/')}/studies?limit=1", token=token, verify=verify)


def model_ok(base_url: str, token: str = "", *, verify: ssl.SSLContext | bool = True) -> None:
    """It lives, and it takes our token."""
    http_ok(f"{base_url.rstrip('/')}/health", verify=verify)
    http_ok(f"{base_url.rstrip('/')}/v1/models", token=token, verify=verify)


def kafka_ok(bootstrap: str, access: KafkaAccess | None = None) -> None:
    """The cluster answers a metadata request."""
    _tcp_ok(bootstrap.split(",")[0])
    from kafka.admin import KafkaAdminClient
    from kafka.errors import KafkaError

    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap.split(","),
            bootstrap_timeout_ms=int(PROBE_SECONDS * 1000),
            **(access.options() if access else {}),
        )
    except (KafkaError, OSError, ValueError) as error:
        raise NotReady(f"no Kafka broker answers there ({type(error).__name__})") from error
    try:
        admin.list_topics()
    except KafkaError as error:
        raise NotReady(f"the broker does not answer ({type(error).__name__})") from error
    finally:
        admin.close()


def temporal_ok(address: str, namespace: str, access: TemporalAccess | None = None) -> None:
    """The frontend is healthy and knows the namespace."""
    _tcp_ok(address)
    asyncio.run(_temporal_ok(address, namespace, access))


async def _temporal_ok(address: str, namespace: str, access: TemporalAccess | None) -> None:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
    from temporalio.client import Client
    from temporalio.service import RPCError

    try:
        tls, key = (access.tls(), str(access.api_key) or None) if access else (False, None)
        connecting = Client.connect(address, namespace=namespace, tls=tls, api_key=key)
        client = await asyncio.wait_for(connecting, PROBE_SECONDS)
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except RPCError as error:
        raise NotReady(f"the namespace is not there ({error.status.name})") from error
    except (RuntimeError, TimeoutError) as error:
        raise NotReady("no Temporal frontend answers there") from error


def database_ok(url: str) -> None:
    """The database opens."""
    from sqlalchemy import text

    from services.db import open_database

    database = open_database(url)
    try:
        with database.reading() as session:
            session.execute(text("SELECT 1"))
    except LongviewError as failure:
        raise NotReady("it cannot be opened") from failure
    finally:
        database.close()


def ready_file_ok(path: Path) -> None:
    """A process of ours has written its ready file."""
    if not path.exists():
        raise NotReady("it has not said that it is ready")


def fhir_preflight(settings: Settings) -> list[str]:
    """What the FHIR server lacks of what we rely on (contract 6), and its authorization server of what we ask for; empty if nothing."""
    from services.adapters import fhir, smart_tokens

    try:
        if (tokens := smart_tokens(settings)) is not None:
            with closing(tokens):
                tokens.current()
        with closing(fhir(settings)) as client:
            return client.preflight()
    except LongviewError as error:
        return [error.hint or error.code]


def _tcp_ok(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS):
            return
    except (OSError, ValueError) as error:
        raise NotReady("nothing listens there") from error
