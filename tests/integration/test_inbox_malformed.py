"""Requests that no page and no client of ours sends: each is refused as the sender's mistake, none is a fault of the inbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from tests.inbox_house import Browserless, House, hidden_fields, open_house

pytestmark = pytest.mark.integration
BEYOND_64_BIT = str(2**70)
DEEP = "[" * 1000 + "]" * 1000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("inbox")) as house:
        house.add()
        yield house


@pytest.fixture
def client(house: House) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=house.url, trust_env=False, headers={"X-Longview-User": "ris"}) as opened:
        yield opened


@pytest.mark.parametrize(
    "path",
    [
        f"/?page={BEYOND_64_BIT}",
        "/?page=1e9",
        f"/api/results?offset={BEYOND_64_BIT}",
        "/api/results?limit=0",
        "/api/results?offset=-1",
        f"/events?since={BEYOND_64_BIT}",
        "/events?since=1e22",
        "/events?since=-1",
    ],
)
def test_a_number_that_cannot_be_meant_is_refused(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 400


@pytest.mark.parametrize(
    "path", ["/?shown=%ED%A0%80", "/api/results?modality=%ED%A0%80", "/api/results/%ED%A0%80", "/?priority=%00"]
)
def test_text_that_is_none_finds_nothing(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code in (200, 400, 404)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"7", b"null", b"{", DEEP.encode(), b'{"act_id": ' + DEEP.encode() + b"}", b'{"act_id": "\\ud800"}', b"\xff\xfe"],
    ids=["empty", "array", "number", "null", "cut", "deep", "deep within", "surrogate", "no UTF-8"],
)  # fmt: skip
@pytest.mark.parametrize("act", ["review", "acknowledge"])
def test_a_body_that_is_no_decision_is_refused(house: House, client: httpx.Client, act: str, body: bytes) -> None:
    [result_id] = house.told
    sent = client.post(f"/api/results/{result_id}/{act}", content=body, headers={"content-type": "application/json"})
    assert sent.status_code == 400
    assert json.loads(sent.content)["detail"]


@pytest.mark.parametrize("name", ["%ED%A0%80", "%00", "%FF"])
def test_a_name_that_is_no_text_decides_nothing(house: House, name: str) -> None:
    [result_id] = house.told
    visitor = Browserless(house)
    hidden = hidden_fields(visitor.page(f"/results/{result_id}"))
    form = "&".join([*(f"{key}={value}" for key, value in hidden.items()), f"reviewer={name}", "outcome=accepted"])
    sent = visitor.http.post(
        f"/results/{result_id}/review", content=form, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    visitor.close()
    assert sent.status_code < 500
    assert not [act for act in house.reviewer.acts if "\x00" in act.reviewer or "\ud800" in act.reviewer]


@pytest.mark.parametrize("last", ["²", BEYOND_64_BIT, "-1", "x"])
def test_a_stream_from_nowhere_begins_where_the_feed_stands(house: House, last: str) -> None:
    """It is the browser that sends it, from what it was told: another's is as if there were none."""
    with (
        httpx.Client(base_url=house.url, trust_env=False, timeout=5) as client,
        suppress(httpx.ReadTimeout),
        client.stream("GET", "/events", headers={"last-event-id": last.encode()}) as answer,
    ):
        assert answer.status_code == 200
        assert next(answer.iter_lines())
