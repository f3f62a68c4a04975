"""A log line holds nothing but a word of ours and fields of the list, whoever writes it and whatever is in the record."""

from __future__ import annotations

import ast
import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import PermanentFailure
from schemas.telemetry import logs, traces
from schemas.telemetry.fields import MARK, NAMES, WITHHELD, allowed, fields
from schemas.telemetry.logs import LineFormatter, line, reason_of
from schemas.telemetry.traces import TraceContext

ROOT = Path(__file__).parents[2]
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
HEAD = {"time", "level", "logger", "event"}
SECRET = "DOE^JANE 1.2.840.113619.2.5"
SECRETS = ["DOE^JANE", "MR-0048213", "1958-04-17", "1.2.840.113619.2.5", "Patient/p-1", "https://fhir/Patient?name=Doe"]
FREELY_NAMED = ("release",)
"""Whoever serves a model names its release; no form tells such a name from a record number. Its calls take it from release.json alone."""
HOSTILE = st.one_of(
    st.sampled_from(SECRETS), st.text(), st.integers(), st.floats(), st.binary(), st.lists(st.text(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.text(), max_size=2), st.none(), st.booleans(),
)  # fmt: skip


# -- what is written -----------------------------------------------------------------------------------------------------------


def record_of(message: Any, arguments: Any, extra: dict[str, Any], name: str = "some.library") -> logging.LogRecord:
    record = logging.LogRecord(name, logging.ERROR, __file__, 7, message, arguments, None)
    for key, value in extra.items():
        setattr(record, key, value)
    return record


KNOWN = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {MARK, "temporal_activity", "temporal_workflow"}


@given(
    message=HOSTILE,
    arguments=st.lists(HOSTILE, max_size=3),
    extra=st.dictionaries(
        st.text(min_size=1).filter(lambda key: key not in KNOWN and not key.startswith("__")), HOSTILE, max_size=4
    ),
    name=st.text(),
)
def test_of_a_librarys_record_no_word_is_left(message: Any, arguments: Any, extra: dict[str, Any], name: str) -> None:
    record = record_of(message, (), extra, name)
    record.args = tuple(arguments)
    said = line(record)
    assert set(said) <= {*HEAD, "at"}
    assert said["event"] == "library"
    assert said["at"] == "unit/test_log_lines.py:7"
    for secret in SECRETS:
        assert secret not in str(said)
    assert json.loads(LineFormatter("json").format(record)) == said
    assert "\n" not in LineFormatter("text").format(record)


@given(st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text()), HOSTILE))
def test_no_field_but_those_of_the_list_and_none_that_looks_otherwise_is_written(given_fields: dict[str, Any]) -> None:
    record = record_of("word", (), {MARK: given_fields}, "services.gateway")
    said = line(record)
    assert set(said) <= {*HEAD, *NAMES}
    told = {name: value for name, value in said.items() if name not in FREELY_NAMED}
    for secret in SECRETS:
        assert secret not in str(told)
    assert allowed(given_fields) == {name: said[name] for name in NAMES if name in said}


def test_a_value_that_is_not_what_it_should_be_is_withheld() -> None:
    told = fields(code="PATIENT Doe", study_key="1.2.840.1", attempt=True, release="mg-1", seconds=0.12345678, count=3)  # type: ignore[arg-type]
    assert told[MARK] == {
        "code": WITHHELD, "attempt": WITHHELD, "study_key": WITHHELD, "count": 3, "seconds": 0.123457, "release": "mg-1",
    }  # fmt: skip
    assert allowed({"seconds": float("nan"), "count": 2**70, "topic": "hospital.patient.v1", "stage": None}) == {
        "topic": "hospital.patient.v1", "count": WITHHELD, "seconds": WITHHELD,
    }  # fmt: skip
    assert allowed({"topic": "hospital.doe-jane.v1"}) == {"topic": WITHHELD}


def test_an_event_that_is_no_word_is_not_written() -> None:
    assert line(record_of(SECRET, (), fields(code="x")))["event"] == "library"
    assert (
        line(record_of(f"told-so ({SECRET})", (), fields(code="x")))["event"] == "told-so"
    )  # as Temporal's loggers add


