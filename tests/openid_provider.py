"""A small OpenID Connect provider, from the specifications: discovery, authorization code flow with PKCE, JWKS with rotation, RP-initiated logout.

It is as strict as a hospital's: a code counts once, for its own client, redirect and verifier. What it signs can be falsified by a test.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

CLIENT, SECRET = "longview-inbox", "client-secret-of-the-inbox"
INES = {"sub": "u-17", "name": "Dr. Ines Halloran", "groups": ["radiology", "staff"]}
AUDITOR = {"sub": "u-40", "name": "Ada Okonjo", "groups": ["privacy-office"]}
PORTER = {"sub": "u-99", "name": "Sam Porter", "groups": ["staff"]}
Claims = dict[str, Any]


def make_key(kid: str, kind: str = "RS256") -> Key:
    options = {"kid": kid, "alg": kind, "use": "sig"}
    if kind == "ES256":
        return ECKey.generate_key("P-256", options)  # type: ignore[arg-type]
    return RSAKey.generate_key(2048, options)  # type: ignore[arg-type]


@dataclass
class Provider:
    """What the provider knows, and what was asked of it."""

    issuer: str = ""
    keys: list[Key] = field(default_factory=lambda: [make_key("k1")])
    """The last one signs; all are published."""
    person: Claims = field(default_factory=lambda: dict(INES))
    """Who sits at the browser."""
    falsify: Callable[[Claims], Claims] = lambda claims: claims
    away: bool = False
    now: Callable[[], float] = time.time
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    ended: list[dict[str, str]] = field(default_factory=list)

    def rotate(self, kid: str, kind: str = "RS256") -> None:
        self.keys = [make_key(kid, kind)]

    def sign(self, claims: Claims, key: Key | None = None, **header: str) -> str:
        key = key or self.keys[-1]
        return jwt.encode(
            {"alg": key.alg or "RS256", "kid": key.kid, **header}, claims, key, algorithms=["RS256", "ES256"]
        )  # type: ignore[dict-item]

    def access_token(self, **changes: Any) -> str:
        now = int(self.now())
        base = {"iss": self.issuer, "aud": CLIENT, "exp": now + 300, "iat": now, **self.person}
        return self.sign({k: v for k, v in (base | changes).items() if v is not None}, typ="at+jwt")

    def discovery(self) -> Claims:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "end_session_endpoint": f"{self.issuer}/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser goes on to; the person logs in by being there."""
        assert asked["client_id"] == CLIENT
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def redeem(self, form: dict[str, str], authorization: str) -> Claims | None:
        """RFC 6749 4.1.3 and RFC 7636 4.6: None is `invalid_grant`."""
        basic = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or authorization != basic or form.get("grant_type") != "authorization_code":
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != asked["code_challenge"]:
            return None
        if form.get("redirect_uri") != asked["redirect_uri"]:
            return None
        now = int(self.now())
        claims = {"iss": self.issuer, "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": asked["nonce"]}
        id_token = self.sign(self.falsify(claims | self.person))
        return {"access_token": "opaque", "token_type": "Bearer", "expires_in": 300, "id_token": id_token}


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.provider.asked.append(url.path)
        if self.provider.away:
            self._json(503, {})
        elif url.path == "/.well-known/openid-configuration":
            self._json(200, self.provider.discovery())
        elif url.path == "/jwks":
            self._json(200, {"keys": [key.as_dict(private=False) for key in self.provider.keys]})
        elif url.path == "/authorize":
            self._redirect(self.provider.authorize(asked))
        elif url.path == "/logout":
            self.provider.ended.append(asked)
            self._html("<!doctype html><title>Logged out</title><h1>Logged out of the hospital</h1>")
        else:
            self._json(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        answer = self.provider.redeem(form, self.headers.get("authorization", ""))
        self._json(*((200, answer) if answer else (400, {"error": "invalid_grant"})))

    def _json(self, status: int, body: Claims) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _html(self, text: str) -> None:
        self._send(200, "text/html", text.encode())

    def _redirect(self, url: str) -> None:
        self._send(302, "text/plain", b"", location=url)

    def _send(self, status: int, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running_provider() -> Iterator[Provider]:
    """On a free port of this machine."""
    provider = Provider()
    handler = type("Handler", (_Handler,), {"provider": provider})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    provider.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
