"""A proxy in front of the FHIR server that fails a share of the calls: refuses them, does not answer, or loses the answer to what was done."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fault = Literal["503", "500", "silence", "done-503", "done-silence"]
ON_READS: tuple[Fault, ...] = ("503", "500", "silence")
ON_WRITES: tuple[Fault, ...] = ("503", "silence", "done-503", "done-silence")
"""`done-*`: the server has done it, and its answer is lost."""
SILENCE_SECONDS = 0.1
FORWARDED = ("accept", "content-type", "authorization", "if-match", "if-none-exist", "prefer", "cache-control")


class FaultProxy:
    """`share` of the calls fail, drawn from `seed`; `upstream()` is host:port of the server, which may be away."""

    def __init__(self, seed: int, share: float, upstream: Callable[[], str]) -> None:
        self.share = share
        self.upstream = upstream
        self.faults: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._guard = threading.Lock()
        self._server = _Server(self)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="fhir-proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def draw(self, method: str) -> Fault | None:
        with self._guard:
            self.faults["calls"] += 1
            if self._chance.random() >= self.share:
                return None
            fault = self._chance.choice(ON_READS if method == "GET" else ON_WRITES)
            self.faults[fault] += 1
            return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed breaks its connection; that is what the test is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Addresses hold identifiers."""

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        fault = self.server.proxy.draw(self.command)
        done = fault is None or fault.startswith("done-")
        status, kind, answer = self._ask(body) if done else (int(fault) if fault != "silence" else 0, "", b"")
        if fault == "done-503":
            status, kind, answer = 503, "", b""
        if fault in ("silence", "done-silence"):
            time.sleep(SILENCE_SECONDS)
            self.close_connection = True
            return
        self._answer(status, kind, answer)

    def _ask(self, body: bytes) -> tuple[int, str, bytes]:
        """The server's own answer; 502 while it is away."""
        connection = http.client.HTTPConnection(self.server.proxy.upstream(), timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() in FORWARDED}
        try:
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            return response.status, response.getheader("content-type", ""), response.read()
        except (OSError, http.client.HTTPException):
            return 502, "", b""
        finally:
            connection.close()

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        if kind:
            self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
