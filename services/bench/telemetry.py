"""What traces and log lines cost the process that writes them, beside what is there anyway.

A span is measured around a request to a server on loopback that answers at once (the smallest thing that a span of ours ever surrounds), with traces
off and on; on, the spans are sent to a collector that throws them away. A log line is measured beside the standard library's own formatter.
"""

from __future__ import annotations

import io
import logging
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from schemas.telemetry import traces
from schemas.telemetry.fields import fields
from schemas.telemetry.logs import LineFormatter
from services.bench import rounds
from services.settings import Settings
from services.telemetry.http import TracedClient
from services.telemetry.process import traced

ROUNDS = 5
REQUESTS, SPANS, LINES = 400, 4000, 10_000


def run() -> dict[str, Any]:
    """`ratios.request_traced`: seconds of a request with traces on over those with traces off; `ratios.log_line`: of a line over the standard
    library's. Medians of rounds that alternate; `microseconds` are of this machine."""
    count = int(os.environ.get("LONGVIEW_BENCH_REQUESTS", REQUESTS))
    with _sink() as port:
        requests = _alternating(
            lambda: _requests(port, count), Settings(traces_url=f"http://127.0.0.1:{port}/v1/traces")
        )
        spans = _alternating(_spans, Settings(traces_url=f"http://127.0.0.1:{port}/v1/traces"))
    ours, stock = (
        _lines(LineFormatter("json")),
        _lines(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")),
    )
    micro = {
        "request_off": requests[0],
        "request_on": requests[1],
        "span_off": spans[0],
        "span_on": spans[1],
        "log_line": ours,
        "log_line_of_the_standard_library": stock,
    }
    return {
        "ratios": {"request_traced": round(requests[1] / requests[0], 3), "log_line": round(ours / stock, 2)},
        "microseconds": {name: round(seconds * 1e6, 2) for name, seconds in micro.items()},
    }


def _alternating(measure: Callable[[], float], on: Settings) -> tuple[float, float]:
    """Medians of seconds, off and on."""
    off_rounds, on_rounds = [], []
    for _ in range(rounds(ROUNDS)):
        off_rounds.append(measure())
        with traced(on, "bench"):
            on_rounds.append(measure())
    return statistics.median(off_rounds), statistics.median(on_rounds)


def _requests(port: int, count: int) -> float:
    with TracedClient("fhir", base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        client.get("/")
        began = time.perf_counter()
        for _ in range(count):
            client.get("/")
        return (time.perf_counter() - began) / count


def _spans() -> float:
    began = time.perf_counter()
    for _ in range(SPANS):
        with traces.span("activity", activity="ask_model", attempt=1, stage="inference"):
            pass
    return (time.perf_counter() - began) / SPANS


def _lines(formatter: logging.Formatter) -> float:
    log = logging.Logger("services.bench")
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(formatter)
    log.addHandler(handler)
    began = time.perf_counter()
    for _ in range(LINES):
        log.warning("step-failed", extra=fields(activity="ask_model", attempt=1, code="model-unavailable"))
    return (time.perf_counter() - began) / LINES


@contextmanager
def _sink() -> Iterator[int]:
    """A server that takes whatever comes."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
