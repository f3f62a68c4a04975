"""vLLM with our plugin and the untrained checkpoint, and the scripted model of the fault tests, both asked as the worker asks them."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from schemas.errors import PermanentFailure, TransientFailure
from schemas.inference import ModelAnswer, ModelRequest, VolumeItem
from schemas.pictures import MAX_PICTURES, Pictures, encode_pictures
from schemas.telemetry import traces
from schemas.telemetry.otlp import ENGINE_FIELDS, PREFIX
from schemas.telemetry.traces import TraceContext
from schemas.volume import MAX_MODEL_SLICES, Volume, encode_volume
from services.clients.model import VllmModel
from services.parts.process import members
from tests.collector import Collector, Seen
from tests.integration.model_server import BEARER, TOKEN, Server, running, scripted
from tests.integration.system import until
from workflows.reading.check import read_answer
from workflows.reading.prompt import build_request

pytestmark = pytest.mark.integration
LABELS = [("pulmonary-nodule", "Pulmonary nodule"), ("pleural-effusion", "Pleural effusion")]


@pytest.fixture(scope="module")
def scripted_server(tmp_path_factory: pytest.TempPathFactory, model_traces: Collector) -> Iterator[Server]:
    traced = {**os.environ, "LONGVIEW_MODEL_SERVER_TRACES_URL": model_traces.url}
    with running(scripted, tmp_path_factory.mktemp("model"), traced) as started:
        yield started


@pytest.fixture(scope="module", params=["vllm_server", "scripted_server"], ids=["vllm", "scripted"])
def server(request: pytest.FixtureRequest) -> Server:
    """With traces on: that they are off is what the servers of whole systems have."""
    started: Server = request.getfixturevalue(request.param)
    return started


@pytest.fixture
def model(server: Server) -> Iterator[VllmModel]:
    opened = server.model()
    yield opened
    opened.close()


def volume(server: Server, slices: int, seed: int, side: int = 64, role: Any = "current") -> VolumeItem:
    voxels = np.random.default_rng(seed).integers(-1024, 1500, (slices, side, side)).astype(np.int16)
    digest = server.store.put(encode_volume(Volume(voxels, (5.0, 1.0, 1.0), "HU", "CT")))
    return VolumeItem(digest=digest, slices=slices, role=role)


def pictures(server: Server, count: int, seed: int, side: int = 96, samples: int = 1) -> VolumeItem:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, side, side, samples), np.uint8)
    digest = server.store.put(encode_pictures(Pictures(pixels, "DX")))
    return VolumeItem(digest=digest, slices=count, role="current")


def question(*volumes: VolumeItem) -> ModelRequest:
    return build_request("CT", LABELS, list(volumes), "routine")


def sound(answer: ModelAnswer, request: ModelRequest) -> None:
    """It ended by itself and is the JSON that was asked for; `read_answer` checks both."""
    assert set(read_answer(answer, request).findings) == {code for code, _ in LABELS}


@pytest.mark.parametrize("slices", [1, 7, MAX_MODEL_SLICES])
def test_a_volume_of_any_depth_is_one_item(server: Server, model: VllmModel, slices: int) -> None:
    request = question(volume(server, slices, 1, side=512 if slices == MAX_MODEL_SLICES else 96))
    answer = model.ask(request)
    sound(answer, request)
    assert answer.prompt_tokens > 4 * slices


@pytest.mark.parametrize("count", [1, 9, MAX_PICTURES])
def test_pictures_are_one_item_too(server: Server, model: VllmModel, count: int) -> None:
    """A radiograph; pages of a document; the patches of a slide at their real size (300 MB)."""
    side, samples = (896, 3) if count == MAX_PICTURES else (120, 1)
    request = question(pictures(server, count, 40, side, samples))
    answer = model.ask(request)
    sound(answer, request)
    assert answer.prompt_tokens > 4 * count


def test_a_radiograph_and_a_volume_are_read_in_one_request(server: Server, model: VllmModel) -> None:
    radiograph, ct = pictures(server, 1, 41).model_copy(update={"role": "prior"}), volume(server, 5, 42)
    alone, beside = question(ct), question(radiograph, ct)
    one, two = model.ask(alone), model.ask(beside)
    sound(one, alone)
    sound(two, beside)
    assert two.prompt_tokens >= one.prompt_tokens + 4


def test_the_current_study_is_read_beside_its_prior(server: Server, model: VllmModel) -> None:
    alone, beside = question(volume(server, 9, 2)), question(volume(server, 5, 3, role="prior"), volume(server, 9, 2))
    one, two = model.ask(alone), model.ask(beside)
    sound(one, alone)
    sound(two, beside)
    assert two.prompt_tokens > one.prompt_tokens + 5 * 4
    assert {f.change for f in read_answer(one, alone).findings.values()} == {"not-compared"}


def test_every_answer_ends_and_fits_the_schema_whatever_is_seen(server: Server, model: VllmModel) -> None:
    """A model of random weights is the hardest test of the constraint: nothing it wants to say is JSON."""
    for seed in range(20):
        request = question(volume(server, 1 + seed % 11, 100 + seed, side=48 + seed))
        sound(model.ask(request), request)


def test_the_same_question_has_the_same_answer(server: Server, model: VllmModel) -> None:
    request = question(volume(server, 6, 4))
    assert model.ask(request).text == model.ask(request).text


def test_what_is_seen_reaches_the_answer(server: Server) -> None:
    """The likelihood of the answer's tokens changes with the voxels: the volume is not just carried along."""
    seen = {first_logprob(server, volume(server, 4, seed)) for seed in range(5, 9)}
    assert len(seen) == 4


