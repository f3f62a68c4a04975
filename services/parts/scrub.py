"""One line of a part's log, fit to be shown: the likeliest cause, without identifiers, secrets or paths' worth of noise."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

MOST_CHARACTERS = 200
_TAIL_BYTES = 32 * 1024
_RULES = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"://[^/\s@]+@"), "://(hidden)@"),
    (re.compile(r"\b[0-2](?:\.\d+){4,}\b"), "(uid)"),
    (re.compile(r"\b([A-Z][A-Za-z]{3,})/(?!_)[A-Za-z0-9.-]{1,64}\b(?:/_history/\S+)?"), r"\1/(id)"),
    (re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b"), "(uuid)"),
    (re.compile(r"(?i)\b(bearer|token|password|secret)\b([=: ]+)\S+"), r"\1\2(hidden)"),
    (re.compile(r"\?\S+"), "?(query)"),
    (re.compile(r"\b\d{6,}\b"), "(number)"),
)
_TELLING = re.compile(
    r"(?i)error|refused|fail|fatal|panic|cannot|not found|denied|in use|no such|killed|out of memory|invalid"
)


def scrub(line: str) -> str:
    """`line` without UIDs, references, long numbers, queries and credentials, on one line of at most 200 characters."""
    for pattern, replacement in _RULES:
        line = pattern.sub(replacement, line)
    line = " ".join(line.split())
    return line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1] + "…"


def last_words(log: Path, since: int = 0) -> str:
    """The last telling line that was written to `log` after byte `since`, scrubbed; empty if it said nothing."""
    lines = [line for line in _tail(log, since) if line.strip()]
    telling = [line for line in lines if _TELLING.search(line) and not line.startswith((" ", "\t"))]
    return scrub(next(iter(reversed(telling or lines)), ""))


def _tail(log: Path, since: int) -> Iterable[str]:
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(since, size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
