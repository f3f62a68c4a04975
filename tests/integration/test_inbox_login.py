"""The inbox behind a login: a clinician logs in at the hospital, reviews under their own name and logs out; everybody else stays outside."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from schemas.errors import PartUnavailable, StaleWrite
from schemas.report import ReviewerIdentity
from services.clients.oidc import OpenIdIssuer
from services.db import AuditTrail, SessionRecords
from services.inbox.access import Groups, refuse_open_inbox
from services.inbox.login import IDLE, SESSION, Logins, own_path
from services.settings import Settings
from tests.inbox_house import Browserless, House, hidden_fields, open_house
from tests.inbox_house import visitor as visitor
from tests.openid_provider import AUDITOR, CLIENT, INES, PORTER, SECRET, Provider, make_key, running_provider

pytestmark = pytest.mark.integration
GROUPS = Groups("groups", "radiology", "privacy-office")


class Clock:
    """The inbox's clock, which a test turns forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def clock() -> Clock:
    return Clock()


def logins_at(provider: Provider, clock: Callable[[], datetime]) -> Callable[[House, str], Logins]:
    def made(house: House, url: str) -> Logins:
        provider.now = lambda: clock().timestamp()
        issuer = OpenIdIssuer(provider.issuer, CLIENT, SECRET, now=lambda: clock().timestamp())
        seal = base64.urlsafe_b64encode(b"s" * 32)
        sessions, trail = SessionRecords(house.database), AuditTrail(house.database)
        return Logins(issuer, GROUPS, sessions, trail, seal, url, clock)

    return made


@pytest.fixture
def house(tmp_path: Path, provider: Provider, clock: Clock) -> Iterator[House]:
    with open_house(tmp_path, logins_at(provider, clock)) as house:
        yield house


def trail_of(house: House) -> list[tuple[str, str, str | None]]:
    """Oldest first: kind, outcome, person."""
    rows = reversed(house.trail.entries())
    return [(r.entry.kind, r.entry.outcome, r.entry.person.name if r.entry.person else None) for r in rows]


# -- people --------------------------------------------------------------------------------------------------------------------------


def test_a_clinician_logs_in_reviews_under_their_own_name_and_logs_out(
    house: House, visitor: Browserless, provider: Provider
) -> None:
    told = house.add()
    page = visitor.page(f"/results/{told.result_id}")  # through the login, and back to where they wanted to go
    assert "Pulmonary nodule" in page
    assert "As <b>Dr. Ines Halloran</b>" in page
    assert 'name="reviewer"' not in page
    answer = visitor.decide(told.result_id, outcome="accepted", reviewer="Somebody Else")
    assert "Accepted</b> by Dr. Ines Halloran" in answer.text
    [act] = house.reviewer.acts
    assert act.reviewer == "Dr. Ines Halloran"
    assert act.identity == ReviewerIdentity(issuer=provider.issuer, subject="u-17")
    left = visitor.http.post("/logout", data={"_csrf_token": hidden_fields(answer.text)["_csrf_token"]})
    assert "You are logged out here" in left.text
    assert f'content="0; url={provider.issuer}/logout?id_token_hint=' in left.text
    assert visitor.http.get("/", follow_redirects=False).status_code == 303
    kinds = [kind for kind, _, _ in trail_of(house)]
    assert kinds == [
        "result-posted",
        "login",
        "result-opened",
        "result-opened",
        "review-written",
        "decision-sent",
        "result-opened",
        "logout",
    ]
    sent = next(r.entry for r in house.trail.entries() if r.entry.kind == "decision-sent")
    assert sent.person is not None
    assert (sent.person.subject, sent.person.issuer) == ("u-17", provider.issuer)
    assert sent.act_id == house.reviewer.acts[0].act_id
    assert house.trail.verify().broken_at is None


