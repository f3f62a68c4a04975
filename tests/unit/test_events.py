"""What the gateway accepts from the bus, and what it says about the rest."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidEvent
from schemas.events import (
    MAX_VALUE_BYTES,
    RESULT_AVAILABLE,
    STUDY_AVAILABLE,
    TYPE_PREFIX,
    CloudEvent,
    _quick,
    _validator,
    binary_form,
    dataschema,
    parse_event,
    validate,
)

BASE = "https://ai.example.org/fhir"
UID = "1.2.826.0.1.3680043.8.498.1001"
KEY = "71789d26-4b4b-5b98-b75d-e765c73199d6"
SOURCE = {"kind": "dicomweb", "messageId": "m-1"}


def study_event(**data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "b5adf433-e5fd-5714-8b57-09492de60034",
        "source": "urn:example:hospital:archive",
        "type": STUDY_AVAILABLE,
        "subject": f"study/{KEY}",
        "time": "2026-11-23T09:20:32Z",
        "datacontenttype": "application/json",
        "dataschema": dataschema(BASE, STUDY_AVAILABLE),
        "partitionkey": KEY,
        "tenant": "hospital",
        "data": {
            "studyInstanceUid": UID,
            "patient": "Patient/pat-1",
            "completeness": "quiescent",
            "instanceCount": 3,
            "inventoryDigest": "ni:///sha-256;" + "A" * 43,
            "source": {"kind": "dicomweb", "messageId": "m-1"},
            **data,
        },
    }


def structured(event: dict[str, Any]) -> tuple[list[tuple[str, bytes]], bytes]:
    return [("content-type", b"application/cloudevents+json")], orjson.dumps(event)


def test_an_event_survives_the_bus_in_binary_mode() -> None:
    event = CloudEvent.model_validate(study_event())
    key, headers, value = binary_form(event)
    assert key == KEY.encode()
    assert dict(headers)["ce_type"] == STUDY_AVAILABLE.encode()
    assert b"specversion" not in value
    assert parse_event(headers, value) == event


def raised_event(**raised: Any) -> dict[str, Any]:
    """A routine order with a probable pneumothorax, as the bus tells it."""
    told = {"orderPriority": "routine", "finding": "pneumothorax", "likelihood": "probable", "criticalList": "x@v1"}
    data = {
        "resultId": KEY,
        "threadId": KEY,
        "diagnosticReport": "DiagnosticReport/1/_history/1",
        "reviewTask": "Task/1",
        "patient": "Patient/pat-1",
        "studyInstanceUid": UID,
        "release": "phantom-1-abc",
        "status": "partial",
        "priority": "stat",
        "raised": told | raised,
    }
    return study_event() | {"type": RESULT_AVAILABLE, "dataschema": dataschema(BASE, RESULT_AVAILABLE), "data": data}


def test_why_a_result_was_raised_is_told_in_codes() -> None:
    assert parse_event(*structured(raised_event())).data["raised"]["finding"] == "pneumothorax"


@pytest.mark.parametrize(
    "stray",
    [
        {"text": "large, left"},
        {"finding": "Pneumothorax of Ann Doe"},
        {"likelihood": "improbable"},
        {"orderPriority": "soon"},
        {"criticalList": "the list of Dr. Doe"},
    ],
    ids=lambda stray: next(iter(stray)),
)
def test_free_text_about_a_raised_result_is_refused(stray: dict[str, str]) -> None:
    with pytest.raises(InvalidEvent):
        validate(raised_event(**stray))


def test_structured_mode_is_read_too() -> None:
    assert parse_event(*structured(study_event())).data["studyInstanceUid"] == UID


def test_a_stray_field_is_an_error_that_does_not_repeat_it() -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse_event(*structured(study_event(patientName="DOE^ANN")))
    assert caught.value.reason == "schema-invalid"
    assert "DOE" not in str(caught.value)
    assert "patientName" not in str(caught.value)


def test_an_event_of_an_unknown_type_is_named_as_such() -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse_event(*structured({**study_event(), "type": "org.example.other"}))
    assert caught.value.reason == "unknown-type"


@pytest.mark.parametrize(
    ("value", "reason", "code"),
    [
        (None, "schema-invalid", "event-empty"),
        (b"not json", "schema-invalid", "event-not-json"),
        (b"[1, 2]", "schema-invalid", "event-not-object"),
        (b"x" * (MAX_VALUE_BYTES + 1), "too-large", "event-too-large"),
    ],
)
def test_what_cannot_be_an_event_is_named(value: bytes | None, reason: str, code: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse_event([], value)
    assert (caught.value.reason, caught.value.code) == (reason, code)


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01T00:00:00Z"])
def test_formats_are_checked_not_only_types(time: str) -> None:
    with pytest.raises(InvalidEvent):
        parse_event(*structured({**study_event(), "time": time}))


@pytest.mark.parametrize("data", [{"patient": "Patient/a\n"}, {"instanceCount": 1e20}, {"studyInstanceUid": "1.2.3\n"}])
def test_a_value_that_only_python_takes_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        parse_event(*structured(study_event(**data)))


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", 'application/json;charset="UTF-8"', "application/json"]
)
def test_a_charset_and_headers_of_others_are_no_reason_to_refuse_an_event(content_type: str) -> None:
    _, headers, value = binary_form(CloudEvent.model_validate(study_event()))
    sent = [(name, raw) for name, raw in headers if name != "content-type"]
    sent += [("content-type", content_type.encode()), ("x-trace-bin", b"\x80\x01\xff")]
    assert parse_event(sent, value) == CloudEvent.model_validate(study_event())


def test_another_charset_is_refused() -> None:
    _, headers, value = binary_form(CloudEvent.model_validate(study_event()))
    sent = [(name, b"application/json; charset=latin-1" if name == "content-type" else raw) for name, raw in headers]
    with pytest.raises(InvalidEvent):
        parse_event(sent, value)


def test_an_invalid_event_is_never_sent() -> None:
    with pytest.raises(InvalidEvent):
        binary_form(CloudEvent.model_validate(study_event(instanceCount=-1)))


@given(
    st.binary(max_size=200),
    st.lists(st.tuples(st.sampled_from(["ce_specversion", "ce_type", "content-type", "x"]), st.binary(max_size=20))),
)
def test_no_record_can_crash_the_consumer(value: bytes, headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(InvalidEvent):
        parse_event(headers, value)


# -- the quick way to the same verdict ---------------------------------------------------------------------------------------

EXAMPLES = [
    study_event(),
    study_event(accession={"system": "urn:x", "value": "A1"}, modalities=["CT"], seriesCount=2),
    *(
        study_event() | {"type": TYPE_PREFIX + kind, "data": data}
        for kind, data in {
            "observation.available.v1": {
                "observation": "Observation/o",
                "patient": "Patient/p",
                "status": "final",
                "source": SOURCE,
            },
            "order.changed.v1": {
                "serviceRequest": "ServiceRequest/s",
                "patient": "Patient/p",
                "change": "cancelled",
                "priority": "stat",
                "source": SOURCE,
            },
            "patient.merged.v1": {"survivor": "Patient/p", "retired": "Patient/q", "source": SOURCE},
        }.items()
    ),
]
STRANGE = st.sampled_from(
    [None, True, 0, -1, 1.0, 1.5, "", "x", "A" * 300, [], ["CT"], [1], {}, {"kind": "poll"}, "2026-11-23"]
)


@given(st.sampled_from(EXAMPLES), st.data())
def test_the_quick_check_never_accepts_what_the_schema_refuses(example: dict[str, Any], data: st.DataObject) -> None:
    """Whatever is changed, taken away or added, at the top or inside `data`."""
    event = copy.deepcopy(example)
    place = data.draw(st.sampled_from([event, event["data"], event["data"].get("source", event)]))
    match data.draw(st.sampled_from(["change", "remove", "add", "nothing"])):
        case "change":
            place[data.draw(st.sampled_from(sorted(place)))] = data.draw(STRANGE)
        case "remove":
            del place[data.draw(st.sampled_from(sorted(place)))]
        case "add":
            place[data.draw(st.sampled_from(["stray", "studyInstanceUid", "sequence", "traceparent"]))] = data.draw(
                STRANGE
            )
    if _quick().is_valid(event):
        assert _validator().is_valid(event)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda event: event["type"].removeprefix(TYPE_PREFIX))
def test_the_quick_check_accepts_what_hospitals_send(example: dict[str, Any]) -> None:
    assert _validator().is_valid(example)
    assert _quick().is_valid(example)


def test_an_identifier_of_a_class_of_its_own_is_a_string_all_the_same() -> None:
    """pydicom's UID is a `str` with more to it."""
    validate(study_event(studyInstanceUid=pydicom.uid.UID(UID)))
