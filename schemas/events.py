"""Bus events: CloudEvents 1.0 over Kafka (contract 4), checked against the JSON Schema that we publish (`events.schema.json`).

Kafka binary mode: attributes are `ce_*` headers, the value is the data. Structured mode (`content-type: application/cloudevents+json`) is read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson
from pydantic import Field, ValidationError

from schemas.errors import InvalidEvent
from schemas.model import Record

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

TYPE_PREFIX = "org.example.longview."
STUDY_AVAILABLE = TYPE_PREFIX + "imaging.study.available.v1"
OBSERVATION_AVAILABLE = TYPE_PREFIX + "observation.available.v1"
PATIENT_MERGED = TYPE_PREFIX + "patient.merged.v1"
ORDER_CHANGED = TYPE_PREFIX + "order.changed.v1"
REPORT_FINALISED = TYPE_PREFIX + "report.finalised.v1"
RESULT_AVAILABLE = TYPE_PREFIX + "ai.result.available.v1"
RESULT_REVIEWED = TYPE_PREFIX + "ai.result.reviewed.v1"
RESULT_ESCALATED = TYPE_PREFIX + "ai.result.escalated.v1"
RUN_FAILED = TYPE_PREFIX + "ai.run.failed.v1"
DEAD_LETTER = TYPE_PREFIX + "dead-letter.v1"

STUDY_TOPIC = "hospital.imaging-study.v1"
OBSERVATION_TOPIC = "hospital.observation.v1"
PATIENT_TOPIC = "hospital.patient.v1"
ORDER_TOPIC = "hospital.order.v1"
REPORT_TOPIC = "hospital.report.v1"
RESULT_TOPIC = "longview.ai-result.v1"
RUN_TOPIC = "longview.ai-run.v1"
INBOUND_TOPICS = (STUDY_TOPIC, OBSERVATION_TOPIC, PATIENT_TOPIC, ORDER_TOPIC, REPORT_TOPIC)
OUTBOUND_TOPICS = (RESULT_TOPIC, RUN_TOPIC)

MAX_VALUE_BYTES = 256 * 1024
"""Events carry references only; a larger record is dead-lettered unread."""

Headers = Iterable[tuple[str, bytes]]


def dead_letter_topic(topic: str) -> str:
    return f"{topic}.dlq"


class CloudEvent(Record):
    """One event; attribute names as CloudEvents spells them."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str = "application/json"
    dataschema: str
    partitionkey: str
    tenant: str
    sequence: str | None = None
    causationid: str | None = None
    correlationid: str | None = None
    traceparent: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)

    def structured(self) -> dict[str, Any]:
        """The structured form, without attributes that are not set."""
        return self.model_dump(exclude_none=True)


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = orjson.loads(files("schemas").joinpath("events.schema.json").read_bytes())
    return schema


@cache
def _validator() -> Draft202012Validator:
    """Imported for the first event that is refused: building its checkers of formats takes 1.5 s of processor time."""
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.exceptions import ValidationError as Broken
    from jsonschema.validators import extend

    def pattern(_: Any, wanted: str, instance: Any, __: Any) -> Iterator[Broken]:
        """As ECMA-262 reads it: for Python alone `$` fits before a line's end too."""
        if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", wanted), instance):
            yield Broken("does not match")

    strict: type[Draft202012Validator] = extend(Draft202012Validator, {"pattern": pattern})  # type: ignore[no-untyped-call]
    known: Draft202012Validator = strict(_schema(), format_checker=FormatChecker())
    return known


@cache
def _quick() -> jsonschema_rs.Draft202012Validator:
    """The same schema for the path that every event takes; what it does not accept is put to jsonschema, which says where and why."""
    return jsonschema_rs.Draft202012Validator(_schema(), validate_formats=True)


def _is_quickly_valid(event: dict[str, Any]) -> bool:
    try:
        return _quick().is_valid(event)
    except ValueError:  # a string or number of a class of its own (pydicom's UID): jsonschema takes it
        return False