def test_nothing_but_the_health_check_and_the_styles_is_seen_without_a_login(house: House) -> None:
    told = house.add()
    with httpx.Client(base_url=house.url, trust_env=False) as stranger:
        for path in ("/", f"/results/{told.result_id}", f"/results/{told.result_id}/evidence/1/current", "/audit"):
            answer = stranger.get(path)
            assert (answer.status_code, answer.text) == (303, "")
            assert answer.headers["location"].startswith("/login?to=%2F")
        for path in ("/rows", "/events", "/api/results", f"/api/results/{told.result_id}", "/no-such-page/x"):
            assert "Lindqvist" not in stranger.get(path).text
        assert [stranger.get(p).status_code for p in ("/rows", "/events", "/api/results")] == [401, 401, 401]
        assert stranger.post(f"/results/{told.result_id}/review").status_code in (401, 403)
        header = {"X-Longview-User": "Dr. Nobody"}
        assert stranger.post(f"/api/results/{told.result_id}/opened", headers=header).status_code == 401
        assert stranger.get("/health").json() == {"status": "ok"}
        assert stranger.get("/static/inbox.css").status_code == 200
    assert [kind for kind, _, _ in trail_of(house)] == ["result-posted"], "nothing was shown, so nothing is recorded"


def test_a_person_in_no_group_is_told_so_and_sees_nothing(
    house: House, visitor: Browserless, provider: Provider
) -> None:
    told = house.add()
    provider.person = dict(PORTER)
    answer = visitor.http.get(f"/results/{told.result_id}")
    assert answer.status_code == 403
    assert "not in a group that may do this" in answer.text
    assert "Sam Porter" in answer.text
    assert "Lindqvist" not in answer.text
    assert visitor.http.get("/audit").status_code == 403
    assert ("access-refused", "refused", "Sam Porter") in trail_of(house)
    left = visitor.http.post("/logout", data={"_csrf_token": hidden_fields(answer.text)["_csrf_token"]})
    assert left.status_code == 200


def test_an_auditor_sees_the_trail_and_no_result(house: House, visitor: Browserless, provider: Provider) -> None:
    told = house.add()
    provider.person = dict(AUDITOR)
    page = visitor.page(f"/audit?result={told.result_id}")
    assert "result posted" in page
    assert told.patient.resource.split("/_history/")[0] in page
    assert "Lindqvist" not in page
    assert visitor.http.get("/").status_code == 403
    assert ("audit-read", "success", "Ada Okonjo") in trail_of(house)
    [looked] = [row.entry for row in house.trail.entries() if row.entry.kind == "audit-read"]
    assert (looked.patient, looked.result_id) == (told.patient.resource.split("/_history/")[0], told.result_id)
    visitor.page("/audit?patient=p-77")
    newest = house.trail.entries()[0].entry
    assert (newest.kind, newest.patient) == ("audit-read", "Patient/p-77")
    assert visitor.http.get("/audit?patient=Lindqvist, Maren").status_code == 400


@pytest.mark.parametrize(
    ("named", "known"),
    [
        ("Practitioner/17", "Practitioner/17"),
        ("https://fhir.example.org/r4/Practitioner/17", "Practitioner/17"),
        ("https://elsewhere.example.org/r4/Practitioner/17", None),
        ("https://fhir.example.org/r4/Patient/17", None),
        ("Practitioner/17/_history/2", None),
        (["Practitioner/17"], None),
        (None, None),
    ],
)
def test_the_issuer_names_the_practitioner(named: Any, known: str | None) -> None:
    """SMART App Launch, `fhirUser`; a person of another FHIR server is none of ours."""
    claims = {"sub": "u-17", "iss": "https://idp.example", "name": "Dr. Ines Halloran", "fhirUser": named}
    groups = replace(GROUPS, fhir_url="https://fhir.example.org/r4")
    assert groups.visitor(claims).identity.practitioner == known


def test_a_reviewer_does_not_see_who_else_has_looked(house: House, visitor: Browserless) -> None:
    visitor.page("/")
    for path in ("/audit", "/audit/", "/audit?patient="):
        answer = visitor.http.get(path)
        assert answer.status_code in (403, 404)
        assert "result opened" not in answer.text
    assert ("access-refused", "refused", "Dr. Ines Halloran") in trail_of(house)


