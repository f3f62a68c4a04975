"""The text of a report's `presentedForm` (R4 Attachment): plain text and HTML in any character set; of every other form, why it was not read.

What is read is data: markup is taken off, nothing of it is followed or fetched.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterable
from html.parser import HTMLParser

from workflows.timeline.fields import Resource

_BLANKS = re.compile(r"\s+")
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9._:-]+)", re.IGNORECASE)
_HTML = ("text/html", "application/xhtml+xml")
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]{1,60}")


class Unread(Exception):
    """Why a form has no text for us, in a few words of ours."""


def report_text(forms: Iterable[Resource]) -> tuple[str | None, list[str]]:
    """The text of the first form that can be read; else None, and why each was not."""
    unread: list[str] = []
    for form in forms:
        try:
            if text := text_of_form(form):
                return text, []
            unread.append("empty")
        except Unread as why:
            unread.append(str(why))
    return None, list(dict.fromkeys(unread))


def text_of_form(form: Resource) -> str:
    """The text of one Attachment; `Unread` where it has none."""
    said = str(form.get("contentType") or "text/plain")
    kind = said.split(";")[0].strip().lower()
    if kind != "text/plain" and kind not in _HTML:
        raise Unread(kind if _TYPE.fullmatch(kind) else "unknown type")
    data = form.get("data")
    if not data:
        raise Unread("kept at another address" if form.get("url") else "no data")
    text = _decoded(_bytes_of(str(data)), _CHARSET.search(said))
    if kind in _HTML:
        text = text_of_html(text)
    elif "\0" in text:
        raise Unread("no text")
    return text.strip()


def _bytes_of(data: str) -> bytes:
    """Base64 may be broken into lines (R4 2.24.0.1, base64Binary)."""
    try:
        return base64.b64decode(_BLANKS.sub("", data), validate=True)
    except (binascii.Error, ValueError):
        raise Unread("damaged data") from None


def _decoded(data: bytes, declared: re.Match[str] | None) -> str:
    """By the byte order mark, the declared character set, else UTF-8; undeclared bytes that are no UTF-8 are windows-1252, as browsers have it."""
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    name = marked or (declared[1] if declared else "utf-8")
    try:
        return data.decode(name)
    except LookupError:
        raise Unread("unknown character set") from None
    except UnicodeDecodeError:
        if declared and not marked and codecs.lookup(name).name not in ("utf-8", "ascii"):
            raise Unread("damaged data") from None
        return data.decode("windows-1252", "replace")
    except UnicodeError:
        raise Unread("damaged data") from None


_SILENT = frozenset(("script", "style", "head", "title", "template", "object", "svg", "iframe"))
_VOID = frozenset(
    ("br", "hr", "img", "input", "meta", "link", "col", "wbr", "area", "base", "embed", "source", "track")
)
_INLINE = frozenset(
    ("a", "abbr", "b", "bdi", "bdo", "em", "font", "i", "mark", "s", "small", "span", "strong", "sub", "sup", "u")
)


def text_of_html(markup: str) -> str:
    """The words of a page, a line for each block; scripts, styles and comments are no words."""
    parser = _Words()
    parser.feed(markup)
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.parts).split("\n"))
    return "\n".join(line for line in lines if line)


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":  # a head need not be closed
            self._silent.clear()
        if tag in _SILENT:
            self._silent.append(tag)
        elif tag not in _INLINE:
            self.parts.append(" " if tag in ("td", "th", "img") else "\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _SILENT:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        elif tag not in _INLINE and tag not in _VOID:
            self.parts.append(" " if tag in ("td", "th") else "\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(_BLANKS.sub(" ", data))
