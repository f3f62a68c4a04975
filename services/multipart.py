"""multipart/related bodies of DICOMweb (RFC 2387, PS3.18 section 8.6.1), read and written piece by piece by the archive and by its client."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message

MAX_PART = 2 << 30
"""Bytes of one part: more than any single DICOM instance that could become a volume."""
MAX_HEADER = 16 << 10


class MultipartError(Exception):
    """The body is not what its Content-Type says, is cut, or holds a part beyond `MAX_PART`."""


def boundary_of(content_type: str) -> bytes:
    """The boundary of a Content-Type; `MultipartError` if it is not multipart/related."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/related" or not isinstance(boundary, str) or not boundary:
        raise MultipartError("not multipart/related")
    return boundary.encode("latin-1", "replace")


def is_media(content_type: str, wanted: str) -> bool:
    """Whether a Content-Type is of this media type."""
    return content_type.partition(";")[0].strip().lower() == wanted.lower()


class MultipartReader:
    """Fed with a body as it arrives, gives its parts as they are complete; holds no more than one part and what came with it.

    Lines end with CR LF (RFC 2046), or with LF alone as some servers write them: the first delimiter tells which.
    """

    def __init__(self, content_type: str) -> None:
        self._delimiter = b"\n--" + boundary_of(content_type)
        self._buffer = bytearray(b"\r\n")  # the first delimiter may begin the body
        self._searched = 0
        self._in_part = False
        self._complete = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The content of every part that `data` completes."""
        self._buffer += data
        while not self._complete:
            part = self._next()
            if part is None:
                break
            if part[0]:
                yield part[1]
        if len(self._buffer) > MAX_PART:
            raise MultipartError("a part is too large")

    def close(self) -> None:
        """The body has ended; `MultipartError` if its last delimiter is missing."""
        if not self._complete:
            raise MultipartError("the body is cut")

    def _next(self) -> tuple[bool, bytes] | None:
        """What stands before the next delimiter, and whether it is a part; None until that delimiter and the end of its line are there."""
        at = self._buffer.find(self._delimiter, self._searched)
        end = at + len(self._delimiter)
        line = self._buffer.find(b"\n", end, end + MAX_HEADER) if at >= 0 else -1
        closing = at >= 0 and self._buffer[end : end + 2] == b"--"
        if at < 0 or not (closing or line >= 0 or (self._in_part and len(self._buffer) >= end + 2)):
            if at >= 0 and len(self._buffer) > end + MAX_HEADER:
                raise MultipartError("the line of a delimiter does not end")
            self._searched = max(0, (at if at >= 0 else len(self._buffer) - len(self._delimiter)))
            return None
        found = self._in_part, _content(self._buffer, at) if self._in_part else b""
        self._complete = closing
        if not self._in_part and self._buffer[line - 1 : line] == b"\r":
            self._delimiter = b"\r" + self._delimiter
        del self._buffer[:end]
        self._searched, self._in_part = 0, True
        return found


def _content(buffer: bytearray, end: int) -> bytes:
    """The part without its headers: an empty line ends them, and comes at once where there are none."""
    blanks = [(buffer.find(blank, 0, min(end, MAX_HEADER)), len(blank)) for blank in (b"\r\n\r\n", b"\n\n")]
    start = min((at + length for at, length in blanks if at >= 0), default=None)
    if start is None:
        raise MultipartError("the headers of a part do not end")
    with memoryview(buffer) as view:
        return bytes(view[start:end])


class MultipartWriter:
    """The pieces of a body around its parts."""

    def __init__(self, part_type: str, boundary: str) -> None:
        self.content_type = f'multipart/related; type="{part_type}"; boundary={boundary}'
        self._part_type = part_type
        self._boundary = boundary

    def head(self, length: int) -> bytes:
        """What precedes a part of `length` bytes."""
        return f"\r\n--{self._boundary}\r\nContent-Type: {self._part_type}\r\nContent-Length: {length}\r\n\r\n".encode()

    @property
    def tail(self) -> bytes:
        return f"\r\n--{self._boundary}--\r\n".encode()
