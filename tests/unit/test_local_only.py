"""The trial's FHIR server and archive are asked by a page of another site, under a foreign name, by a form, and without the token."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.parts.local_only import LocalOnly

TOKEN = "t" * 43
OURS = {"authorization": f"Bearer {TOKEN}"}
JSON = {"content-type": "application/fhir+json"}


async def open_to_all(scope: Any, receive: Any, send: Any) -> None:
    """What stands behind: it answers anybody, as sekmet does, and says which headers reached it."""
    headers = [(b"access-control-allow-origin", b"*"), (b"access-control-allow-methods", b"*")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    seen = b" ".join(name for name, _ in scope["headers"])
    await send({"type": "http.response.body", "body": b"chart of Muster " + seen})


def asked(
    tmp_path: Path, method: str = "GET", path: str = "/fhir/Patient", host: str = "127.0.0.1:8080", **headers: str
) -> httpx.Response:
    (tmp_path / "token").write_text(TOKEN + "\n")
    door = LocalOnly(open_to_all, tmp_path / "token", names=("longview-fhir",), open_paths=("/fhir/metadata",))
    sent = {name.replace("_", "-"): value for name, value in headers.items()} | {"host": host}

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(door)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, headers=sent)

    return asyncio.run(ask())


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:9", "LONGVIEW-FHIR:8080"])
def test_programs_of_the_installation_are_answered(tmp_path: Path, host: str) -> None:
    answer = asked(tmp_path, host=host, **OURS)
    assert answer.status_code == 200
    assert "authorization" not in answer.text, "the server behind has logins of its own"


def test_what_the_server_allows_to_every_page_is_taken_back(tmp_path: Path) -> None:
    assert not [name for name in asked(tmp_path, **OURS).headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8080", "127.0.0.1@evil.example", "", "10.0.0.7:8080"]
)
def test_a_name_that_was_pointed_here_reads_nothing(tmp_path: Path, host: str) -> None:
    """DNS rebinding: the browser takes the answer for one of the attacker's site."""
    answer = asked(tmp_path, host=host or "evil.example", **OURS)
    assert (answer.status_code, "Muster" in answer.text) == (421, False)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_site_asks_for_nothing(tmp_path: Path, method: str, headers: dict[str, str]) -> None:
    answer = asked(tmp_path, method, **OURS, **JSON, **headers)
    assert (answer.status_code, "Muster" in answer.text) == (403, False)


@pytest.mark.parametrize("token", [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}])
def test_without_the_token_nothing_is_read(tmp_path: Path, token: dict[str, str]) -> None:
    answer = asked(tmp_path, **token)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "parts.token" in answer.text, "whoever is allowed finds the mend"


def test_a_probe_asks_by_the_pods_address_without_a_token(tmp_path: Path) -> None:
    assert asked(tmp_path, path="/fhir/metadata", host="10.0.0.7:8080").status_code == 200
    assert asked(tmp_path, "POST", path="/fhir/metadata", host="10.0.0.7:8080").status_code == 421


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "text/plain; charset=utf-8", "multipart/form-data; boundary=b", "application/x-www-form-urlencoded"],
)
def test_what_a_form_can_send_writes_nothing(tmp_path: Path, kind: str) -> None:
    assert asked(tmp_path, "POST", content_type=kind, **OURS).status_code == 415
    assert asked(tmp_path, "POST", content_type="application/fhir+json", **OURS).status_code == 200


def test_a_search_by_form_is_fhir(tmp_path: Path) -> None:
    """FHIR R4, 3.1.1.4: POST [base]/[type]/_search."""
    form = "application/x-www-form-urlencoded"
    assert asked(tmp_path, "POST", path="/fhir/Patient/_search", content_type=form, **OURS).status_code == 200


def test_a_body_without_a_type_is_refused_and_no_body_is_fine(tmp_path: Path) -> None:
    assert asked(tmp_path, "POST", content_length="10", **OURS).status_code == 415
    assert asked(tmp_path, "DELETE", **OURS).status_code == 200