def first_logprob(server: Server, item: VolumeItem) -> float:
    body = chat(server, server.store.path(item.digest).as_uri(), item.digest) | {"logprobs": True, "max_tokens": 1}
    answer = post(server, body).raise_for_status()
    return float(answer.json()["choices"][0]["logprobs"]["content"][0]["logprob"])


def post(server: Server, body: dict[str, Any], token: dict[str, str] = BEARER) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=token, timeout=60, trust_env=False)


def get(server: Server, path: str, token: dict[str, str] | None = None) -> int:
    return httpx.get(f"{server.url}{path}", headers=token, timeout=60, trust_env=False, verify=False).status_code


def chat(server: Server, url: str, uuid: str | None = None) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "video_url", "video_url": {"url": url}} | ({"uuid": uuid} if uuid else {})
    name = server.model().release().served_model_name
    return {
        "model": name,
        "messages": [{"role": "user", "content": [part, {"type": "text", "text": "Judge."}]}],
        "max_tokens": 2,
        "temperature": 0,
    }


def status(server: Server, body: dict[str, Any]) -> int:
    return post(server, body).status_code


def test_another_volumes_identity_is_refused(server: Server) -> None:
    """Otherwise a cache would answer from another patient's pixels."""
    mine, other = volume(server, 3, 20), volume(server, 3, 21)
    url = server.store.path(mine.digest).as_uri()
    assert status(server, chat(server, url, other.digest)) == 400
    assert status(server, chat(server, url, mine.digest)) == 200


def test_only_files_of_the_store_and_nothing_of_the_network_is_read(server: Server, tmp_path: Path) -> None:
    item = volume(server, 2, 22)
    elsewhere = tmp_path / "volume"
    elsewhere.write_bytes(server.store.get(item.digest))
    gone = server.store.path("f" * 64).as_uri()
    for url in (elsewhere.as_uri(), gone, f"http://127.0.0.1:{server.port}/health", "data:,nonsense"):
        assert status(server, chat(server, url)) == 400, url.partition(":")[0]


def test_a_broken_or_too_large_container_is_refused(server: Server) -> None:
    good = server.store.get(volume(server, 2, 23).digest)
    deep = volume(server, MAX_MODEL_SLICES + 1, 24, side=16)
    picture = server.store.get(pictures(server, 1, 28).digest)
    many = server.store.get(pictures(server, MAX_PICTURES + 1, 29, side=2).digest)
    broken = (
        good[:-1],
        good[:40],
        b"LVVOL2" + good[6:],
        b"",
        picture[:-1],
        picture[:8] + good[8:],
        good[:8] + picture[8:],
    )
    for data in (*broken, many, server.store.get(deep.digest)):
        url = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
        assert status(server, chat(server, url)) == 400


