"""The front before vLLM: who is let in, by which routes, with what, and what becomes of the answers. vLLM is a few lines here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_runtime.admission import NotAdmitted, admit, control_pattern
from model_runtime.answer_rules import problem
from model_runtime.front import CHAT, ROUTES, Front
from model_runtime.request_rules import FIELDS, PARTS
from schemas.inference import answer_schema, history_schema
from schemas.telemetry import traces
from schemas.telemetry.logs import line
from schemas.telemetry.traces import FinishedSpan

TOKEN = "w" * 43
BEARER = {"Authorization": f"Bearer {TOKEN}"}
MODEL = "untrained-0"
CONTROL = control_pattern(["<start_of_image>", "<end_of_turn>", "<unused10>"])
DIGEST = "a" * 64
SECRET = "Doe^Jane 1931"


def question(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    content = [*parts, {"type": "text", "text": "Judge."}]
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


def volume(url: str = "data:application/octet-stream;base64,AAAA", **more: Any) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}, **more}


class Engine:
    """vLLM's app as far as it matters: it remembers what reached it and answers what it is told to."""

    def __init__(self) -> None:
        self.reached: list[tuple[str, bytes]] = []
        self.headers: dict[bytes, bytes] = {}
        self.status, self.answer = 200, b'{"choices": []}'
        self.asked = asyncio.Event()
        self.hold: asyncio.Event | None = None
        self.failure: Exception | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        self.reached.append((scope["path"], message.get("body", b"")))
        self.headers = dict(scope["headers"])
        self.asked.set()
        if self.hold is not None and scope["path"] == CHAT:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.answer})


@asynccontextmanager
async def house(token: str = TOKEN, max_body: int = 4096) -> AsyncIterator[tuple[Front, Engine, httpx.AsyncClient]]:
    engine = Engine()
    front = Front(engine, token, model=MODEL, control=CONTROL, max_body=max_body)
    transport = httpx.ASGITransport(app=front)
    async with httpx.AsyncClient(transport=transport, base_url="http://model") as client:
        yield front, engine, client


# -- who, and by which way ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"X-Api-Key": TOKEN},
        {"Authorization": "Bearer \xff\xfe".encode("latin-1").decode("latin-1")},
    ],
)
async def test_a_stranger_learns_nothing_and_reaches_nothing(headers: dict[str, str]) -> None:
    async with house() as (_, engine, client):
        raw = {name: value.encode("latin-1") for name, value in headers.items()}
        for method, path in [("POST", CHAT), ("GET", "/v1/models"), ("POST", "/invocations"), ("GET", "/docs")]:
            answer = await client.request(method, path, headers=raw, content=orjson.dumps(question()))
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert engine.reached == []


async def test_two_tokens_are_none() -> None:
    async with house() as (_, engine, client):
        headers = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")]
        assert (await client.post(CHAT, headers=headers, json=question())).status_code == 401
        assert engine.reached == []


async def test_probes_and_scrapers_need_no_token() -> None:
    async with house() as (front, engine, client):
        assert (await client.get("/ready")).status_code == 503
        front.warm = True
        assert [(await client.get(path)).status_code for path in ("/health", "/metrics", "/ready")] == [200] * 3
        assert [path for path, _ in engine.reached] == ["/health", "/metrics"]


async def test_the_worker_reaches_the_engine_by_the_named_routes_alone() -> None:
    closed = ["/invocations", "/inference/v1/generate", "/pooling", "/tokenize", "/v1/completions", "/v1/responses"]
    closed += ["/v1/chat/completions/", "//v1/chat/completions", "/v1/chat/completions/batch", "/V1/models", "/"]
    async with house() as (_, engine, client):
        for path in closed:
            for method in ("POST", "GET"):
                assert (await client.request(method, path, headers=BEARER, json=question())).status_code == 404
        for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD"):
            assert (await client.request(method, CHAT, headers=BEARER)).status_code == 404
        assert engine.reached == []
        assert (await client.post(CHAT, headers=BEARER, json=question())).status_code == 200
        assert (await client.get("/v1/models", headers=BEARER)).status_code == 200
    assert [access for access in ROUTES.values() if access == "token"]


async def test_a_websocket_is_closed() -> None:
    async with house() as (front, engine, _):
        sent: list[Any] = []

        async def keep(message: Any) -> None:
            sent.append(message)

        await front({"type": "websocket", "path": "/v1/realtime", "headers": []}, lambda: asyncio.sleep(0), keep)
        assert (sent[0]["type"], engine.reached) == ("websocket.close", [])


# -- with what ---------------------------------------------------------------------------------------------------------


async def test_a_body_above_the_limit_is_not_even_held() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1024

    async with house() as (_, engine, client):
        assert (await client.post(CHAT, headers=BEARER, content=b"x" * 5000)).status_code == 413
        assert (await client.post(CHAT, headers=BEARER, content=endless())).status_code == 413
        assert (await client.post(CHAT, headers=BEARER | {"content-length": "many"})).status_code == 413
        assert engine.reached == []


