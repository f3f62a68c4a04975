"""An OpenID Connect issuer: authorization code flow with PKCE, and the check of what it signs (OpenID Connect Core 1.0, RFC 7636, RFC 8725).

Only RS256 and ES256 are taken, by keys that the issuer publishes. Tokens, codes and claims enter no error and no log.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from schemas.errors import LongviewError, PartUnavailable, TransientFailure
from services.connection_rules import is_loopback

ALGORITHMS = ("RS256", "ES256")
SCOPE = "openid profile"
LEEWAY_SECONDS = 60
METADATA_SECONDS = 3600.0
KEYS_AGAIN_SECONDS = 10.0
"""A token with a key we do not know makes us ask the issuer again, at most this often: made-up key ids must not become requests to it."""
TIMEOUT = httpx.Timeout(10.0, connect=5.0)
Claims = dict[str, Any]


class LoginRefused(LongviewError):
    """The issuer, or our check of what it signed, does not let this person in."""


@dataclass(frozen=True)
class Provider:
    """What the issuer says of itself (OpenID Connect Discovery 1.0)."""

    authorization: str
    token: str
    jwks: str
    end_session: str | None
    """Where people log out at the issuer too (RP-Initiated Logout 1.0), if it offers that."""
    basic: bool
    """Whether the secret goes by HTTP Basic; else in the body."""


@dataclass(frozen=True)
class Attempt:
    """What a login must come back with."""

    state: str
    nonce: str
    verifier: str


class OpenIdIssuer:
    """One issuer and our registration with it. Safe for one event loop."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        *,
        verify: ssl.SSLContext | bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`PartUnavailable` for an issuer without TLS, unless it is on this very machine."""
        self.issuer, self._client_id, self._secret, self._now = issuer, client_id, client_secret, now
        local = is_loopback(issuer)
        if not (issuer.startswith("https://") or (local and issuer.startswith("http://"))):
            raise PartUnavailable("oidc-issuer", "LONGVIEW_OIDC_ISSUER is no https URL: logins need TLS.")
        self._allowed = ("https://", "http://") if local else ("https://",)
        self._http = httpx.AsyncClient(verify=verify, timeout=TIMEOUT, trust_env=not local)
        self._provider: tuple[float, Provider] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._asking = asyncio.Lock()

    async def close(self) -> None:
        await self._http.aclose()

    # -- the flow --------------------------------------------------------------------------------------------------------------

    async def authorization_url(self, redirect_uri: str, attempt: Attempt) -> str:
        """Where the browser is sent to."""
        provider = await self.provider()
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPE,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge(attempt.verifier),
            "code_challenge_method": "S256",
        }
        return _with_query(provider.authorization, asked)

    async def redeem(self, code: str, redirect_uri: str, attempt: Attempt) -> tuple[str, Claims]:
        """The ID token for a code, and its claims once they are checked. `LoginRefused`, or `TransientFailure` while the issuer is away."""
        provider = await self.provider()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self._client_id,
            "code_verifier": attempt.verifier,
        }
        auth = None
        if self._secret and provider.basic:
            auth = httpx.BasicAuth(self._client_id, self._secret)
        elif self._secret:
            form["client_secret"] = self._secret
        answer = await self._send("POST", provider.token, data=form, auth=auth)
        if 400 <= answer.status_code < 500:
            raise LoginRefused("login-code", "the issuer does not take the code of this login")
        token = str(_object(answer).get("id_token", ""))
        return token, await self.id_claims(token, attempt.nonce)

    async def logout_url(self, id_token: str, back_to: str) -> str | None:
        """Where a browser logs out at the issuer too; None where the issuer offers no such thing."""
        end = (await self.provider()).end_session
        asked = {"id_token_hint": id_token, "client_id": self._client_id, "post_logout_redirect_uri": back_to}
        return _with_query(end, asked) if end else None

    # -- what is signed --------------------------------------------------------------------------------------------------------

    async def id_claims(self, token: str, nonce: str) -> Claims:
        """Claims of an ID token that is ours and of this very login (OpenID Connect Core 3.1.3.7)."""
        claims = await self._verified(token, nonce=nonce)
        audience = claims["aud"]
        several = isinstance(audience, list) and len(audience) > 1
        if claims.get("azp", None if several else self._client_id) != self._client_id:
            raise LoginRefused("login-token", "the ID token was issued to another client")
        return claims

    async def access_claims(self, token: str) -> Claims:
        """Claims of a bearer token whose audience is us (RFC 9068). An ID token is none: it proves a login to us, not a right to call us."""
        claims = await self._verified(token)
        if "nonce" in claims or "at_hash" in claims:
            raise LoginRefused("token-kind", "an ID token is no access token")
        return claims

    async def _verified(self, token: str, nonce: str | None = None) -> Claims:
        rules = {name: {"essential": True} for name in ("sub", "exp", "iat")}
        rules |= {"iss": _exactly(self.issuer), "aud": _exactly(self._client_id)}
        rules |= {"nonce": _exactly(nonce)} if nonce is not None else {}
        registry = jwt.JWTClaimsRegistry(now=int(self._now()), leeway=LEEWAY_SECONDS, **rules)  # type: ignore[arg-type]
        try:
            claims = await self._signed(token)
            registry.validate(claims)
        except (JoseError, ValueError) as error:
            raise LoginRefused("login-token", "the token is not valid here, or no longer") from error
        return claims

    async def _signed(self, token: str) -> Claims:
        """By a key that the issuer publishes; asked for again where the key is new (rotation)."""
        try:
            return _decoded(token, await self._key_set())
        except InvalidKeyIdError:
            return _decoded(token, await self._key_set(unknown_key=True))

    async def _key_set(self, *, unknown_key: bool = False) -> KeySet:
        async with self._asking:
            age = self._now() - self._keys[0] if self._keys else None
            stale = age is None or age > METADATA_SECONDS or (unknown_key and age > KEYS_AGAIN_SECONDS)
            if self._keys is None or stale:
                provider = await self._discovered()
                published = _object(await self._send("GET", provider.jwks))
                try:
                    self._keys = (self._now(), KeySet.import_key_set(published))  # type: ignore[arg-type]
                except (JoseError, KeyError, TypeError, ValueError) as error:
                    raise TransientFailure("oidc-keys", "the issuer publishes no key that can be used") from error
            return self._keys[1]

    # -- discovery -------------------------------------------------------------------------------------------------------------

    async def provider(self) -> Provider:
        """`TransientFailure` while the issuer is away, or while what it says of itself does not hold together."""
        async with self._asking:
            return await self._discovered()

    async def _discovered(self) -> Provider:
        if self._provider is None or self._now() - self._provider[0] > METADATA_SECONDS:
            well_known = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
            self._provider = (self._now(), self._checked(_object(await self._send("GET", well_known))))
        return self._provider[1]

    def _checked(self, told: Mapping[str, Any]) -> Provider:
        """An issuer that names itself otherwise is another one (OpenID Connect Discovery 4.3); every endpoint must be as safe as the issuer."""
        authorization, token, jwks = (
            str(told.get(n)) for n in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        )
        safe = all(url.startswith(self._allowed) for url in (authorization, token, jwks))
        if told.get("issuer") != self.issuer or not safe:
            raise TransientFailure("oidc-discovery", "the issuer's configuration is not that of LONGVIEW_OIDC_ISSUER")
        end = told.get("end_session_endpoint")
        methods = told.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Provider(
            authorization,
            token,
            jwks,
            end_session=end if isinstance(end, str) and end.startswith(self._allowed) else None,
            basic="client_secret_basic" in methods,
        )

    async def _send(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, url, headers={"Accept": "application/json"}, **arguments)
        except httpx.HTTPError as error:
            raise TransientFailure("oidc-unavailable", "the issuer of logins does not answer") from error
        if answer.status_code >= 500:
            raise TransientFailure("oidc-unavailable", f"the issuer of logins answered {answer.status_code}")
        return answer


def challenge(verifier: str) -> str:
    """S256 of RFC 7636, 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _decoded(token: str, keys: KeySet) -> Claims:
    return jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims


def _exactly(value: str) -> dict[str, Any]:
    return {"essential": True, "value": value}


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json() if answer.status_code == 200 else None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise TransientFailure("oidc-answer", "the issuer of logins did not answer with what its standard asks for")
    return told


def _with_query(url: str, parameters: Mapping[str, str]) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(parameters)}"
