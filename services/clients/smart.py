"""SMART Backend Services (HL7 SMART App Launch 2.x): access tokens for a FHIR server, got with a signed assertion and nothing shared.

One `SmartTokens` serves all threads: one of them asks for a token, the others wait for it. Tokens, assertions and the server's words enter neither
errors nor logs; of a refusal its OAuth error code is told, which is one of a few known words.
"""

from __future__ import annotations

import logging
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from joserfc import jwt

from schemas.errors import PartUnavailable, TransientFailure
from schemas.telemetry.fields import fields
from services.clients.smart_keys import SigningKeys, read_keys
from services.clients.smart_scopes import missing, needed
from services.clients.tokens import Access, usable
from services.connection_rules import is_guarded, is_loopback
from services.secret_file import Stamp, stamp

log = logging.getLogger(__name__)
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 150
"""How long an assertion is good for: the middle of the five minutes that are allowed, so that clocks may differ by as much either way.
It says nothing of when it was made (`iat`, `nbf`): a server whose clock is behind ours would not believe it."""
DEFAULT_LIFE = 300.0
"""Seconds, where the server does not say how long a token is good for: what the specification advises at most."""
EARLY_SECONDS, EARLY_SHARE = 60.0, 0.2
"""A token is renewed so long before its end, or this share of its life, whichever is less."""
PAUSE_SECONDS = 5.0
"""After a refusal nobody asks again for so long: a hundred activities must not become a hundred failed log-ins."""
SKEW_SECONDS = 30.0
TIMEOUT = httpx.Timeout(15.0, connect=5.0)

MENDS = {
    "invalid_client": "register the keys of 'longview fhir key --public' for LONGVIEW_FHIR_CLIENT_ID, and check the clocks",
    "unauthorized_client": "let LONGVIEW_FHIR_CLIENT_ID use the grant client_credentials there",
    "invalid_scope": "grant the scopes of 'longview fhir scopes' to LONGVIEW_FHIR_CLIENT_ID there, or set LONGVIEW_FHIR_SCOPES",
    "unsupported_grant_type": "LONGVIEW_FHIR_TOKEN_URL is no token endpoint of SMART Backend Services: check it",
    "invalid_grant": "let LONGVIEW_FHIR_CLIENT_ID use the grant client_credentials there",
    "invalid_request": "check that the server speaks SMART Backend Services, and LONGVIEW_FHIR_TOKEN_URL",
}
"""By the error codes of RFC 6749 section 5.2."""


@dataclass(frozen=True)
class SmartClient:
    """What we are at the authorization server. `token_url` "" is discovered below `fhir_url`; no scopes: those that Longview needs."""

    fhir_url: str
    client_id: str
    key_file: Path
    token_url: str = ""
    scopes: tuple[str, ...] = ()

    @property
    def asked(self) -> list[str]:
        return list(self.scopes) or needed()


@dataclass(frozen=True)
class _Endpoint:
    url: str
    algorithms: list[str]


@dataclass(frozen=True)
class _Token:
    """Times on our monotonic clock."""

    text: str
    got_at: float
    renew_at: float