def dataschema(base: str, event_type: str) -> str:
    return f"{base}/schemas/events/v1#/$defs/{event_type.removeprefix(TYPE_PREFIX)}"


def now_rfc3339() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def validate(event: dict[str, Any]) -> None:
    """`InvalidEvent` with the first offending place; the message never repeats a value, which may be an identifier."""
    if _is_quickly_valid(event):
        return
    errors = sorted(_validator().iter_errors(event), key=lambda e: [str(p) for p in e.absolute_path])
    if not errors:
        return
    unknown = any(list(e.absolute_path) == ["type"] for e in errors)
    place = "/".join(str(p) for p in errors[0].absolute_path if p in _known_names()) or "the event"
    if unknown:
        raise InvalidEvent("unknown-type", "event-type-unknown", "the type is not one of the contract's")
    raise InvalidEvent("schema-invalid", "event-schema-invalid", f"{place} breaks the rule '{errors[0].validator}'")


@cache
def _known_names() -> frozenset[str]:
    """Property names of the schema: only these may appear in an error."""

    def names(node: Any) -> set[str]:
        if isinstance(node, list):
            return set().union(*map(names, node)) if node else set()
        if not isinstance(node, dict):
            return set()
        own = set(node.get("properties", {})) if isinstance(node.get("properties"), dict) else set()
        return own.union(*map(names, node.values())) if node else own

    return frozenset(names(_schema()))


def parse_event(headers: Headers, value: bytes | None) -> CloudEvent:
    """The event of a Kafka record, in binary or structured mode; `InvalidEvent` says why it cannot be one."""
    if value is None:
        raise InvalidEvent("schema-invalid", "event-empty", "the record has no value")
    if len(value) > MAX_VALUE_BYTES:
        raise InvalidEvent("too-large", "event-too-large", f"the value is larger than {MAX_VALUE_BYTES} bytes")
    event = _structured_of(_header_texts(headers), value)
    validate(event)
    try:
        return CloudEvent.model_validate(event)
    except ValidationError as error:
        raise InvalidEvent("schema-invalid", "event-schema-invalid", "the envelope cannot be read") from error


def _header_texts(headers: Headers) -> dict[str, str]:
    """The event's own headers; what others write there is theirs, in whatever bytes."""
    known = [(key.lower(), raw) for key, raw in headers if raw is not None]
    try:
        return {key: raw.decode() for key, raw in known if key == "content-type" or key.startswith("ce_")}
    except UnicodeDecodeError as error:
        raise InvalidEvent("schema-invalid", "event-header-encoding", "a header is not UTF-8") from error


def _structured_of(headers: dict[str, str], value: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent("schema-invalid", "event-not-json", "the value is not JSON") from error
    if headers.get("content-type", "").startswith("application/cloudevents+json") or "ce_specversion" not in headers:
        event = body
    else:
        event = {key.removeprefix("ce_"): text for key, text in headers.items() if key.startswith("ce_")}
        event |= {"data": body, "datacontenttype": _media_type(headers.get("content-type", ""))}
    if not isinstance(event, dict):
        raise InvalidEvent("schema-invalid", "event-not-object", "the event is not a JSON object")
    return event


def _media_type(content_type: str) -> str:
    """Without the charset that JSON has anyway (RFC 8259, section 8.1); any other parameter is kept, and refused."""
    kind, _, parameters = (part.strip().lower() for part in content_type.partition(";"))
    return kind if parameters.replace(" ", "").replace('"', "") in ("", "charset=utf-8") else content_type


def binary_form(event: CloudEvent) -> tuple[bytes, list[tuple[str, bytes]], bytes]:
    """Key, headers and value of a Kafka record in binary mode; the event is validated first."""
    structured = event.structured()
    validate(structured)
    data = structured.pop("data")
    content_type = structured.pop("datacontenttype")
    headers = [(f"ce_{name}", str(text).encode()) for name, text in structured.items()]
    return event.partitionkey.encode(), [*headers, ("content-type", content_type.encode())], orjson.dumps(data)