def test_every_look_is_recorded_with_person_and_patient(house: House, visitor: Browserless) -> None:
    told = house.add()
    visitor.page("/")
    visitor.page("/rows")
    visitor.page("/rows")
    visitor.page(f"/results/{told.result_id}")
    visitor.http.get(f"/results/{told.result_id}/evidence/1/prior")
    rows = [r.entry for r in reversed(house.trail.entries())][2:]
    assert [r.kind for r in rows] == ["list-read", "result-opened", "picture-read"]
    assert {r.person.subject for r in rows if r.person} == {"u-17"}
    assert {r.address for r in rows} == {"127.0.0.1"}
    assert rows[2].part == "evidence 1 prior"
    assert rows[1].patient == told.patient.resource.split("/_history/")[0]
    assert rows[1].data == told.report


def test_a_decision_that_was_refused_is_recorded_too(house: House, visitor: Browserless) -> None:
    told = house.add()
    visitor.page("/")
    house.reviewer.failure = StaleWrite("already-reviewed", "decided")
    assert visitor.decide(told.result_id, outcome="accepted").status_code == 409
    assert ("decision-sent", "refused", "Dr. Ines Halloran") in trail_of(house)


def test_if_the_trail_cannot_be_written_nothing_is_shown(
    house: House, visitor: Browserless, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = house.add()
    visitor.page("/")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("services.db.reading.append", full)
    monkeypatch.setattr("services.db.audit.append", full)
    for path in ("/", f"/results/{told.result_id}", f"/results/{told.result_id}/evidence/1/current"):
        answer = visitor.http.get(path)
        assert answer.status_code == 500
        assert "Lindqvist" not in answer.text
        assert answer.headers["content-type"] != "image/png"


# -- sessions ------------------------------------------------------------------------------------------------------------------------


def session_of(visitor: Browserless) -> str:
    return str(visitor.http.cookies.get("longview_session"))


def test_a_session_ends_when_idle_and_at_the_latest_after_a_shift(
    house: House, visitor: Browserless, clock: Clock
) -> None:
    visitor.page("/")

    def logged_in() -> bool:
        return visitor.http.get("/", follow_redirects=False).status_code == 200

    clock.ahead += IDLE - timedelta(minutes=2)
    assert logged_in()
    clock.ahead += IDLE - timedelta(minutes=2)
    assert logged_in(), "whoever does something is not idle"
    clock.ahead += IDLE - timedelta(minutes=2)
    assert visitor.http.get("/rows").status_code == 200, "a page that is open is still served"
    clock.ahead += timedelta(minutes=3)
    assert not logged_in(), "but what it asks for by itself keeps nobody logged in"
    clock.ahead += timedelta(hours=3)
    assert visitor.http.get("/rows").status_code == 200, (
        "a list on the wall does not fall silent in the middle of a shift"
    )
    assert not logged_in()
    clock.ahead += SESSION
    assert visitor.http.get("/rows").status_code == 401
    visitor.page("/")  # logs in anew
    for _ in range(int(SESSION / timedelta(minutes=25))):
        clock.ahead += timedelta(minutes=25)
        logged_in()
    clock.ahead += timedelta(minutes=24)
    assert not logged_in()


def test_a_logout_ends_the_session_even_for_who_has_copied_the_cookie(house: House, visitor: Browserless) -> None:
    page = visitor.page("/")
    stolen = session_of(visitor)
    visitor.http.post("/logout", data={"_csrf_token": hidden_fields(page)["_csrf_token"]})
    with httpx.Client(base_url=house.url, cookies={"longview_session": stolen}, trust_env=False) as thief:
        assert thief.get("/").status_code == 303


def test_the_database_holds_nothing_one_could_log_in_with(house: House, visitor: Browserless, tmp_path: Path) -> None:
    visitor.page("/")
    secret = session_of(visitor).encode()
    assert len(secret) > 40
    for file in tmp_path.glob("inbox.db*"):
        assert secret not in file.read_bytes()


def test_a_logout_needs_the_pages_own_token(house: House, visitor: Browserless) -> None:
    visitor.page("/")
    assert visitor.http.post("/logout").status_code == 403
    assert visitor.http.get("/", follow_redirects=False).status_code == 200


def test_cookies_are_kept_from_scripts_and_other_sites(house: House, visitor: Browserless) -> None:
    begun = visitor.http.get("/login", follow_redirects=False)
    came = visitor.http.get(begun.headers["location"], follow_redirects=False)
    back = visitor.http.get(came.headers["location"], follow_redirects=False)
    for cookie in [*begun.headers.get_list("set-cookie"), *back.headers.get_list("set-cookie")]:
        if "longview_session" in cookie or "longview_login" in cookie:
            assert "HttpOnly" in cookie
            assert "samesite=lax" in cookie.lower()
            assert "Domain" not in cookie
    assert back.headers["content-security-policy"].startswith("default-src 'none'")


def test_behind_tls_cookies_are_bound_to_host_and_tls(house: House) -> None:
    assert house.logins is not None
    house.logins.secure = True
    with httpx.Client(base_url=house.url, trust_env=False) as browser:
        cookie = browser.get("/login").headers["set-cookie"]
    assert cookie.startswith("__Host-longview_login=")
    assert "Secure" in cookie
    assert "Path=/" in cookie


# -- what comes back from the issuer -------------------------------------------------------------------------------------------------


def other(name: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda claims: {k: v for k, v in (claims | {name: value}).items() if v is not None}


@pytest.mark.parametrize(
    "falsify",
    [
        other("iss", "https://elsewhere.example.org"),
        other("aud", "another-client"),
        other("aud", ["another-client", "third"]),
        other("azp", "another-client"),
        lambda claims: claims | {"aud": [CLIENT, "another-client"]},
        other("exp", int(time.time()) - 3600),
        other("exp", None),
        other("iat", int(time.time()) + 3600),
        other("nonce", "of another login"),
        other("nonce", None),
        other("sub", None),
    ],
    ids=[
        "another issuer",
        "another audience",
        "other audiences",
        "issued to another client",
        "several audiences and no azp",
        "expired",
        "never expires",
        "from the future",
        "replayed nonce",
        "no nonce",
        "nobody",
    ],
)
def test_an_id_token_that_is_not_of_this_login_is_refused(
    house: House, visitor: Browserless, provider: Provider, falsify: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    provider.falsify = falsify
    answer = visitor.http.get("/")
    assert answer.status_code == 400
    assert "The login did not work" in answer.text
    assert "longview_session" not in visitor.http.cookies
    assert trail_of(house) == [("login-refused", "refused", None)]


def test_keys_that_the_issuer_rotates_are_fetched_and_old_ones_count_no_more(
    house: House, visitor: Browserless, provider: Provider, clock: Clock
) -> None:
    old = provider.keys[0]
    api = httpx.Client(base_url=house.url, trust_env=False)

    def status(token: str) -> int:
        return api.get("/api/results", headers={"Authorization": f"Bearer {token}"}).status_code

    assert status(provider.access_token()) == 200
    provider.rotate("k2", "ES256")
    clock.ahead += timedelta(seconds=11)
    assert status(provider.access_token()) == 200
    forged = provider.sign(jwt.decode(provider.access_token(), provider.keys[0], ["ES256"]).claims, old)
    assert status(forged) == 401
    asked = provider.asked.count("/jwks")
    for number in range(20):
        made_up = provider.sign({"iss": provider.issuer}, make_key(f"made-up-{number}", "ES256"))
        assert status(made_up) == 401
    assert provider.asked.count("/jwks") <= asked + 1, "made-up keys are no way to flood the issuer"
    api.close()


@pytest.mark.parametrize("kind", ["none", "HS256", "another key", "changed", "not a token"])
def test_a_token_that_the_issuer_did_not_sign_is_refused(house: House, provider: Provider, kind: str) -> None:
    """`none` and HMAC with the public key are the classic confusions (RFC 8725, 2.1)."""
    good = provider.access_token()
    head, body, signature = good.split(".")
    if kind == "none":
        bare = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
        token = f"{bare}.{body}."
    elif kind == "HS256":
        public = OctKey.import_key(json.dumps(provider.keys[0].as_dict(private=False)))
        claims = json.loads(base64.urlsafe_b64decode(body + "=="))
        token = jwt.encode({"alg": "HS256", "kid": "k1"}, claims, public, algorithms=["HS256"])
    elif kind == "another key":
        token = provider.sign(json.loads(base64.urlsafe_b64decode(body + "==")), make_key("k1"))
    elif kind == "changed":
        claims = json.loads(base64.urlsafe_b64decode(body + "==")) | {"sub": "u-1"}
        token = f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{signature}"
    else:
        token = "x" * 40
    with httpx.Client(base_url=house.url, trust_env=False) as api:
        answer = api.get("/api/results", headers={"Authorization": f"Bearer {token}"})
        assert api.get("/api/results", headers={"Authorization": f"Bearer {good}"}).status_code == 200
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_an_answer_to_another_browsers_login_is_refused(house: House, provider: Provider) -> None:
    """Login CSRF: an attacker's callback address must not log the victim in as the attacker."""
    with (
        httpx.Client(base_url=house.url, trust_env=False) as attacker,
        httpx.Client(base_url=house.url, trust_env=False) as victim,
    ):
        sent = attacker.get("/login").headers["location"]
        callback = attacker.get(sent).headers["location"]
        assert victim.get(callback).status_code == 400
        victim.get("/login")
        assert victim.get(callback).status_code == 400
        assert attacker.get(callback).status_code == 303, "the control: the browser that began it is let in"
        assert attacker.get(callback).status_code == 400, "and only once"


def test_pkce_a_code_that_was_intercepted_is_worth_nothing(house: House, provider: Provider) -> None:
    with httpx.Client(base_url=house.url, trust_env=False) as victim, httpx.Client(trust_env=False) as thief:
        callback = victim.get(victim.get("/login").headers["location"]).headers["location"]
        code = parse_qs(urlsplit(callback).query)["code"][0]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": f"{house.url}/login/callback",
            "code_verifier": "guessed",
        }
        assert thief.post(f"{provider.issuer}/token", data=form, auth=(CLIENT, SECRET)).status_code == 400


@pytest.mark.parametrize(
    ("asked", "goes"),
    [
        ("/results/x?y=1", "/results/x?y=1"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/login", "/"),
        ("/x\r\nset-cookie: a=b", "/"),
        ("", "/"),
    ],
)
def test_a_login_never_leads_to_another_site(asked: str, goes: str) -> None:
    assert own_path(asked) == goes


def test_while_the_issuer_is_away_nobody_new_gets_in_and_who_is_in_stays_in(
    house: House, visitor: Browserless, provider: Provider
) -> None:
    visitor.page("/")
    provider.away = True
    assert visitor.http.get("/", follow_redirects=False).status_code == 200
    assert house.logins is not None
    house.logins._issuer._provider = None
    with httpx.Client(base_url=house.url, trust_env=False, follow_redirects=True) as newcomer:
        answer = newcomer.get("/")
    assert answer.status_code == 503
    assert "try again in a minute" in answer.text


# -- programs ------------------------------------------------------------------------------------------------------------------------


def test_a_program_reviews_with_a_bearer_token_and_the_name_is_the_tokens(house: House, provider: Provider) -> None:
    told = house.add()
    bearer = {"Authorization": f"Bearer {provider.access_token()}", "X-Longview-User": "Somebody Else"}
    with httpx.Client(base_url=house.url, headers=bearer, trust_env=False) as api:
        assert api.get("/api/results").json()["matching"] == 1
        assert api.post(f"/api/results/{told.result_id}/opened").status_code == 204
        decision = {
            "act_id": "3f0e2f4e-5a3c-4a06-9d6c-2f9c2b8f7f11",
            "report_version": told.report,
            "outcome": "accepted",
            "reviewer": "Somebody Else",
        }
        assert api.post(f"/api/results/{told.result_id}/review", json=decision).status_code == 200
    assert house.reviewer.acts[0].reviewer == INES["name"]
    assert ("decision-sent", "success", INES["name"]) in trail_of(house)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"aud": "another-api"}, 401),
        ({"aud": ["another-api", CLIENT]}, 200),
        ({"exp": int(time.time()) - 600}, 401),
        ({"groups": ["staff"]}, 403),
        ({"groups": None}, 403),
        ({"groups": "radiology"}, 200),
        ({"nonce": "an ID token"}, 401),
    ],
)
def test_a_bearer_token_counts_for_us_for_its_time_and_its_groups(
    house: House, provider: Provider, changes: dict[str, Any], status: int
) -> None:
    bearer = {"Authorization": f"Bearer {provider.access_token(**changes)}"}
    with httpx.Client(base_url=house.url, headers=bearer, trust_env=False) as api:
        assert api.get("/api/results").status_code == status


