"""The front: everything that reaches vLLM's app passes here first (ADR-0020).

vLLM's API key guards the paths under /v1 alone, while /invocations, /inference/v1/generate, /pooling and others reach the same engine. Here a few
routes are open or ask for the worker's token, and every other one is not there. Requests are read whole, bounded, checked (`admission`) and written
anew; what vLLM says of a request that it refuses may repeat the request, so that its words are replaced.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal

import orjson

from model_runtime.admission import SENTENCES, NotAdmitted, admit
from model_runtime.request_rules import FIELDS
from schemas.telemetry import traces
from schemas.telemetry.fields import fields
from schemas.telemetry.logs import reason_of
from schemas.telemetry.traces import TraceContext

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Access = Literal["open", "token"]
CHAT = "/v1/chat/completions"
ROUTES: dict[tuple[str, str], Access] = {
    ("GET", "/health"): "open",
    ("GET", "/ready"): "open",
    ("GET", "/metrics"): "open",
    ("GET", "/v1/models"): "token",
    ("POST", CHAT): "token",
}
"""All there is. `/metrics` is open as `/health` is: it holds counts and seconds and nothing of a request, and a scraper that had the worker's token
could ask about patients."""
BODY_SECONDS = 120.0
RETRY_SECONDS = 5
MAX_ERROR_BYTES = 64 * 1024
_GENERAL = {400: "The request cannot be answered.", 404: SENTENCES["model"], 503: "The engine does not answer."}
_LOG = logging.getLogger("longview.model_server")
_TRACEPARENT = traces.TRACEPARENT.encode()


class Refused(Exception):
    """An answer without vLLM."""

    def __init__(self, status: int, sentence: str, param: str | None = None, **headers: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.param = param
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Front:
    """An ASGI application around vLLM's, which serves `model`. `token` is "" where none is asked for, `control` matches the tokenizer's control
    tokens in a text, `max_body` counts bytes."""

    def __init__(self, app: App, token: str, *, model: str, control: re.Pattern[str], max_body: int) -> None:
        self._app = app
        self._model = model
        self._token = _digest(token) if token else None
        self._control = control
        self._max_body = max_body
        self._owed = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.warm = False
        """Set once the warm-up's questions have been answered."""
        self.draining = False

    def drain(self) -> None:
        """From now on nothing new is taken; what was taken is answered."""
        self.draining = True

    async def idle(self) -> None:
        """Returns when no answer is owed to anybody."""
        await self._idle.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = _Reply(send)
        try:
            await self._pass(scope, receive, reply)
        except Refused as refusal:
            await reply.refuse(refusal)
        except Exception as error:
            _LOG.error("engine-failed", extra=fields(**reason_of(error)))
            await reply.refuse(Refused(500, "The engine failed."))

    async def _pass(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        access = ROUTES.get((scope["method"], scope["path"]))
        if access != "open":
            self._authenticate(scope)
        if access is None:
            raise Refused(404, "There is no such route.")
        if scope["path"] == "/ready":
            await reply.say_ready(self.warm and not self.draining)
        elif scope["path"] == CHAT:
            await self._chat(scope, receive, reply)
        else:
            await self._app(scope, receive, reply.send)

    def _authenticate(self, scope: Scope) -> None:
        """RFC 6750, the Authorization header alone; the comparison takes as long for a near miss as for a far one."""
        if self._token is None:
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        right = hmac.compare_digest(_digest(token.strip().decode("latin-1")), self._token)
        if scheme.lower() != b"bearer" or not right:
            raise Refused(401, "The worker's token is needed.", www_authenticate="Bearer")

    async def _chat(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        if self.draining:
            raise Refused(
                503, "The server is about to end: ask another.", retry_after=str(RETRY_SECONDS), connection="close"
            )
        self._owed += 1
        self._idle.clear()
        try:
            with traces.within(_trace_of(scope)), traces.span("answer", "server", operation="chat"):
                await self._answer_chat(scope, receive, reply)
        finally:
            self._owed -= 1
            if not self._owed:
                self._idle.set()

    async def _answer_chat(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        body = await self._body(scope, receive)
        try:
            body = await asyncio.to_thread(admit, body, self._model, self._control)
        except NotAdmitted as reason:
            raise Refused(reason.status, reason.sentence, reason.param) from reason
        await self._app(_passed_on(scope, len(body)), _once(body, receive), reply.send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body; never more than the limit is held, whatever its length is said to be."""
        said = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not said.isdigit() or int(said) > self._max_body:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "The body ended early.")
                    body += message.get("body", b"")
                    if len(body) > self._max_body:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError as error:
            raise Refused(408, "The body took too long.", connection="close") from error

    def _too_large(self) -> Refused:
        return Refused(413, f"The body is larger than {self._max_body} bytes.", connection="close")


class _Reply:
    """Passes an answer on as it comes; of an error only the status, and the name of the field if it is one of ours."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False
        self._error: int | None = None
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._error = message["status"]
        elif self._error is None:
            self._begun = True
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")[:MAX_ERROR_BYTES]
            if not message.get("more_body", False):
                param = _param(bytes(self._body))
                status, self._error = self._error, None
                general = _GENERAL.get(status, "The request cannot be answered.")
                await self.refuse(Refused(status, SENTENCES.get(param or "", general), param))

    async def refuse(self, refusal: Refused) -> None:
        if not self._begun:
            await self._json(refusal.status, _error(refusal), refusal.headers)

    async def say_ready(self, ready: bool) -> None:
        await self._json(200 if ready else 503, {"ready": ready}, {} if ready else {"retry-after": str(RETRY_SECONDS)})

    async def _json(self, status: int, value: Any, headers: dict[str, str]) -> None:
        self._begun = True
        body = orjson.dumps(value)
        lines = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        encoded = [(name.encode(), text.encode()) for name, text in lines.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})
        await self._send({"type": "http.response.body", "body": body})


def _error(refusal: Refused) -> dict[str, Any]:
    """The shape of the OpenAI API's errors, which clients know."""
    return {"error": {"message": refusal.sentence, "type": "error", "param": refusal.param, "code": refusal.status}}


def _param(body: bytes) -> str | None:
    """The field that vLLM names in an error, if it is one that everybody knows; pydantic names it as body.<field>."""
    try:
        named = orjson.loads(body)["error"]["param"]
    except (ValueError, KeyError, TypeError):
        return None
    names = named.split(".") if isinstance(named, str) else []
    return next((name for name in names if name in FIELDS or name in SENTENCES), None)


def _digest(token: str) -> bytes:
    """Equal lengths: a comparison then tells nothing, not even how long the token is."""
    return hashlib.sha256(token.encode("latin-1", "replace")).digest()


def _trace_of(scope: Scope) -> TraceContext | None:
    return next(
        (traces.parse(value.decode("latin-1")) for name, value in scope["headers"] if name == _TRACEPARENT), None
    )


def _passed_on(scope: Scope, length: int) -> Scope:
    """Of the caller's headers those that vLLM's app needs: none that it would keep (a request's id), none that we have answered."""
    kept = [(name, value) for name, value in scope["headers"] if name in (b"host", b"accept", b"user-agent")]
    own = [(b"content-type", b"application/json"), (b"content-length", str(length).encode())]
    if (current := traces.traceparent()) is not None:
        own.append((_TRACEPARENT, current.encode()))
    return {**scope, "headers": [*kept, *own]}


def _once(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, then whatever comes: that a client went away is how its request is cancelled."""
    left = [body]

    async def next_message() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return next_message