def test_people_and_machines_are_told_the_same_with_the_trace() -> None:
    record = record_of(
        "dead-letter", (), fields(topic="hospital.patient.v1", offset=7, code="event-empty"), "services.gateway.intake"
    )
    record.created = 1_795_000_000.25
    with traces.within(TraceContext("a" * 32, "b" * 16)):
        text, said = LineFormatter("text").format(record), json.loads(LineFormatter("json").format(record))
    assert text == (
        f"2026-11-18T11:06:40.250Z ERROR services.gateway.intake dead-letter code=event-empty topic=hospital.patient.v1 offset=7 "
        f"trace_id={'a' * 32} span_id={'b' * 16}"
    )
    assert list(said) == ["time", "level", "logger", "event", "code", "topic", "offset", "trace_id", "span_id"]


def test_a_named_error_has_its_code_and_another_its_place() -> None:
    assert reason_of(PermanentFailure("fhir-not-found", SECRET)) == {"code": "fhir-not-found"}
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        said = fields(**reason_of(error))[MARK]
    assert said["error"] == "ValueError"
    assert re.fullmatch(r"unit/test_log_lines\.py:\d+", str(said["at"]))


# -- what reaches standard error -----------------------------------------------------------------------------------------------

CRASHES = f"""
import asyncio, logging, sys, threading, warnings
from services.telemetry.process import configure_logging
configure_logging("json")
logging.getLogger("kafka").error("cannot reach %s", "{SECRET}")
logging.getLogger("asyncio").exception("never retrieved {SECRET}", exc_info=ValueError("{SECRET}"))
logging.getLogger("broken").error("%d of {SECRET}", "{SECRET}")
warnings.warn("the value {SECRET}", UserWarning)
thread = threading.Thread(target=lambda: 1 / len(""), name="{SECRET}"); thread.start(); thread.join()
class Bad:
    def __del__(self): raise KeyError("{SECRET}")
Bad()
async def failing():
    task = asyncio.get_running_loop().create_task(asyncio.sleep(0)); await task
    asyncio.get_running_loop().call_exception_handler({{"message": "{SECRET}", "exception": OSError("{SECRET}")}})
asyncio.run(failing())
raise RuntimeError("{SECRET}")
"""