def test_a_browsers_session_is_no_key_to_the_api(house: House, visitor: Browserless) -> None:
    """The API has no form tokens: a cookie, which a browser adds by itself, must not open it."""
    told = house.add()
    visitor.page("/")
    header = {"X-Longview-User": "Dr. Ines Halloran"}
    assert visitor.http.post(f"/api/results/{told.result_id}/opened", headers=header).status_code == 401


def test_made_up_tokens_cannot_fill_the_trail(house: House) -> None:
    with httpx.Client(base_url=house.url, headers={"Authorization": "Bearer x.y.z"}, trust_env=False) as api:
        assert {api.get("/api/results").status_code for _ in range(60)} == {401}
    assert len(house.trail.entries()) == 30


def test_groups_may_stand_in_a_claim_within_a_claim() -> None:
    groups = Groups("realm_access.roles", "reviewer", "auditor")
    base = {"sub": "u", "iss": "https://login.example.org", "name": "Dr. X"}
    assert groups.visitor(base | {"realm_access": {"roles": ["reviewer"]}}).reviewer
    assert not groups.visitor(base | {"realm_access": ["reviewer"]}).reviewer
    assert not groups.visitor(base).reviewer
    assert not Groups("groups", "", "").visitor(base | {"groups": [""]}).reviewer, "no group set is nobody's right"