def test_a_caller_without_the_workers_token_is_not_answered(server: Server) -> None:
    item = volume(server, 2, 28)
    body = chat(server, server.store.path(item.digest).as_uri(), item.digest)
    for token in ({}, {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Authorization": TOKEN}):
        assert post(server, body, token).status_code == 401
        assert get(server, "/v1/models", token) == 401
    assert post(server, body).status_code == 200
    stranger = VllmModel(server.url, server.release, server.store.path, token="x" * 43)
    with pytest.raises(TransientFailure) as refused:
        stranger.ask(question(item))
    assert refused.value.code == "model-token"
    stranger.close()


def test_probes_need_no_token_and_no_other_way_leads_in(server: Server) -> None:
    assert [get(server, path) for path in ("/health", "/ready")] == [200, 200]
    for path in ("/invocations", "/inference/v1/generate", "/pooling", "/tokenize", "/v1/completions", "/v1/responses"):
        answer = httpx.post(f"{server.url}{path}", json={}, headers=BEARER, timeout=60, trust_env=False)
        assert answer.status_code == 404


def test_a_server_that_serves_another_model_is_not_believed(server: Server, tmp_path: Path) -> None:
    other = server.model().release().model_copy(update={"served_model_name": "other"})
    (tmp_path / "release.json").write_text(other.model_dump_json())
    model = VllmModel(server.url, tmp_path / "release.json", server.store.path, token=TOKEN)
    with pytest.raises(PermanentFailure) as refused:
        model.ask(question(volume(server, 2, 25)))
    assert refused.value.code == "model-release-mismatch"
    model.close()


def test_the_log_holds_neither_prompts_nor_addresses_of_volumes(server: Server, model: VllmModel) -> None:
    item = volume(server, 2, 26)
    model.ask(question(item))
    log = server.log.read_text()
    for secret in (TOKEN, item.digest, str(server.log.parent / "store"), "Pulmonary nodule", "presence"):
        assert secret not in log


def test_the_spans_of_server_and_engine_go_on_with_the_callers_trace(
    server: Server, model: VllmModel, model_traces: Collector
) -> None:
    """vLLM's own span is below ours, with its numbers; what it says of paths and of the request's id stays here."""
    caller, request = TraceContext("5" * 32, os.urandom(8).hex()), question(volume(server, 5, seed=90))
    with traces.within(caller):
        sound(model.ask(request), request)
    engine = not (server.log.parent / "release.json").exists()  # the scripted model's release lies beside its log

    def complete() -> list[Seen] | None:
        found = [span for span in model_traces.spans if span.parent == caller.span_id]
        below = [span for span in model_traces.spans if found and span.parent == found[0].id]
        return [*found, *below] if found and (below or not engine) else None

    answer, *computed = until(complete, "the spans")
    assert (answer.name, answer.trace) == ("answer", caller.trace_id)
    assert answer.attributes == {PREFIX + "operation": "chat"}
    assert [(span.name, span.service) for span in computed] == [("llm_request", "longview-model-server")][:engine]
    for span in computed:
        assert answer.start <= span.start <= span.end <= answer.end + 10**9
        assert span.attributes["gen_ai.usage.prompt_tokens"] > 0
        assert all(ENGINE_FIELDS.fullmatch(name) for name in span.attributes)
    assert {span.name for span in model_traces.spans} <= {"answer", "llm_request"}
    assert request.instruction[:40].encode() not in b"".join(model_traces.bodies)


def test_a_killed_server_comes_back_on_its_port(scripted_server: Server) -> None:
    """Last, because it takes the server away for a while; vLLM itself is killed in test_journey_vllm."""
    server, request = scripted_server, question(volume(scripted_server, 2, 27))
    os.kill(server.process.pid, signal.SIGKILL)
    until(lambda: not list(members(server.process)) or None, "its end")
    with closing(server.model()) as model:
        with pytest.raises(TransientFailure):
            model.ask(request)
        server.process = server.start()
        sound(model.ask(request), request)
