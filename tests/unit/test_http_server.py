"""Whose word about an address is believed."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from litestar import Litestar, Request, get

from schemas.errors import PartUnavailable
from services.http_server import listen, serve
from services.settings import Settings


@get("/")
async def who(request: Request) -> str:  # type: ignore[type-arg]
    return request.client.host if request.client else ""


@pytest.mark.parametrize(
    ("proxies", "seen"), [("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("10.1.2.3, 127.0.0.0/8", "203.0.113.9")]
)
async def test_a_forwarded_address_is_believed_from_a_named_proxy_alone(proxies: str, seen: str) -> None:
    """It stands in the audit trail: anybody could have written another's."""
    stop, ready = asyncio.Event(), asyncio.Event()
    listener = listen("127.0.0.1", 0, "inbox", "LONGVIEW_INBOX_HOST")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    given = Settings(inbox_proxies=proxies).proxies
    serving = asyncio.create_task(serve(Litestar([who]), listener, stop, ready.set, proxies=given))
    await asyncio.wait_for(ready.wait(), 30)
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url, headers={"X-Forwarded-For": "203.0.113.9"})
    stop.set()
    await serving
    assert answer.text == seen


def test_what_is_no_network_is_refused_in_one_sentence() -> None:
    with pytest.raises(PartUnavailable, match="setting-inbox-proxies"):
        Settings(inbox_proxies="the load balancer")
