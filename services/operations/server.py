"""The port of the probes and metrics: the standard library's HTTP server in threads of its own, so that it answers while the event loop does not."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6

from schemas.errors import PartUnavailable
from schemas.telemetry.fields import fields
from schemas.telemetry.logs import reason_of
from services.operations.vitals import Vitals

log = logging.getLogger(__name__)
REQUEST_SECONDS = 10
"""How long a client may take to send its few lines."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Scrape = Callable[[], bytes]


class OperationsServer:
    """Bound when it is made; `PartUnavailable` (`operations-address`) if the address cannot be had."""

    def __init__(self, host: str, port: int, vitals: Vitals, scrape: Scrape) -> None:
        try:
            self._server = _server(host, port, vitals, scrape)
        except OSError as error:
            raise PartUnavailable(
                "operations-address",
                f"port {port} of LONGVIEW_OPERATIONS_HOST cannot be listened on ({error.strerror}): choose another.",
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="operations", daemon=True)
        self._thread.start()
        log.info("operations-listening", extra=fields(port=self.port))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _server(host: str, port: int, vitals: Vitals, scrape: Scrape) -> ThreadingHTTPServer:
    class Handler(_Handler):
        _vitals = vitals
        _scrape = staticmethod(scrape)

    class Server(ThreadingHTTPServer):
        address_family = AF_INET6 if ":" in host else ThreadingHTTPServer.address_family
        daemon_threads = True

    return Server((host, port), Handler)


class _Handler(BaseHTTPRequestHandler):
    _vitals: Vitals
    _scrape: Scrape
    timeout = REQUEST_SECONDS
    server_version = "longview"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path == "/health":
            stalled = self._vitals.stalled()
            self._say(503 if stalled else 200, {"healthy": not stalled, "stalled": stalled})
        elif self.path == "/ready":
            missing = self._vitals.missing()
            self._say(503 if missing else 200, {"ready": not missing, "missing": missing})
        elif self.path == "/metrics":
            self._metrics()
        else:
            self._say(404, {"error": "there are /health, /ready and /metrics"})

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: probes come every few seconds."""

    def _metrics(self) -> None:
        try:
            page = self._scrape()
        except Exception as error:  # a scrape that fails is seen as such by whoever scrapes
            log.error("metrics-not-given", extra=fields(**reason_of(error)))
            self._say(500, {"error": "the metrics cannot be given"})
        else:
            self._answer(200, METRICS_TYPE, page)

    def _say(self, status: int, value: dict[str, object]) -> None:
        self._answer(status, "application/json", json.dumps(value).encode())

    def _answer(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)
