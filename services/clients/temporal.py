"""The connection to Temporal: pydantic payloads, encrypted with AES-256-GCM, failures included; large ones in our object store.

Temporal's server and its web UI see cipher text alone; workflow ids hold no identifier (schemas.identifiers).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cache

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError, TLSConfig

from schemas.errors import PartUnavailable
from services.clients.keyring import KeySource
from services.clients.payloads import ENCODING, STORE_ABOVE, EncryptionCodec, Objects, external_storage
from services.clients.trust import Trust
from services.operations.temporal import buffer_of_process
from workflows.tracing import Tracing

__all__ = ["ENCODING", "EncryptionCodec", "connect", "data_converter"]


def data_converter(
    keys: KeySource | bytes, objects: Objects | None = None, store_above: int = STORE_ABOVE
) -> DataConverter:
    """`keys` encrypt; with `objects`, payloads of `store_above` bytes and more travel as references."""
    return replace(
        pydantic_data_converter,
        payload_codec=EncryptionCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
        external_storage=external_storage(objects, store_above) if objects is not None else None,
    )


@dataclass(frozen=True)
class TemporalAccess:
    """How the frontend is spoken to: over TLS as `trust` says, with an API key."""

    trust: Trust | None = None
    api_key: str = ""

    def tls(self) -> TLSConfig | bool:
        if self.trust is None:
            return False
        certificate, key = self.trust.identity() or (None, None)
        return TLSConfig(server_root_ca_cert=self.trust.authorities(), client_cert=certificate, client_private_key=key)


IN_THE_CLEAR = TemporalAccess()


@cache
def _runtime() -> Runtime:
    """Temporal's core writes to this process's log, so that of its lines no more is left than of any other library's; and its metrics to our page."""
    forwarding = LogForwardingConfig(logging.getLogger("temporalio.core"))
    quiet = LoggingConfig(filter=TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forwarding)
    return Runtime(telemetry=TelemetryConfig(logging=quiet, metrics=buffer_of_process()))


async def connect(
    address: str,
    namespace: str,
    keys: KeySource | bytes,
    objects: Objects | None = None,
    store_above: int = STORE_ABOVE,
    access: TemporalAccess = IN_THE_CLEAR,
) -> Client:
    """A client; `PartUnavailable` if no Temporal frontend answers there."""
    converter = data_converter(keys, objects, store_above)
    try:
        return await Client.connect(
            address,
            namespace=namespace,
            data_converter=converter,
            interceptors=[Tracing()],
            runtime=_runtime(),
            tls=access.tls(),
            api_key=str(access.api_key) or None,
        )
    except (RPCError, RuntimeError) as error:
        raise PartUnavailable(
            "temporal-unavailable",
            "Temporal does not answer: check LONGVIEW_TEMPORAL_ADDRESS, and LONGVIEW_TEMPORAL_TLS.",
        ) from error