# -- starting ------------------------------------------------------------------------------------------------------------------------

OIDC = {
    "inbox_login": "oidc",
    "oidc_issuer": "https://login.example.org",
    "oidc_client_id": CLIENT,
    "oidc_reviewers": "radiology",
    "inbox_url": "https://inbox.example.org",
}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.5"])
def test_without_a_login_the_inbox_may_listen_on_loopback(host: str) -> None:
    refuse_open_inbox(Settings(inbox_host=host))


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"inbox_host": "0.0.0.0"}, "inbox-login"),
        ({"inbox_host": "10.1.2.3"}, "inbox-login"),
        ({"inbox_host": "::"}, "inbox-login"),
        ({"inbox_host": "inbox.example.org"}, "inbox-login"),
        (OIDC | {"inbox_url": "http://inbox.example.org"}, "inbox-url"),
        *((OIDC | {name: ""}, "setting-missing") for name in OIDC if name != "inbox_login"),
    ],
)
def test_an_inbox_that_everybody_could_use_does_not_start(settings: dict[str, str], code: str) -> None:
    with pytest.raises(PartUnavailable) as refused:
        refuse_open_inbox(Settings(**settings))
    assert refused.value.code == code
    refuse_open_inbox(Settings(**OIDC, inbox_host="0.0.0.0"))


