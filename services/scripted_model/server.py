"""`/health`, `/ready`, `/v1/models` and `/v1/chat/completions` as our vLLM has them, by rule: nothing is seen, nothing is learned, nothing is logged.

What our clients rely on is kept: a caller must show the token, the served model's name, priority and response format are taken, an item must be a
whole container (volume or pictures) from the store whose SHA-256 is its `uuid`, an answer that does not fit into `max_tokens` ends with `length`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from schemas.errors import PermanentFailure
from schemas.identifiers import canonical_json, sha256_hex
from schemas.inference import ModelRelease
from schemas.pictures import MAX_PICTURES, Pictures, decode_container
from schemas.telemetry import traces
from schemas.volume import MAX_MODEL_SLICES
from services.scripted_model.answer import ScriptedAnswer

NAME = "scripted"
VERSION = "scripted-1"
"""Raised whenever the same question would have another answer."""
CARD = """# Longview, scripted

No model at all: answers are drawn from the digest of the question. The output is meaningless.
It exists to prove what becomes of a study when processes die, and to measure everything that is not the model. Never use it clinically.
"""
CHARACTERS_A_TOKEN = 4
TOKENS_AN_IMAGE = 16
MAX_BODY = 256 * 1024 * 1024
_DATA = "data:application/octet-stream;base64,"


def release() -> ModelRelease:
    """`trained` is false: everything that shows an answer says so."""
    digest = hashlib.sha256(VERSION.encode()).hexdigest()
    return ModelRelease(
        name=NAME,
        served_model_name=f"{NAME}-{digest[:12]}",
        trained=False,
        model_number=f"{NAME}-{digest[:12]}",
        manufacturer="Longview",
        architecture="none",
        weights_sha256=digest,
        runtime=VERSION,
        max_slices=MAX_MODEL_SLICES,
        model_card=CARD,
    )


def write_release(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "release.json"
    path.write_bytes(canonical_json(release().model_dump(mode="json")))
    return path


def serve(port: int, media: Path, ready_file: Path | None = None, token: str = "") -> None:
    """On loopback, until the process is told to end."""
    server = ScriptedModelServer(port, media, token)
    if ready_file is not None:
        ready_file.write_text(f"{server.server_port}\n")
    server.serve_forever()


class ScriptedModelServer(ThreadingHTTPServer):
    """`media` is the folder whose files may be named by `file://`; `token` is what a caller must show, "" for nothing."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, media: Path, token: str = "") -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.bearer = f"Bearer {token}" if token else None
        self.media = media.resolve()
        self.release = release()


class _Refused(Exception):
    """The request is not one that can be answered; the client gets 400."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: ScriptedModelServer

    def log_message(self, format: str, *args: Any) -> None:
        """Neither prompts nor addresses of volumes are written anywhere."""

    def do_GET(self) -> None:
        if self.path in ("/health", "/ready"):
            self._send(HTTPStatus.OK, {})
        elif self._is_stranger():
            self._send(HTTPStatus.UNAUTHORIZED, {"error": "the worker's token is needed"})
        elif self.path == "/v1/models":
            self._send(HTTPStatus.OK, {"object": "list", "data": [{"id": self.server.release.served_model_name}]})
        else:
            self._send(HTTPStatus.NOT_FOUND, {"error": "not found"})

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        if length > MAX_BODY:
            self.close_connection = True
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": "too large"})
            return
        body = self.rfile.read(length)
        if self._is_stranger():
            self._send(HTTPStatus.UNAUTHORIZED, {"error": "the worker's token is needed"})
            return
        if self.path != "/v1/chat/completions":
            self._send(HTTPStatus.NOT_FOUND, {"error": "not found"})
            return
        asked_in = traces.parse(self.headers.get(traces.TRACEPARENT))
        try:
            with traces.within(asked_in), traces.span("answer", "server", operation="chat"):
                answer = self._complete(body)
            self._send(HTTPStatus.OK, answer)
        except (_Refused, PermanentFailure, ValueError, KeyError, TypeError):
            self._send(HTTPStatus.BAD_REQUEST, {"error": "the request cannot be answered"})

    def _is_stranger(self) -> bool:
        bearer = self.server.bearer
        return bearer is not None and not hmac.compare_digest(
            self.headers.get("authorization", "").encode(), bearer.encode()
        )

    def _send(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        data = orjson.dumps(body)
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _complete(self, body: bytes) -> dict[str, Any]:
        request = orjson.loads(body)
        if request["model"] != self.server.release.served_model_name:
            raise _Refused
        parts = [part for message in request["messages"] for part in message["content"]]
        images = sum(self._images(part) for part in parts if part["type"] == "video_url")
        text = sum(len(part["text"]) for part in parts if part["type"] == "text")
        question = hashlib.sha256(self._question(request)).digest()
        answer, reason = _answer(question, request)
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": answer},
            "finish_reason": reason,
        }
        if request.get("logprobs"):
            likelihood = -int.from_bytes(question[:4], "big") / 2**32
            choice["logprobs"] = {"content": [{"token": answer[:1], "logprob": likelihood}]}
        usage = {
            "prompt_tokens": images * TOKENS_AN_IMAGE + text // CHARACTERS_A_TOKEN,
            "completion_tokens": _tokens(answer),
        }
        return {"object": "chat.completion", "model": request["model"], "choices": [choice], "usage": usage}

    def _question(self, request: dict[str, Any]) -> bytes:
        """What was asked and shown, however the items travelled: where a file lies does not change the answer."""
        parts = [part for message in request["messages"] for part in message["content"]]
        asked = [part["text"] if part["type"] == "text" else sha256_hex(self._container(part)) for part in parts]
        return canonical_json([asked, request.get("response_format"), request.get("seed")])

    def _images(self, part: dict[str, Any]) -> int:
        """Slices of a volume, or pictures."""
        content = decode_container(self._container(part))
        if isinstance(content, Pictures):
            count, most = content.pixels.shape[0], MAX_PICTURES
        else:
            count, most = content.voxels.shape[0], MAX_MODEL_SLICES
        if count > most:
            raise _Refused
        return int(count)

    def _container(self, part: dict[str, Any]) -> bytes:
        """The container, if it is the one that its `uuid` says."""
        url = part["video_url"]["url"]
        data = self._file(url) if url.startswith("file:") else _embedded(url)
        if part.get("uuid") not in (None, sha256_hex(data)):
            raise _Refused
        return data

    def _file(self, url: str) -> bytes:
        path = Path(unquote(urlsplit(url).path)).resolve()
        if not path.is_relative_to(self.server.media) or not path.is_file():
            raise _Refused
        return path.read_bytes()


def _embedded(url: str) -> bytes:
    if not url.startswith(_DATA):
        raise _Refused
    try:
        return base64.b64decode(url.removeprefix(_DATA), validate=True)
    except binascii.Error as error:
        raise _Refused from error


def _answer(question: bytes, request: dict[str, Any]) -> tuple[str, str]:
    """Text and finish reason; without a response format, words."""
    wanted = request.get("response_format", {}).get("type", "text")
    if wanted == "json_schema":
        text = orjson.dumps(ScriptedAnswer(question).of(request["response_format"]["json_schema"]["schema"])).decode()
    else:
        text = question.hex()
    most = int(request.get("max_tokens") or 4096)
    if _tokens(text) > most:
        return text[: most * CHARACTERS_A_TOKEN], "length"
    return text, "stop"


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_A_TOKEN)
