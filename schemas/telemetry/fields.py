"""The list of fields that a log line or a span may hold, and what a value of each looks like.

Free of identifiers by construction: what is not listed cannot be written, and a value that does not look as its field's must is withheld. Keys are
UUIDv5 digests (schemas.identifiers), codes and hints' codes are words of our own code, places are lines of code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TypedDict, Unpack

from schemas.errors import STAGES
from schemas.events import INBOUND_TOPICS, OUTBOUND_TOPICS, TYPE_PREFIX, dead_letter_topic

Value = str | int | float
WITHHELD = "(withheld)"
"""Stands where a value did not look as it must."""


class Fields(TypedDict, total=False):
    """Every field, with its type; seconds are seconds, sizes are bytes."""

    code: str
    stage: str
    activity: str
    workflow: str
    workflow_id: str
    attempt: int
    study_key: str
    run_id: str
    result_id: str
    event_id: str
    event_type: str
    topic: str
    partition: int
    offset: int
    count: int
    size: int
    seconds: float
    part: str
    operation: str
    method: str
    status: int
    port: int
    release: str
    metric: str
    prompt_tokens: int
    completion_tokens: int
    error: str
    at: str
    user: str
    address: str


_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_WORD = r"[a-z][a-z0-9-]{0,63}"
_TOPICS = [*INBOUND_TOPICS, *OUTBOUND_TOPICS, *map(dead_letter_topic, INBOUND_TOPICS)]
_PATTERNS: dict[str, str] = {
    "code": _WORD,
    "stage": "|".join(STAGES),
    "activity": r"[a-z][a-z_]{0,39}",
    "workflow": r"[A-Z][A-Za-z]{0,39}",
    "workflow_id": rf"(study|patient)-{_UUID}|shadow-{_UUID}-[a-z0-9.-]{{1,80}}|longview-reconcile(-[0-9TZ:-]{{1,30}})?",
    "study_key": _UUID,
    "run_id": _UUID,
    "result_id": _UUID,
    "event_id": _UUID,
    "event_type": re.escape(TYPE_PREFIX) + r"[a-z.-]{1,50}\.v1",
    "topic": "|".join(map(re.escape, _TOPICS)),
    "part": r"[a-z][a-z-]{0,31}",
    "operation": _WORD,
    "method": r"[A-Z]{3,7}",
    "release": r"[A-Za-z][A-Za-z0-9._-]{0,99}",
    "metric": r"[a-z][a-z0-9_-]{0,63}",
    "error": r"[A-Za-z_][A-Za-z0-9_]{0,63}",
    "at": r"([A-Za-z_][A-Za-z0-9_.-]{0,63}/)?[A-Za-z_<][A-Za-z0-9_>]{0,63}(\.py)?:[0-9]{1,6}",
    "user": r"[a-z][a-z0-9-]{0,31}",
    "address": r"[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-f:]{2,39}",
}
_COMPILED = {name: re.compile(pattern) for name, pattern in _PATTERNS.items()}
NAMES: tuple[str, ...] = tuple(Fields.__annotations__)


def allowed(given: Mapping[str, object]) -> dict[str, Value]:
    """Of `given`, what the list has a place for, in the list's order; None is left out, a value that does not look as it must is withheld."""
    return {name: _seen(name, given[name]) for name in NAMES if given.get(name) is not None}


def fields(**given: Unpack[Fields]) -> dict[str, dict[str, Value]]:
    """For a log call: `log.warning("dead-letter", extra=fields(code=..))`. The first argument of the call is the event's name, a fixed word."""
    return {MARK: allowed(given)}


MARK = "longview_fields"
"""The attribute by which a log record of ours is known."""


def _seen(name: str, value: object) -> Value:
    pattern = _COMPILED.get(name)
    if pattern is not None:
        return value if isinstance(value, str) and pattern.fullmatch(value) else WITHHELD
    if isinstance(value, bool) or not isinstance(value, int | float):
        return WITHHELD
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else WITHHELD
    return value if abs(value) < 2**63 else WITHHELD