async def test_what_reaches_the_engine_was_written_by_the_front() -> None:
    """A key that stands twice is read as one of them by us and, perhaps, as the other by vLLM."""
    doubled = orjson.dumps(question())[:-1] + b', "priority": -9, "priority": 5}'
    async with house() as (_, engine, client):
        assert (await client.post(CHAT, headers=BEARER, content=doubled)).status_code == 200
        assert json.loads(engine.reached[0][1])["priority"] == 5
        assert engine.reached[0][1].count(b"priority") == 1


REFUSED: list[tuple[dict[str, Any], str]] = [
    (question(volume(uuid="A" * 64)), "uuid"),
    (question(volume(uuid="../../etc")), "uuid"),
    (question(volume(uuid=7)), "uuid"),
    (question({"type": "video_url", "uuid": DIGEST}), "video_url"),
    (question({"type": "video_url", "video_url": None, "uuid": DIGEST}), "video_url"),
    (question({"type": "text", "text": "", "image_url": {"url": "data:,"}, "uuid": DIGEST}), "messages"),
    (question({"type": "text", "text": "x", "uuid": DIGEST}), "messages"),
    (question(volume(image_url={"url": "data:,"})), "video_url"),
    (question({"image_url": "data:,"}), "messages"),
    (question({"type": ["video_url"]}), "messages"),
    (question(volume("https://archive/scan")), "url"),
    (question(volume("ftp://archive/scan")), "url"),
    (question(volume("/etc/passwd")), "url"),
    (question({"type": "text", "text": "see <start_of_image> here"}), "messages"),
    (question() | {"messages": [{"role": "tool", "content": "x"}]}, "messages"),
    (question() | {"messages": [{"role": "user", "content": "x", "reasoning": "y"}]}, "messages"),
    (question() | {"messages": []}, "messages"),
    (question() | {"messages": {"role": "user"}}, "messages"),
    (question() | {"messages": [{"role": "user", "content": []}]}, "messages"),
    (question(response_format={"type": "structural_tag"}), "response_format"),
    (question(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": 1}}), "response_format"),
    (question(unheard_of=1), "body"),
    (question(top_k=2**62), "top_k"),
    (question(max_tokens=True), "max_tokens"),
    (question(max_tokens=1.5), "max_tokens"),
    (question(temperature="hot"), "temperature"),
    (question(priority=2**40), "priority"),
    (question(ignore_eos=1), "ignore_eos"),
    (question(stop=[""]), "stop"),
    (question(stop="x"), "stop"),
    (question(stop_token_ids=[-1]), "stop_token_ids"),
]


@pytest.mark.parametrize(("body", "param"), REFUSED)
async def test_what_could_deceive_a_cache_or_the_reader_is_refused(body: dict[str, Any], param: str) -> None:
    async with house() as (_, engine, client):
        answer = await client.post(CHAT, headers=BEARER, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert engine.reached == []


@pytest.mark.parametrize("name", [name for name, rule in FIELDS.items() if rule.verdict == "refused"])
async def test_a_field_that_the_table_refuses_is_refused_with_its_reason(name: str) -> None:
    async with house() as (_, engine, client):
        error = (await client.post(CHAT, headers=BEARER, json=question(**{name: SECRET}))).json()["error"]
        assert (error["param"], error["message"]) == (name, f"{name} is not accepted: {FIELDS[name].reason}.")
        assert engine.reached == []


@pytest.mark.parametrize("kind", [kind for kind, rule in PARTS.items() if rule.verdict == "refused"])
def test_a_kind_of_content_that_the_table_refuses_is_refused(kind: str) -> None:
    with pytest.raises(NotAdmitted, match="not accepted"):
        admit(orjson.dumps(question({"type": kind, kind: "x", "uuid": DIGEST})), MODEL, CONTROL)


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"NaN", b'{"a": NaN}', b'{"a": "\\ud800"}', b"\xff", b"[" * 5000])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(NotAdmitted):
        admit(body, MODEL, CONTROL)


def test_a_schema_of_any_depth_is_measured_and_not_walked_into() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(NotAdmitted, match="too deep"):
        admit(orjson.dumps(question(response_format=wanted)), MODEL, CONTROL)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*FIELDS, *PARTS, "type", "role", "content", "url", "uuid", "json_schema"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(extra=st.dictionaries(st.sampled_from(list(FIELDS)), JSON, max_size=3), part=JSON)
def test_a_request_is_admitted_as_it_is_or_refused_in_words_of_ours(extra: dict[str, Any], part: Any) -> None:
    content = [part, {"type": "text", "text": SECRET}]
    asked = {"model": MODEL, "messages": [{"role": "user", "content": content}], **extra}
    try:
        admitted = admit(orjson.dumps(asked), MODEL, CONTROL)
    except NotAdmitted as error:
        reason = error
    else:
        assert orjson.loads(admitted) == orjson.loads(orjson.dumps(asked))
        return
    assert SECRET not in reason.sentence
    assert reason.param in {*FIELDS, *PARTS, "body", "url", "uuid"}


# -- what becomes of the answers ---------------------------------------------------------------------------------------


def words(message: str, param: str | None) -> bytes:
    return orjson.dumps({"error": {"message": message, "param": param, "code": 400}})


@pytest.mark.parametrize(
    ("status", "answer", "param"),
    [
        (400, words(f"input was {SECRET}", "body.max_tokens"), "max_tokens"),
        (400, words(f"input was {SECRET}", f"body.messages.0.{SECRET}"), "messages"),
        (400, words(SECRET, SECRET), None),
        (422, words(SECRET, None), None),
        (500, b"Traceback: " + SECRET.encode(), None),
        (404, orjson.dumps([SECRET]), None),
    ],
)
async def test_an_error_repeats_nothing_of_the_request(status: int, answer: bytes, param: str | None) -> None:
    async with house() as (_, engine, client):
        engine.status, engine.answer = status, answer
        given = await client.post(CHAT, headers=BEARER, json=question())
        assert given.status_code == status
        assert SECRET not in given.text
        assert given.json()["error"]["param"] == param


async def test_a_failure_of_the_engines_app_is_an_answer_and_its_text_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with house() as (front, engine, client):
        engine.failure = RuntimeError(SECRET)
        assert (await client.post(CHAT, headers=BEARER, json=question())).status_code == 500
        [said] = [line(record) for record in caplog.records if record.name == "longview.model_server"]
        assert (said["event"], said["error"]) == ("engine-failed", "RuntimeError")
        assert SECRET not in str(said)
        assert SECRET not in caplog.text
        await asyncio.wait_for(front.idle(), 1)


@pytest.mark.parametrize("recorded", [False, True])
async def test_the_engine_is_told_the_trace_and_no_other_words_of_the_caller(recorded: bool) -> None:
    """vLLM keeps a request's id, and would put it into its span; `traceparent` is ours where we record, else the caller's, and never a broken one."""
    spans: list[FinishedSpan] = []
    traces.record_to(spans.append if recorded else None)
    caller = f"00-{'a' * 32}-{'b' * 16}-01"
    words = {"x-request-id": SECRET, "tracestate": f"v={SECRET}", "baggage": SECRET, "x-data-parallel-rank": "1"}
    try:
        async with house() as (_, engine, client):
            await client.post(CHAT, headers={**BEARER, **words, "traceparent": caller}, json=question())
            given = engine.headers[b"traceparent"].decode()
            assert given == (str(spans[0].context) if recorded else caller)
            assert given[3:35] == "a" * 32
            assert SECRET.encode() not in b"".join(engine.headers.values())
            assert b"x-data-parallel-rank" not in engine.headers
            await client.post(CHAT, headers={**BEARER, "traceparent": SECRET}, json=question())
            assert SECRET.encode() not in engine.headers.get(b"traceparent", b"")
    finally:
        traces.record_to(None)


async def test_a_drain_gives_what_is_owed_and_takes_nothing_new() -> None:
    async with house() as (front, engine, client):
        front.warm, engine.hold = True, asyncio.Event()
        owed = asyncio.create_task(client.post(CHAT, headers=BEARER, json=question()))
        await engine.asked.wait()
        front.drain()
        late = await client.post(CHAT, headers=BEARER, json=question())
        assert (late.status_code, late.headers["retry-after"]) == (503, "5")
        assert [(await client.get(path)).status_code for path in ("/ready", "/health")] == [503, 200]
        idle = asyncio.create_task(front.idle())
        await asyncio.sleep(0)
        assert not idle.done()
        engine.hold.set()
        assert (await owed).status_code == 200
        await asyncio.wait_for(idle, 1)


async def test_nothing_owed_is_idle_at_once() -> None:
    async with house() as (front, _, _client):
        await asyncio.wait_for(front.idle(), 1)


async def test_on_loopback_a_server_without_a_token_asks_for_none() -> None:
    async with house(token="") as (_, engine, client):
        assert (await client.post(CHAT, json=question())).status_code == 200
        assert (await client.post("/invocations", json=question())).status_code == 404
        assert len(engine.reached) == 1


# -- the schema of an answer -------------------------------------------------------------------------------------------


def test_every_schema_of_the_workers_may_be_asked() -> None:
    labels = [f"finding-{n}" for n in range(60)]
    for schema in (
        answer_schema(labels, [85, 20, 125], compared=True),
        answer_schema(labels, [1], compared=False),
        history_schema(labels, [f"E{n}" for n in range(400)]),
    ):
        assert problem(schema) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "object", "properties": {"$ref": {"$ref": "#"}}},
        {"type": "array", "minItems": 10**9, "items": {}},
        {"type": "array", "minItems": True, "items": {}},
        {"type": "string", "pattern": "a" * 2000},
        {"type": "integer", "minimum": 10**300},
        {"type": "integer", "minimum": float("nan")},
        {"type": "nonsense"},
        {"anyOf": []},
        {"anyOf": [1]},
        {"enum": []},
        {"properties": []},
        {"required": [1]},
        {"not": {}},
        {"if": {}},
        7,
        None,
    ],
)
def test_a_schema_that_could_lead_nowhere_is_refused(schema: Any) -> None:
    assert problem(schema)


@given(JSON)
def test_any_value_is_judged_and_none_breaks_the_judge(value: Any) -> None:
    assert problem(value) is None or SECRET not in str(problem(value))
