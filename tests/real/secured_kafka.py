"""Apache Kafka as a hospital runs it: SASL over TLS, and a client's certificate demanded besides."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from services.parts.ports import free_port
from tests.real import parts

USER, PASSWORD = "longview", "a-long-password"
LOGIN = "org.apache.kafka.common.security"


@contextmanager
def secured_kafka(folder: Path, authority: trustme.CA, mechanism: str) -> Iterator[str]:
    """One node whose only listener for others is SASL_SSL; the bootstrap address."""
    libraries = f"{parts.need('kafka') / 'lib'}/*"
    inner, outer = free_port(), free_port()
    properties = folder / "secured.properties"
    settings = parts._kafka_properties(folder, inner) | _secured(folder, authority, mechanism, inner, outer)
    properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    tool = [*parts.JAVA, "-cp", libraries, "kafka.tools.StorageTool", "format", "-t", "bG9uZ3ZpZXctdGVzdDEyMw"]
    scram = [] if mechanism == "PLAIN" else ["--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]"]
    subprocess.run([*tool, "-c", str(properties), *scram], check=True, capture_output=True)
    command = [*parts.JAVA, "-Xmx512m", "-cp", libraries, "kafka.Kafka", str(properties)]
    with parts.process(command, folder / "secured-kafka.log", lambda: parts.listens(outer)):
        yield f"127.0.0.1:{outer}"


def _secured(folder: Path, authority: trustme.CA, mechanism: str, inner: int, outer: int) -> dict[str, str]:
    key, trusted = folder / "broker.pem", folder / "clients.pem"
    key.write_bytes(_keystore(authority))
    trusted.write_bytes(authority.cert_pem.bytes())
    login = f"listener.name.sasl_ssl.{mechanism.lower()}.sasl.jaas.config"
    plain = f'{LOGIN}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    controller = parts.free_port()
    return {
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{inner},SASL_SSL://127.0.0.1:{outer},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{inner},SASL_SSL://127.0.0.1:{outer}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": mechanism,
        login: plain if mechanism == "PLAIN" else f"{LOGIN}.scram.ScramLoginModule required;",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(key),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(trusted),
        "listener.name.sasl_ssl.ssl.client.auth": "required",
    }


def _keystore(authority: trustme.CA) -> bytes:
    """Kafka takes a key in PKCS#8 alone."""
    issued = authority.issue_cert("127.0.0.1", "localhost")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + b"".join(
        pem.bytes() for pem in issued.cert_chain_pems
    )