def test_a_process_that_fails_in_every_way_says_no_word_of_a_patient() -> None:
    """Log calls of libraries, warnings, threads, finalizers, asyncio's own handler, and the exception that ends it."""
    done = subprocess.run([sys.executable, "-c", CRASHES], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "DOE" not in done.stderr
    said = [json.loads(each) for each in done.stderr.splitlines()]
    found = [(each["logger"], each["event"], each.get("error")) for each in said]
    assert found == [
        ("kafka", "library", None),
        ("asyncio", "library", "ValueError"),
        ("broken", "library", None),
        ("py.warnings", "library", None),
        ("schemas.telemetry.logs", "uncaught", "ZeroDivisionError"),
        ("schemas.telemetry.logs", "uncaught", "KeyError"),
        ("asyncio", "library", "OSError"),
        ("schemas.telemetry.logs", "uncaught", "RuntimeError"),
    ]
    assert all(WITHHELD not in each.values() for each in said)


@pytest.fixture
def as_before() -> Iterator[None]:
    """What a test changes of the process's log is put back."""
    root = logging.getLogger()
    kept = (
        root.handlers[:],
        root.level,
        logging.raiseExceptions,
        sys.excepthook,
        threading.excepthook,
        sys.unraisablehook,
    )
    with warnings.catch_warnings():
        yield
    logging.captureWarnings(False)
    root.handlers, logging.raiseExceptions, sys.excepthook, threading.excepthook, sys.unraisablehook = (
        kept[0], kept[2], kept[3], kept[4], kept[5],
    )  # fmt: skip
    root.setLevel(kept[1])


@pytest.mark.usefixtures("as_before")
def test_a_library_is_held_down_to_a_level(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", {"chatty": logging.ERROR})
    try:
        logging.getLogger("chatty").warning("every second")
        logging.getLogger("chatty").error("once")
    finally:
        logging.getLogger("chatty").setLevel(logging.NOTSET)
    [said] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\S+ ERROR chatty library at=unit/test_log_lines\.py:\d+", said)


# -- what our code may write -----------------------------------------------------------------------------------------------------


def log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls of a logger's methods: by the names under which loggers are known here, and of anything that getLogger returns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            owner = ast.unparse(node.func.value)
            if re.fullmatch(
                r"(self\.)?_?(log|audit|logger)|.*\.logger|.*getLogger\(.*\)|logging", owner, re.IGNORECASE
            ):
                yield node


def fault_of(call: ast.Call) -> str | None:
    """Why a call is not in the one form that is allowed: `log.warning("a-word", extra=fields(..))`."""
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr in ("exception", "log"):
        return "it would write a stack, or a level that is not seen"
    if [argument.arg for argument in call.keywords] != ["extra"]:
        return "extra=fields(..) and no other keyword"
    if len(call.args) != 1 or not isinstance(call.args[0], ast.Constant) or not isinstance(call.args[0].value, str):
        return "one fixed word and no argument"
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,63}", call.args[0].value):
        return "a word in kebab case"
    return None


def ours() -> list[Path]:
    return [
        file
        for package in ("schemas", "services", "workflows", "model_runtime")
        for file in sorted((ROOT / package).rglob("*.py"))
    ]


def test_every_log_call_is_a_word_and_fields() -> None:
    found, faults = 0, []
    for file in ours():
        tree = ast.parse(file.read_text())
        made = {
            target.id
            for node in ast.walk(tree) if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("fields(")
            for target in node.targets if isinstance(target, ast.Name)
        }  # fmt: skip
        for call in log_calls(tree):
            found += 1
            given_as = ast.unparse(call.keywords[0].value) if call.keywords else ""
            fault = fault_of(call) or (
                None if given_as.startswith("fields(") or given_as in made else "extra is no fields(..)"
            )
            if fault:
                faults.append(f"{file.relative_to(ROOT)}:{call.lineno}: {fault}")
    assert faults == []
    assert found >= 25


@pytest.mark.parametrize(
    "call",
    [
        'log.info("accepted %s", event.id)',
        'log.info(f"accepted-{event.id}", extra=fields())',
        'log.warning("%s", failure)',
        'log.warning("Not A Word", extra=fields())',
        'log.error("fault", exc_info=True)',
        'log.error("fault", extra=fields(), exc_info=error)',
        'log.exception("fault", extra=fields())',
        'logging.getLogger(__name__).debug("x")',
        "activity.logger.warning(text, extra=fields())",
        'self._logger.info("a", "b", extra=fields())',
    ],
)
def test_the_check_refuses_every_other_form(call: str) -> None:
    [node] = log_calls(ast.parse(call))
    assert fault_of(node)


def test_nothing_of_ours_sets_up_a_log_in_another_way() -> None:
    """Handlers and formatters are made in one place; the demo's and the commands' own words to people are no log."""
    elsewhere = re.compile(
        r"basicConfig|dictConfig|StreamHandler\(|addHandler|logging\.Formatter|traceback\.(print|format)_"
    )
    files = [file for file in ours() if "bench" not in file.parts]
    found = {str(file.relative_to(ROOT)) for file in files if elsewhere.search(file.read_text())}
    assert found == {"schemas/telemetry/logs.py"}


def test_the_documentation_knows_every_field_and_every_event() -> None:
    text = (ROOT / "docs" / "traces-and-logs.md").read_text()
    calls = [call for file in ours() for call in log_calls(ast.parse(file.read_text()))]
    events = {ast.literal_eval(call.args[0]) for call in calls}
    rows = " ".join(
        line.rsplit("|", 3 if line.count("|") > 4 else 2)[0] for line in text.splitlines() if line.startswith("|")
    )
    assert {name for name in (*NAMES, *events) if f"`{name}`" not in rows} == set()
