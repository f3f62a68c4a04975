"""Is a part there that runs elsewhere? Asked as our processes would: with the settings' certificates, tokens and log-ins."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import PartUnavailable
from services.adapters import kafka_access, temporal_access, trust
from services.parts import probes
from services.settings import Settings


def broker(settings: Settings) -> None:
    with _as_probe():
        probes.kafka_ok(settings.kafka_bootstrap, kafka_access(settings))


def temporal(settings: Settings) -> None:
    with _as_probe():
        probes.temporal_ok(settings.temporal_address, settings.temporal_namespace, temporal_access(settings))


def fhir(settings: Settings) -> None:
    probes.fhir_ok(settings.fhir_url, settings.fhir_token, verify=_tls(settings))


def archive(settings: Settings) -> None:
    probes.dicomweb_ok(settings.dicomweb_url, settings.dicomweb_token, verify=_tls(settings))


def model(settings: Settings) -> None:
    probes.model_ok(settings.model_url, settings.bearer_of_model(), verify=_tls(settings))


def _tls(settings: Settings) -> ssl.SSLContext:
    with _as_probe():
        return trust(settings).context()


@contextmanager
def _as_probe() -> Iterator[None]:
    try:
        yield
    except PartUnavailable as error:
        raise probes.NotReady(error.hint.rstrip(".")) from error
