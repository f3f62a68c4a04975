"""The model server's port with certificates on both sides, and the port of its probes; vLLM's app is a few lines here."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from model_runtime.front import Front
from model_runtime.settings import ServerSettings
from model_runtime.tls import keep_fresh, probe_config, server_context, uvicorn_options
from schemas.errors import PartUnavailable, TransientFailure
from services.clients.model import VllmModel
from services.clients.trust import Trust
from services.parts.ports import free_port
from tests.contract.tls import House
from tests.secret_mount import mount

TOKEN = "w" * 43


async def engine(scope: Any, receive: Any, send: Any) -> None:
    """vLLM's app: every route answers."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"data": []}'})


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "worker")


def issue(house: House, folder: Path) -> None:
    """The server's own certificate, as a Secret of its own."""
    issued = house.authority.issue_cert("127.0.0.1", "localhost")
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    mount(folder, {"tls.crt": chain, "tls.key": issued.private_key_pem.bytes()})


def settings_of(house: House, folder: Path, **more: Any) -> ServerSettings:
    issue(house, folder)
    authority = house.folder / "ca.crt"
    return ServerSettings(
        tls_cert_file=folder / "tls.crt", tls_key_file=folder / "tls.key", client_ca_file=authority, **more
    )


@asynccontextmanager
async def serving(settings: ServerSettings) -> AsyncIterator[tuple[Front, str]]:
    """As `model_runtime.server` does it, with another engine."""
    front = Front(engine, TOKEN, model="untrained-0", control=re.compile("(?!)"), max_body=1024)
    context, listener = server_context(settings), socket.create_server(("127.0.0.1", 0))
    assert context is not None
    config = uvicorn.Config(front, lifespan="off", log_config=None, **uvicorn_options(context))
    servers = [(uvicorn.Server(config), [listener])]
    if settings.probe_port:
        servers.append((uvicorn.Server(probe_config(front, settings)), None))
    fresh = asyncio.create_task(keep_fresh(context, settings, look=0.05))
    running = [asyncio.create_task(server.serve(sockets=sockets)) for server, sockets in servers]
    for server, _ in servers:
        while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.01)
    try:
        yield front, f"https://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        fresh.cancel()
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*running)


def ask(url: str, trust: Trust, token: str = TOKEN) -> bytes:
    with closing(VllmModel(url, Path("none"), Path, token=token, verify=trust.context())) as model:
        return model._send("GET", "/v1/models").content


async def test_a_worker_needs_its_certificate_and_its_token(house: House, tmp_path: Path) -> None:
    stranger = House(tmp_path / "stranger")
    stranger.renew(house.authority)  # it trusts the server
    async with serving(settings_of(house, tmp_path / "server")) as (_, url):
        assert await asyncio.to_thread(ask, url, house.trust) == b'{"data": []}'
        for trust in (house.trust_alone, stranger.trust):
            with pytest.raises(TransientFailure, match="model-unavailable"):
                await asyncio.to_thread(ask, url, trust)
        with pytest.raises(TransientFailure, match="model-token"):
            await asyncio.to_thread(ask, url, house.trust, "another" * 6)


async def test_probes_without_a_certificate_have_a_port_where_nothing_else_is(house: House, tmp_path: Path) -> None:
    port = free_port()
    async with (
        serving(settings_of(house, tmp_path / "server", probe_port=port)) as (front, _),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as kubelet,
    ):
        assert (await kubelet.get("/ready")).status_code == 503
        front.warm = True
        for path in ("/ready", "/health", "/metrics"):
            assert (await kubelet.get(path)).status_code == 200, path
        for path in ("/v1/models", "/", "/v1/chat/completions"):
            answer = await kubelet.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
            assert answer.status_code == 404, path


async def test_a_renewed_certificate_of_the_server_is_shown_to_who_comes_next(house: House, tmp_path: Path) -> None:
    """Renewed by another authority, so that it can be told apart; the worker trusts both meanwhile."""
    after = House(tmp_path / "after")
    async with serving(settings_of(house, tmp_path / "server")) as (_, url):
        only_new = Trust(str(after.folder / "ca.crt"), *(str(house.folder / name) for name in ("tls.crt", "tls.key")))
        with pytest.raises(TransientFailure):
            await asyncio.to_thread(ask, url, only_new)
        (tmp_path / "server" / "tls.key").resolve().write_bytes(b"half")  # for a moment; nothing ends
        await asyncio.sleep(0.2)
        assert await asyncio.to_thread(ask, url, house.trust)
        issue(after, tmp_path / "server")
        await asyncio.sleep(0.3)
        assert await asyncio.to_thread(ask, url, only_new)


def test_files_that_cannot_be_used_stop_the_start_with_a_sentence(house: House, tmp_path: Path) -> None:
    settings = settings_of(house, tmp_path / "server")
    shutil.copy(settings.client_ca_file or "", tmp_path / "server" / "..data" / "tls.key")
    with pytest.raises(PartUnavailable, match=r"model-tls.*TLS_CERT_FILE"):
        server_context(settings)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"tls_cert_file": Path("a")}, "go together"),
        ({"client_ca_file": Path("a")}, "needs a certificate of the server"),
        ({"probe_port": 70000}, "PROBE_PORT must be between"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PartUnavailable, match=sentence):
        ServerSettings(**given)
