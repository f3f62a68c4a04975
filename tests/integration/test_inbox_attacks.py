"""The inbox under attack: forms of other pages, streams without end, too many requests."""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack

import httpx
import pytest

from schemas.inbox import InboxResult
from services.inbox import limits
from services.inbox.security import origin_of
from tests.inbox_house import Browserless, House, hidden_fields
from tests.inbox_house import house as house
from tests.inbox_house import visitor as visitor

pytestmark = pytest.mark.integration


@pytest.fixture
def told(house: House, visitor: Browserless) -> InboxResult:
    """A result that the clinician has opened."""
    added = house.add()
    visitor.page(f"/results/{added.result_id}")
    return added


def acceptance(told: InboxResult, **fields: str) -> dict[str, str]:
    form = {"outcome": "accepted", "reviewer": "Mallory", "act_id": str(uuid.uuid4()), "report_version": told.report}
    return form | fields


# -- forms of others (CSRF) ------------------------------------------------------------------------------------------------


def test_a_form_without_a_token_is_refused(house: House, visitor: Browserless, told: InboxResult) -> None:
    assert visitor.http.post(f"/results/{told.result_id}/review", data=acceptance(told)).status_code == 403
    assert not house.reviewer.acts


def test_a_token_that_was_given_to_another_browser_is_refused(
    house: House, visitor: Browserless, told: InboxResult
) -> None:
    mallory = Browserless(house)
    token = hidden_fields(mallory.page(f"/results/{told.result_id}"))["_csrf_token"]
    mallory.close()
    answer = visitor.http.post(f"/results/{told.result_id}/review", data=acceptance(told, _csrf_token=token))
    assert answer.status_code == 403
    assert not house.reviewer.acts


def test_a_planted_cookie_with_its_token_does_not_pass_as_our_own_page(
    house: House, visitor: Browserless, told: InboxResult
) -> None:
    """A page on another port shares our cookies: it plants its own, and sends the token that belongs to it. The browser says where it comes from."""
    mallory = Browserless(house)
    token = hidden_fields(mallory.page(f"/results/{told.result_id}"))["_csrf_token"]
    planted = {"cookie": "; ".join(f"{name}={value}" for name, value in mallory.http.cookies.items())}
    mallory.close()
    form = acceptance(told, _csrf_token=token)
    for said in (
        {"origin": "http://127.0.0.1:9"},
        {"origin": "http://localhost:9"},
        {"origin": "https://evil.example"},
        {"origin": house.url.replace("http:", "https:")},
        {"origin": "null"},
        {"origin": ""},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
    ):
        answer = httpx.post(f"{house.url}/results/{told.result_id}/review", data=form, headers=planted | said)
        assert answer.status_code == 403, said
    assert not house.reviewer.acts


def test_our_own_form_is_taken_with_what_a_browser_says_of_it(
    house: House, visitor: Browserless, told: InboxResult
) -> None:
    visitor.http.headers.update({"origin": house.url, "sec-fetch-site": "same-origin"})
    assert visitor.decide(told.result_id, outcome="accepted").status_code == 200
    assert len(house.reviewer.acts) == 1


def test_the_json_api_takes_nothing_from_a_page_of_another_origin(
    house: House, visitor: Browserless, told: InboxResult
) -> None:
    act = {"act_id": str(uuid.uuid4()), "report_version": told.report, "outcome": "accepted"}
    user = {"X-Longview-User": "Dr. Api"}
    url = f"{house.url}/api/results/{told.result_id}/review"
    assert httpx.post(url, json=act, headers=user | {"origin": "http://127.0.0.1:9"}).status_code == 403
    assert httpx.post(url, json=act, headers=user).status_code == 200


def test_the_forms_cookie_is_out_of_reach_of_scripts_and_of_other_sites(visitor: Browserless) -> None:
    [cookie] = visitor.http.get("/").headers.get_list("set-cookie")
    assert all(word in cookie.lower() for word in ("httponly", "samesite=strict", "path=/")), cookie
    assert "set-cookie" not in visitor.http.get("/").headers, "it is kept"
    assert "set-cookie" not in visitor.http.get("/health").headers


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("https://inbox.example", "https://inbox.example:443", True),
        ("http://inbox.example", "https://inbox.example", False),
        ("http://inbox.example:80", "http://INBOX.example", True),
        ("http://[::1]:8080", "http://[::1]:8080", True),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8081", False),
        ("null", "http://", False),
        ("http://127.0.0.1:x", "http://127.0.0.1", False),
    ],
)
def test_two_addresses_are_of_one_origin(a: str, b: str, same: bool) -> None:
    assert (origin_of(a) is not None and origin_of(a) == origin_of(b)) == same


# -- too much of everything ------------------------------------------------------------------------------------------------


def test_a_client_has_so_many_streams_and_its_pages_still_work(
    house: House, visitor: Browserless, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAMS", 3)
    with ExitStack() as held:
        reading = []
        for _ in range(3):
            stream = held.enter_context(httpx.stream("GET", f"{house.url}/events", timeout=20))
            reading.append(stream.iter_lines())  # kept: a stream whose lines nobody wants is closed
            assert next(reading[-1]).startswith("event: state")
        with httpx.stream("GET", f"{house.url}/events", timeout=20) as refused:
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
        assert visitor.page("/")
    for _ in range(100):  # until the server has noticed that they are gone
        with httpx.stream("GET", f"{house.url}/events", timeout=20) as again:
            if again.status_code == 200:
                return
        time.sleep(0.02)
    pytest.fail("a stream that was closed still counts")


def test_a_client_that_asks_without_end_is_told_to_wait_and_a_probe_is_answered(
    house: House, visitor: Browserless, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BURST", 5)
    monkeypatch.setattr(limits, "REQUESTS_A_SECOND", 0.0)
    answers = [visitor.http.get("/api/results") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].json() == {"detail": "That was too much at once: wait a minute, then try again."}
    assert visitor.http.get("/health").status_code == 200
    assert visitor.http.get("/static/inbox.css").status_code == 200


def test_a_bucket_fills_again_and_the_table_of_clients_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    rates = limits.Rates(clock=lambda: now[0])
    monkeypatch.setattr(limits, "BURST", 2)
    monkeypatch.setattr(limits, "CLIENTS", 10)
    rates._take("a"), rates._take("a")
    with pytest.raises(limits.TooManyRequestsException):
        rates._take("a")
    now[0] += 2 / limits.REQUESTS_A_SECOND
    rates._take("a")
    for number in range(100):
        rates._take(str(number))
    assert len(rates._left) == 10