class SmartTokens:
    """The token in force, renewed before it ends. `TransientFailure`: `smart-unavailable`, `smart-refused`, `smart-scopes`, `smart-answer`,
    `smart-discovery`: all of them heal once a person has mended the registration, and no study is lost for it meanwhile."""

    def __init__(
        self,
        client: SmartClient,
        *,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not is_guarded(client.fhir_url):
            raise PartUnavailable(
                "setting-fhir-clear",
                "LONGVIEW_FHIR_URL is not https, and access tokens would travel in the clear: give its https address.",
            )
        self._client, self._clock, self._monotonic = client, clock, monotonic
        self._keys = _KeysOfFile(client.key_file)
        self._http = httpx.Client(
            timeout=TIMEOUT, transport=transport, verify=verify, trust_env=not is_loopback(client.fhir_url)
        )
        self._guard = threading.Lock()
        self._token: _Token | None = None
        self._endpoint: _Endpoint | None = None
        self._refused: tuple[float, TransientFailure] | None = None

    def close(self) -> None:
        self._http.close()

    def current(self) -> str:
        """A token that is good for some time yet."""
        with self._guard:
            if self._token is None or self._monotonic() >= self._token.renew_at:
                self._token = self._asked()
            return self._token.text

    def renewed(self, refused: str) -> str:
        """Another token than `refused`, which the FHIR server did not take: the one that another thread has got meanwhile, or a new one.

        One that was got this moment stays: a server that takes none of our tokens must not make us ask for one with every request.
        """
        with self._guard:
            last = self._token
            if last is None or (last.text == refused and self._monotonic() >= last.got_at + PAUSE_SECONDS):
                self._token = None
                self._token = last = self._asked()
            return last.text

    def require(self) -> None:
        """For a process that starts: `PartUnavailable` where a person must mend something. A server that is only away is waited for at work."""
        try:
            self.current()
        except TransientFailure as failure:
            if failure.code == "smart-unavailable":
                log.warning("authorization-server-away", extra=fields(code=failure.code))
                return
            raise PartUnavailable(failure.code, failure.hint) from failure

    # -- asking ----------------------------------------------------------------------------------------------------------------

    def _asked(self) -> _Token:
        if self._refused is not None and self._monotonic() < self._refused[0]:
            raise TransientFailure(self._refused[1].code, self._refused[1].hint)
        self._refused = None
        try:
            return self._ask(self._endpoint or self._discovered())
        except TransientFailure as failure:
            self._endpoint = None
            if failure.code != "smart-unavailable":
                self._refused = (self._monotonic() + PAUSE_SECONDS, failure)
            raise

    def _discovered(self) -> _Endpoint:
        """From the settings, or `.well-known/smart-configuration` below the FHIR server's base ("Conformance" of the specification)."""
        if self._client.token_url:
            self._endpoint = _Endpoint(self._client.token_url, [])
            return self._endpoint
        response = self._send("GET", f"{self._client.fhir_url.rstrip('/')}/.well-known/smart-configuration")
        if _is_away(response):
            raise TransientFailure("smart-unavailable", f"the FHIR server answered {response.status_code}")
        if response.status_code != 200:
            raise _discovery(f"it answers {response.status_code}")
        self._endpoint = _endpoint(_object(response))
        return self._endpoint

    def _ask(self, endpoint: _Endpoint) -> _Token:
        asked = self._monotonic()
        form = {
            "grant_type": "client_credentials",
            "scope": " ".join(self._client.asked),
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(endpoint),
        }
        response = self._send("POST", endpoint.url, data=form)
        if response.status_code != 200:
            raise self._refusal(response)
        return self._taken(_object(response), asked)

    def _assertion(self, endpoint: _Endpoint) -> str:
        key, algorithm = self._keys.current().signer(endpoint.algorithms)
        claims = {
            "iss": self._client.client_id,
            "sub": self._client.client_id,
            "aud": endpoint.url,
            "exp": int(self._clock()) + ASSERTION_SECONDS,
            "jti": secrets.token_urlsafe(24),
        }
        return jwt.encode({"alg": algorithm, "kid": key.kid}, claims, key, algorithms=[algorithm])

    def _taken(self, answer: dict[str, Any], asked: float) -> _Token:
        token = answer.get("access_token")
        if not usable(token) or str(answer.get("token_type", "")).lower() != "bearer":
            raise TransientFailure(
                "smart-answer", "the authorization server's answer holds no bearer token: look at its log"
            )
        lacking = missing(self._client.asked, str(answer.get("scope") or " ".join(self._client.asked)).split())
        if lacking:
            raise TransientFailure(
                "smart-scopes",
                f"the authorization server grants less than is asked for; give LONGVIEW_FHIR_CLIENT_ID also: {' '.join(lacking)}",
            )
        life = answer.get("expires_in")
        seconds = float(life) if isinstance(life, int | float) and life > 0 else DEFAULT_LIFE
        return _Token(str(token), asked, asked + seconds - min(EARLY_SECONDS, seconds * EARLY_SHARE))

    def _refusal(self, response: httpx.Response) -> TransientFailure:
        if _is_away(response):
            return TransientFailure(
                "smart-unavailable",
                f"the authorization server answered {response.status_code}: wait, or look at its log",
            )
        said = _object(response, strict=False).get("error")
        code = said if said in MENDS else "unknown"
        mend = MENDS.get(str(code), "its log says why")
        return TransientFailure("smart-refused", f"the authorization server says {code}: {mend}{self._skew(response)}")

    def _skew(self, response: httpx.Response) -> str:
        """How far the server's clock (RFC 9110, Date) is from ours, where that may be the reason."""
        try:
            theirs = parsedate_to_datetime(response.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return ""
        ahead = self._clock() - theirs
        return f" (our clock and its differ by {abs(ahead):.0f} s)" if abs(ahead) > SKEW_SECONDS else ""

    def _send(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        """Redirects are not followed: an assertion is for one address."""
        try:
            return self._http.request(method, url, headers={"Accept": "application/json"}, **arguments)
        except httpx.HTTPError:
            raise TransientFailure("smart-unavailable", "the authorization server does not answer") from None


class SmartAuth(Access):
    """On every request the token in force; after a 401 one other token and one more try. `TransientFailure` (`smart-token-refused`) after that."""

    def __init__(self, tokens: SmartTokens) -> None:
        self._tokens = tokens

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._tokens.current()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401 and (other := self._tokens.renewed(token)) != token:
            request.headers["Authorization"] = f"Bearer {other}"
            response = yield request
        if response.status_code == 401:
            raise TransientFailure(
                "smart-token-refused",
                "the FHIR server does not take a token that its authorization server has just given us: its own log says why",
            )

    def close(self) -> None:
        self._tokens.close()


class _KeysOfFile:
    """The keys, read again when their file has changed; broken for the moment, it changes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: Stamp = stamp(path)
        self._keys = read_keys(path)

    def current(self) -> SigningKeys:
        seen = stamp(self._path)
        if seen is not None and seen != self._stamp:
            self._stamp = seen  # a file that does not serve is told of once
            try:
                self._keys = read_keys(self._path)
            except PartUnavailable as error:
                log.warning("fhir-keys-not-read", extra=fields(code=error.code))
        return self._keys


def _endpoint(told: dict[str, Any]) -> _Endpoint:
    url = told.get("token_endpoint")
    if not isinstance(url, str) or not urlsplit(url).hostname:
        raise _discovery("it names no token endpoint")
    if not is_guarded(url):
        raise _discovery("its token endpoint is not https")
    if "private_key_jwt" not in told.get("token_endpoint_auth_methods_supported", ["private_key_jwt"]):
        raise _discovery("it does not take signed assertions (private_key_jwt)")
    if "client_credentials" not in told.get("grant_types_supported", ["client_credentials"]):
        raise _discovery("it does not know the grant client_credentials")
    return _Endpoint(url, list(told.get("token_endpoint_auth_signing_alg_values_supported") or []))


def _is_away(response: httpx.Response) -> bool:
    return response.status_code in (408, 425, 429) or response.status_code >= 500


def _discovery(what: str) -> TransientFailure:
    return TransientFailure(
        "smart-discovery",
        f"the FHIR server's .well-known/smart-configuration does not serve: {what}; set LONGVIEW_FHIR_TOKEN_URL",
    )


def _object(response: httpx.Response, *, strict: bool = True) -> dict[str, Any]:
    try:
        told = response.json()
    except ValueError:
        told = None
    if isinstance(told, dict):
        return told
    if strict:
        raise TransientFailure("smart-answer", "the authorization server's answer is no JSON object: look at its log")
    return {}
