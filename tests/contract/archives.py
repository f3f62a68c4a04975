"""DICOMweb archives for the contract suite: the embedded one as a process of its own, and one that answers with more than it was asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from services.parts.ports import free_port


@contextmanager
def embedded(folder: Path, log: Path | None = None) -> Iterator[str]:
    """`python -m services.archive` on a free port; its DICOMweb base URL."""
    port = free_port()
    command = [sys.executable, "-m", "services.archive", "--folder", str(folder), "--port", str(port)]
    with open(log or folder.with_suffix(".log"), "ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/dicom-web"
    finally:
        process.kill()  # what it has answered must survive this
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, "the archive has ended"
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the archive does not answer")


Answer = tuple[int, str, bytes]
"""Status, Content-Type, body."""


@dataclass
class Scripted:
    """A server that answers as it was told, whatever it is asked; `asked` are the paths with their queries, `accepted` the Accept headers."""

    url: str
    answers: dict[str, Callable[[], Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)

    def rows(self, path: str, rows: list[dict[str, Any]]) -> None:
        """What a search under `path` finds, on its first page; the second is empty."""
        pages = iter([rows])
        self.answers[path] = lambda: (200, "application/dicom+json", json.dumps(next(pages, [])).encode())

    def status(self, path: str, status: int) -> None:
        self.answers[path] = lambda: (status, "text/plain", b"PATIENT-7 is not here")

    def parts(self, path: str, parts: list[bytes], end: bytes = b"\r\n--b--\r\n") -> None:
        body = b"".join(b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts) + end
        self.answers[path] = lambda: (200, 'multipart/related; type="application/dicom"; boundary=b', body)


@contextmanager
def scripted() -> Iterator[Scripted]:
    script = Scripted("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.asked.append(self.path)
            script.accepted.append(self.headers.get("Accept", ""))
            status, kind, body = script.answers[urlsplit(self.path).path]()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
