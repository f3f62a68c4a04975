"""An authorization server as SMART App Launch 2.x describes it ("Backend Services", "Client Authentication: Asymmetric").

With it a gate before a FHIR server, which lets nobody in without one of its tokens, nor beyond the token's scopes.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.clients.smart_scopes import rights_of

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLIENT = "longview"


class Refused(Exception):
    """An error of RFC 6749 section 5.2."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.code, self.status = code, status


@dataclass
class AuthorizationServer:
    """What is registered of one client, what it may do, and every token that was given out."""

    jwks: dict[str, Any]
    allowed: list[str]
    base: str = ""
    lifetime: int = 300
    clock: Callable[[], float] = time.time
    away: bool = False
    told: dict[str, Any] = field(default_factory=dict)
    """What the discovery says besides, or instead."""
    tokens: dict[str, tuple[float, list[str]]] = field(default_factory=dict)
    seen_ids: set[str] = field(default_factory=set)
    assertions: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def token_url(self) -> str:
        return f"{self.base}/auth/token"

    def revoke_all(self) -> None:
        self.tokens.clear()

    def grant(self, form: dict[str, str]) -> dict[str, Any]:
        """The answer to a token request."""
        with self.guard:
            if form.get("grant_type") != "client_credentials":
                raise Refused("unsupported_grant_type")
            if form.get("client_assertion_type") != ASSERTION_TYPE:
                raise Refused("invalid_request")
            self._authenticate(form.get("client_assertion", ""))
            granted = self._granted(form.get("scope", "").split())
            token = secrets.token_urlsafe(32)
            self.tokens[token] = (self.clock() + self.lifetime, granted)
            return {
                "access_token": token,
                "token_type": "bearer",
                "expires_in": self.lifetime,
                "scope": " ".join(granted),
            }

    def _authenticate(self, assertion: str) -> None:
        self.assertions.append(assertion)
        try:
            keys = KeySet.import_key_set(self.jwks)
            token = jwt.decode(assertion, keys, algorithms=["RS384", "ES384"])
        except (JoseError, ValueError) as error:
            raise Refused("invalid_client", 401) from error
        claims, now = token.claims, self.clock()
        right = (
            token.header.get("typ") == "JWT"
            and token.header.get("kid") in {key["kid"] for key in self.jwks["keys"]}
            and claims.get("iss") == claims.get("sub") == CLIENT
            and claims.get("aud") == self.token_url
            and now < claims.get("exp", 0) <= now + 300
            and claims.get("jti")
            and claims["jti"] not in self.seen_ids
            # RFC 7523 section 3: what says when it was made must not lie ahead
            and claims.get("nbf", 0) <= now
            and claims.get("iat", 0) <= now
        )
        if not right:
            raise Refused("invalid_client", 401)
        self.seen_ids.add(claims["jti"])

    def _granted(self, asked: list[str]) -> list[str]:
        """As much of each scope as the client may have; none at all is an error (RFC 6749 section 3.3)."""
        given, allowed = [], rights_of(self.allowed)
        for name, letters in rights_of(asked).items():
            both = letters & (allowed.get(name, set()) | allowed.get("*", set()))
            given += [f"system/{name}.{''.join(c for c in 'cruds' if c in both)}"] if both else []
        if not given:
            raise Refused("invalid_scope")
        return given

    def scopes_of(self, authorization: str) -> list[str] | None:
        """Of a token that is good now."""
        scheme, _, token = authorization.partition(" ")
        until, scopes = self.tokens.get(token, (0.0, []))
        return scopes if scheme == "Bearer" and until > self.clock() else None


@dataclass
class Gate:
    """The FHIR server as the network sees it: `<base>/fhir`."""

    server: AuthorizationServer
    upstream: str
    used: set[tuple[str, str]] = field(default_factory=set)
    """Type and letter of everything that was allowed."""
    on_request: Callable[[str], None] = lambda path: None

    @property
    def url(self) -> str:
        return f"{self.server.base}/fhir"


def interactions(method: str, path: str, query: str, body: bytes) -> list[tuple[str, str]]:
    """(type, letter of a scope) of each thing that a request does (FHIR R4, RESTful API)."""
    parts = [part for part in path.split("/") if part]
    if method == "GET":
        return [(parts[0], "r" if len(parts) > 1 else "s")] if parts else []
    if parts:
        return [(parts[0], {"POST": "c", "PUT": "u", "DELETE": "d"}[method])]
    done = []
    for entry in json.loads(body)["entry"]:
        asked = entry["request"]
        kind = asked["url"].split("/")[0].split("?")[0]
        done.append((kind, {"POST": "c", "PUT": "u", "DELETE": "d", "GET": "r"}[asked["method"]]))
        done += [(kind, "s")] if "ifNoneExist" in asked else []
    return done


def _handler(gate: Gate, http: httpx.Client) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            self._do("GET")

        def do_POST(self) -> None:
            self._do("POST")

        def _do(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            gate.on_request(parts.path)
            if parts.path == "/fhir/.well-known/smart-configuration":
                self._json(200, _configuration(gate.server) | gate.server.told)
            elif parts.path == "/auth/token":
                self._token(body)
            else:
                self._fhir(method, parts.path.removeprefix("/fhir"), parts.query, body)

        def _token(self, body: bytes) -> None:
            if gate.server.away:
                return self._json(503, {})
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            try:
                return self._json(200, gate.server.grant(form))
            except Refused as refusal:
                gate.server.refused.append(refusal.code)
                words = "Patient Doe's client is not known here"  # servers say too much
                return self._json(refusal.status, {"error": refusal.code, "error_description": words})

        def _fhir(self, method: str, path: str, query: str, body: bytes) -> None:
            wanted = interactions(method, path, query, body)
            if path != "/metadata":
                scopes = gate.server.scopes_of(self.headers.get("Authorization", ""))
                if scopes is None:
                    return self._json(401, {"resourceType": "OperationOutcome"})
                rights = rights_of(scopes)
                if any(letter not in rights.get(kind, set()) | rights.get("*", set()) for kind, letter in wanted):
                    return self._json(403, {"resourceType": "OperationOutcome"})
                gate.used.update(wanted)
            headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
            headers["Cache-Control"] = self.headers.get("Cache-Control", "max-age=60")
            url = f"{gate.upstream}{path}" + (f"?{query}" if query else "")
            answer = http.request(method, url, content=body, headers=headers)
            return self._answer(answer.status_code, answer.content)

        def _json(self, status: int, told: dict[str, Any]) -> None:
            self._answer(status, json.dumps(told).encode())

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(gate.server.clock() if timestamp is None else timestamp)

    return Handler


def _configuration(server: AuthorizationServer) -> dict[str, Any]:
    return {
        "token_endpoint": server.token_url,
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "grant_types_supported": ["client_credentials"],
        "capabilities": ["client-confidential-asymmetric", "permission-v2"],
    }


@contextmanager
def gated(server: AuthorizationServer, upstream: str) -> Iterator[Gate]:
    """Both, on a free port of loopback."""
    gate = Gate(server, upstream)
    with httpx.Client(trust_env=False, timeout=60.0) as http:
        listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler(gate, http))
        listener.daemon_threads = True
        server.base = f"http://127.0.0.1:{listener.server_port}"
        serving = threading.Thread(target=listener.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield gate
        finally:
            listener.shutdown()
            listener.server_close()
            serving.join()