async def test_an_issuer_without_tls_is_refused() -> None:
    with pytest.raises(PartUnavailable):
        OpenIdIssuer("http://login.example.org", CLIENT, SECRET)


# -- who has read what -----------------------------------------------------------------------------------------------------------------


def test_what_is_unread_is_so_for_each_person(house: House, visitor: Browserless, provider: Provider) -> None:
    told = house.add()
    assert "1 unread" in visitor.page("/")
    visitor.page(f"/results/{told.result_id}")
    page = visitor.page("/")
    assert ("0 unread" in page, "unseen" in page) == (True, False)
    provider.person = dict(INES) | {"sub": "u-99", "name": "Dr. Other"}
    other = Browserless(house)
    try:
        page = other.page("/")
        assert ("1 unread" in page, "unseen" in page) == (True, True), "that a colleague has opened it is their reading"
    finally:
        other.close()


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Purpose": "prefetch"}, {"Purpose": "prefetch"}, {"Sec-Fetch-Dest": "image"}, {"Sec-Fetch-Dest": "empty"}],
)
def test_what_a_browser_fetches_in_advance_or_as_an_image_is_not_read(
    house: House, visitor: Browserless, headers: dict[str, str]
) -> None:
    told = house.add()
    visitor.page("/")
    assert visitor.http.get(f"/results/{told.result_id}", headers=headers).status_code == 200
    entry = house.reader.get(told.result_id)
    assert entry is not None
    assert (entry.row.status, entry.row.opened_at) == ("unread", None)
    assert "1 unread" in visitor.page("/")
