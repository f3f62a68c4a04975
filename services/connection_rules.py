"""What of the settings goes together for connections to other services, and what is refused because a secret would travel in the clear."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from schemas.errors import PartUnavailable

if TYPE_CHECKING:
    from services.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
KAFKA_SECURITY = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
SASL_MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")


def check_connections(settings: Settings) -> None:
    """`PartUnavailable` with a sentence for the first thing that cannot be."""
    if bool(settings.client_cert_file) != bool(settings.client_key_file):
        raise PartUnavailable(
            "setting-client-certificate",
            "LONGVIEW_CLIENT_CERT_FILE and LONGVIEW_CLIENT_KEY_FILE go together: set both or none.",
        )
    _kafka(settings)
    _temporal(settings)
    _fhir(settings)


def is_loopback(address: str) -> bool:
    """Of `host:port`, or of a URL."""
    return urlsplit(address if "//" in address else f"//{address}").hostname in LOOPBACK


def is_guarded(url: str) -> bool:
    """Whether a secret may be sent there: over TLS, or without leaving the machine."""
    return urlsplit(url).scheme == "https" or is_loopback(url)


def _kafka(settings: Settings) -> None:
    if settings.kafka_security not in KAFKA_SECURITY:
        raise PartUnavailable(
            "setting-kafka-security",
            f"LONGVIEW_KAFKA_SECURITY is none of {', '.join(KAFKA_SECURITY)}: set one of them.",
        )
    if settings.kafka_sasl_mechanism not in SASL_MECHANISMS:
        raise PartUnavailable(
            "setting-kafka-sasl",
            f"LONGVIEW_KAFKA_SASL_MECHANISM is none of {', '.join(SASL_MECHANISMS)}: set one of them.",
        )
    if not settings.kafka_security.startswith("sasl") and (settings.kafka_username or settings.kafka_password):
        raise PartUnavailable(
            "setting-kafka-sasl",
            "LONGVIEW_KAFKA_USERNAME or _PASSWORD is set and would not be used: set LONGVIEW_KAFKA_SECURITY to sasl_ssl.",
        )
    away = [address for address in settings.kafka_bootstrap.split(",") if address and not is_loopback(address)]
    if settings.kafka_security == "sasl_plaintext" and away:
        raise PartUnavailable(
            "setting-kafka-clear",
            "LONGVIEW_KAFKA_SECURITY is sasl_plaintext, which sends the log-in in the clear to another machine: set it to sasl_ssl.",
        )


def require_kafka_login(settings: Settings) -> None:
    """For a process that speaks to the bus; another is not given the password and needs none."""
    if settings.kafka_security.startswith("sasl") and not (settings.kafka_username and settings.kafka_password):
        raise PartUnavailable(
            "setting-kafka-sasl",
            f"LONGVIEW_KAFKA_SECURITY is {settings.kafka_security}: set LONGVIEW_KAFKA_USERNAME and LONGVIEW_KAFKA_PASSWORD_FILE too.",
        )


def _temporal(settings: Settings) -> None:
    if settings.temporal_tls not in ("on", "off"):
        raise PartUnavailable(
            "setting-temporal-tls", "LONGVIEW_TEMPORAL_TLS is neither 'on' nor 'off': set one of them."
        )
    clear = settings.temporal_tls == "off" and settings.temporal_address and not is_loopback(settings.temporal_address)
    if settings.temporal_api_key and clear:
        raise PartUnavailable(
            "setting-temporal-clear",
            "LONGVIEW_TEMPORAL_API_KEY would be sent in the clear to another machine: set LONGVIEW_TEMPORAL_TLS to on.",
        )


def _fhir(settings: Settings) -> None:
    if settings.fhir_key_file and not settings.fhir_client_id:
        raise PartUnavailable(
            "setting-fhir-access",
            "LONGVIEW_FHIR_KEY_FILE is set and would not be used: set LONGVIEW_FHIR_CLIENT_ID, as whom it is registered.",
        )
    if not settings.fhir_client_id:
        return
    if settings.fhir_token:
        raise PartUnavailable(
            "setting-fhir-access",
            "LONGVIEW_FHIR_TOKEN and LONGVIEW_FHIR_CLIENT_ID are both set: a fixed token, or SMART Backend Services; set one.",
        )
    for name, url in (("FHIR_URL", settings.fhir_url), ("FHIR_TOKEN_URL", settings.fhir_token_url)):
        if url and not is_guarded(url):
            raise PartUnavailable(
                "setting-fhir-clear",
                f"LONGVIEW_{name} is not https, and access tokens would travel in the clear: give its https address.",
            )
