"""Log lines that hold no identifier by construction.

A record of ours is a fixed word and fields of the list (`fields`). Of any other record (a library's, a warning, an uncaught exception) the level, the
logger, the exception's class and the line of code are written: its text may repeat what it was given, URLs and values of elements above all.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from types import TracebackType
from typing import Any, Literal, TypedDict

from schemas.errors import LongviewError
from schemas.telemetry.fields import MARK, Value, allowed, fields
from schemas.telemetry.traces import current

Format = Literal["text", "json"]
LIBRARY = "library"
"""The event of a record that is not ours."""
_EVENT = re.compile(r"[a-z][a-z0-9-]{0,63}")
_LOGGER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}((\.|-|::)[A-Za-z_][A-Za-z0-9_]{0,39}){0,9}")
_LEVELS = {logging.DEBUG: "DEBUG", logging.INFO: "INFO", logging.WARNING: "WARNING", logging.ERROR: "ERROR"}
log = logging.getLogger(__name__)


class Reason(TypedDict, total=False):
    """Those of the fields that say why something failed."""

    code: str
    error: str
    at: str


def line(record: logging.LogRecord) -> dict[str, Value]:
    """All that is ever written of a record."""
    written: dict[str, Value] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _LEVELS.get(record.levelno, "CRITICAL" if record.levelno > logging.ERROR else "DEBUG"),
        "logger": record.name if _LOGGER.fullmatch(record.name) else "other",
    }
    ours = getattr(record, MARK, None)
    if isinstance(ours, Mapping):
        # Temporal's loggers add words of their own behind the event's name
        event = str(record.msg).split(" ", 1)[0]
        written["event"] = event if _EVENT.fullmatch(event) else LIBRARY
        written |= allowed({**_of_temporal(record), **ours})
    else:
        written["event"] = LIBRARY
        written |= allowed({**_of_temporal(record), **_of_exception(record), "at": _at(record.pathname, record.lineno)})
    context = current()
    if context is not None:
        written |= {"trace_id": context.trace_id, "span_id": context.span_id}
    return written


def _of_temporal(record: logging.LogRecord) -> dict[str, object]:
    """What Temporal's own loggers know of where they are."""
    found: dict[str, object] = {}
    for name in ("temporal_activity", "temporal_workflow"):
        known = getattr(record, name, None)
        if isinstance(known, Mapping):
            found |= {
                "activity": known.get("activity_type"),
                "workflow": known.get("workflow_type"),
                "workflow_id": known.get("workflow_id"),
                "attempt": known.get("attempt"),
            }
    return found


def _of_exception(record: logging.LogRecord) -> dict[str, object]:
    info = record.exc_info
    return {"error": info[0].__name__} if isinstance(info, tuple) and info[0] is not None else {}


def reason_of(error: BaseException) -> Reason:
    """A named error by its code; another by its class and the line of code where it arose, since its text may hold anything."""
    if isinstance(error, LongviewError):
        return Reason(code=error.code)
    return Reason(error=type(error).__name__, at=place_of(error))


def place_of(error: BaseException) -> str:
    """File and line where an exception arose: enough to find it, without a message that may hold an identifier."""
    return _place(error.__traceback__)


OUR_PACKAGES = frozenset({"schemas", "workflows", "services", "model_runtime"})


def our_place_of(error: BaseException) -> str:
    """The innermost file and line of our own code that the exception came through; where it arose, if there is none."""
    found, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if OUR_PACKAGES.intersection(PurePath(file).parts[:-1]):
            found = _at(file, trace.tb_lineno)
        trace = trace.tb_next
    return found or place_of(error)


def _place(trace: TracebackType | None) -> str:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return _at(trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace else "unknown:0"


def _at(file: str, number: int) -> str:
    return f"{'/'.join(PurePath(file).parts[-2:])}:{number}"


class LineFormatter(logging.Formatter):
    """Text for people, or one JSON object a line; both say the same."""

    def __init__(self, style: Format) -> None:
        super().__init__()
        self._json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        written = line(record)
        if self._json:
            return json.dumps(written)
        head = " ".join(str(written.pop(name)) for name in ("time", "level", "logger", "event"))
        return " ".join([head, *(f"{name}={value}" for name, value in written.items())])


def configure(style: Format, held_down: Mapping[str, int] | None = None, level: int = logging.INFO) -> None:
    """Everything that this process logs goes to standard error through `LineFormatter`, uncaught exceptions and warnings too.

    `held_down`: loggers of libraries, each with the level below which it says nothing.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(style))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.raiseExceptions = False  # the report of a handler that failed repeats the record's text
    logging.captureWarnings(True)
    for name, level in (held_down or {}).items():
        logging.getLogger(name).setLevel(level)
    sys.excepthook = _uncaught
    threading.excepthook = lambda given: _uncaught(given.exc_type, given.exc_value, given.exc_traceback)
    sys.unraisablehook = lambda given: _uncaught(given.exc_type, given.exc_value, given.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    if not issubclass(kind, SystemExit | KeyboardInterrupt):
        log.critical("uncaught", extra=fields(error=kind.__name__, at=_place(trace)))
