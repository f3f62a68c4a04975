"""JSON as FHIR servers really send it: digits are kept, and half a character does not make a patient unreadable."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_REPLACEMENT = "\ufffd"
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:[^u]|u(?:[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|([dD][89a-fA-F][0-9a-fA-F]{2})|.{4}))",
    re.DOTALL,
)
"""An escape of a JSON string: a whole pair of surrogates, one alone (group 1), or any other."""
_HALF_BYTES = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
"""A surrogate as if it were a character: no UTF-8, but written by some servers."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SourceDecimal(float):
    """A number that still prints the digits its source wrote (1.10, not 1.1)."""

    def __new__(cls, text: str) -> SourceDecimal:
        number = super().__new__(cls, text)
        number._text = text
        return number

    _text: str

    def __str__(self) -> str:
        return self._text


def parse(content: bytes, *, decimals: bool) -> Any:
    """The JSON of an answer; with `decimals` its numbers keep their digits. `ValueError` for what is no JSON in UTF-8.

    A lone surrogate (an emoji that was cut in the middle) becomes U+FFFD, as Unicode has it for what cannot be shown (core specification, 3.9).
    """
    text = whole(content)
    if decimals:
        return json.loads(text.decode(), parse_float=SourceDecimal)
    return orjson.loads(text)


def whole(content: bytes) -> bytes:
    """The same bytes without a byte order mark and without halves of characters."""
    content = content.removeprefix(_BYTE_ORDER_MARK)
    if b"\xed" in content:
        content = _HALF_BYTES.sub(_REPLACEMENT.encode(), content)
    if _HALF.search(content):
        content = _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], content)
    return content
