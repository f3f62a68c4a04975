"""PDFs are decoded in a process of their own: pdfium is C++ that must not be called from two threads, and a hostile file may crash, hang or swell it.

The parent writes the file to the child's standard input and reads one answer: the length of a JSON header (uint32, little endian), the header, and
the pages' grey levels one after the other. The child's memory and processor time are bounded by the kernel, the whole by a timeout.
"""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from schemas.errors import PermanentFailure
from workflows.documents.pdf import MAX_BYTES, PdfPage, decode_pdf
from workflows.documents.printed import Piece

MEMORY = 2 << 30
"""Bytes of address space: forty pages of A4 take 160 MB, libraries the rest."""
SECONDS = 60
"""Of processor time; a dense page takes a tenth of a second."""
MAX_ANSWER = 1 << 30


class PdfInItsOwnProcess:
    """`workflows.ports.PdfDecoder`."""

    def __init__(self, *, memory: int = MEMORY, seconds: int = SECONDS) -> None:
        self._memory = memory
        self._seconds = seconds

    def __call__(self, pdf: bytes) -> list[PdfPage]:
        if len(pdf) > MAX_BYTES:
            raise PermanentFailure("document-too-large", f"the document is larger than {MAX_BYTES >> 20} MB")
        limits = [str(self._memory), str(self._seconds)]
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "services.clients.pdf_process", *limits],
                input=pdf,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=2 * self._seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PermanentFailure("document-too-slow", "the PDF could not be decoded in time") from error
        if done.returncode != 0 or len(done.stdout) > MAX_ANSWER:
            raise PermanentFailure(
                "document-unreadable", "the PDF broke its decoder, or needs more time or memory than it is given"
            )
        return _unpacked(done.stdout)


def _unpacked(answer: bytes) -> list[PdfPage]:
    (length,) = struct.unpack_from("<I", answer)
    header = orjson.loads(answer[4 : 4 + length])
    if "code" in header:
        raise PermanentFailure(header["code"], header["hint"])
    return list(_pages(header["pages"], memoryview(answer)[4 + length :]))


def _pages(told: list[dict[str, Any]], pixels: memoryview) -> Iterator[PdfPage]:
    offset = 0
    for page in told:
        rows, columns = page["shape"]
        picture = np.frombuffer(pixels, dtype=np.uint8, count=rows * columns, offset=offset).reshape(rows, columns)
        offset += rows * columns
        words = [Piece(text, tuple(place)) for text, place in page["words"]] if page["words"] is not None else None
        yield PdfPage(page["number"], page["width"], page["height"], picture, words, page["hidden"])


def _packed(pages: list[PdfPage]) -> Iterator[bytes]:
    told = [
        {
            "number": page.number,
            "width": page.width,
            "height": page.height,
            "shape": page.picture.shape,
            "words": [(word.text, word.place) for word in page.words] if page.words is not None else None,
            "hidden": page.hidden,
        }
        for page in pages
    ]
    yield from _headed({"pages": told})
    for page in pages:
        yield page.picture.tobytes()


def _headed(header: dict[str, Any]) -> Iterator[bytes]:
    body = orjson.dumps(header)
    yield struct.pack("<I", len(body))
    yield body


def main(memory: int, seconds: int) -> None:
    """The child: limits first, then the bytes of a stranger."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        answer = list(_packed(decode_pdf(sys.stdin.buffer.read())))
    except PermanentFailure as failure:
        answer = list(_headed({"code": failure.code, "hint": failure.hint}))
    sys.stdout.buffer.writelines(answer)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
