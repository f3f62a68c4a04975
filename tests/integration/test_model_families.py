"""LLaVA-Med and BioMedLM, untrained, behind the real vLLM: asked as the worker asks, and refused what they cannot do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from schemas.errors import PermanentFailure
from schemas.inference import ModelRelease, ModelRequest, VolumeItem
from schemas.pictures import Pictures, encode_pictures
from schemas.volume import Volume, encode_volume
from services.clients.model import VllmModel
from services.clients.picture_parts import picture_parts
from services.parts.environment import cache_folder
from services.parts.ports import free_port
from services.parts.process import ProcessId, is_alive, spawn, stop
from services.store import FolderObjectStore
from tests.contract.written_bundles import context, reading
from tests.integration.model_server import LONG, START_SECONDS, by_session, ends_well
from workflows.reading.check import read_answer
from workflows.reading.fits import prompt_tokens
from workflows.reading.history_prompt import fitting_excerpt, history_request
from workflows.reading.prompt import build_request
from workflows.reading.weigh import read_weighed

pytestmark = [
    pytest.mark.long,
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
LABELS = [("pneumothorax", "Pneumothorax"), ("pleural-effusion", "Pleural effusion")]


@dataclass
class Served:
    """One family's server, the folder that it serves, and the client that the worker would use."""

    process: ProcessId
    url: str
    folder: Path
    release: ModelRelease
    store: FolderObjectStore
    model: VllmModel


def serve(family: str, root: Path) -> Served:
    """Started with a cache that may be empty: the checkpoint is built on the way."""
    port, cache, ready = free_port(), cache_folder(), root / "ready"
    store = FolderObjectStore(root / "store")
    command = [sys.executable, "-P", "-m", "model_runtime", "serve", "--family", family, "--cache", str(cache)]
    command += ["--port", str(port), "--media-dir", str(root / "store"), "--ready-file", str(ready)]
    process = spawn(command, dict(os.environ), root, root / "log")
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        assert is_alive(process), (root / "log").read_text()[-3000:]
        assert time.monotonic() < deadline, "the server did not become ready"
        time.sleep(0.1)
    [folder] = sorted(cache.glob(f"untrained-{family}-*"), key=lambda path: path.stat().st_mtime)[-1:]
    url = f"http://127.0.0.1:{port}"
    release = ModelRelease.model_validate_json((folder / "release.json").read_bytes())
    return Served(process, url, folder, release, store, VllmModel(url, folder / "release.json", store.path))


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    started = serve("llava-med-1.5", tmp_path_factory.mktemp("llava"))
    yield started
    started.model.close()
    stop(started.process, 20)


@pytest.fixture(scope="module")
def biomedlm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    started = serve("biomedlm", tmp_path_factory.mktemp("biomedlm"))
    yield started
    started.model.close()
    stop(started.process, 20)


def picture(server: Served, seed: int, count: int = 1, samples: int = 1) -> VolumeItem:
    pixels = np.random.default_rng(seed).integers(0, 255, (count, 72, 90, samples)).astype(np.uint8)
    digest = server.store.put(encode_pictures(Pictures(pixels, "DX")))
    return VolumeItem(digest=digest, slices=count, role="current", kind="picture")


# -- LLaVA-Med ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 3], ids=["grey", "colour"])
def test_a_radiograph_is_asked_about_and_the_answer_is_the_json_that_was_asked_for(llava: Served, samples: int) -> None:
    request = build_request("DX", LABELS, [picture(llava, 1, samples=samples)], "routine")
    answer = llava.model.ask(request)
    assert set(read_answer(answer, request).findings) == {code for code, _ in LABELS}
    assert 16 < answer.prompt_tokens < 1024


def test_what_is_seen_reaches_the_answer(llava: Served) -> None:
    seen = {first_logprob(llava, list(picture_parts(llava.store.path(picture(llava, n).digest)))) for n in range(4)}
    assert len(seen) == 4


def test_a_picture_is_known_by_its_own_bytes_alone(llava: Served) -> None:
    """Otherwise a cache would answer from another patient's radiograph."""
    [mine], [other] = (list(picture_parts(llava.store.path(picture(llava, seed).digest))) for seed in (20, 21))
    assert status(llava, [mine]) == 200
    assert status(llava, [other | {"uuid": mine["uuid"]}]) == 400
    assert status(llava, [{"type": "image_url", "image_url": None, "uuid": mine["uuid"]}]) == 400
    assert status(llava, [other]) == 200


def test_a_volume_a_second_picture_and_a_long_question_are_refused_before_anything_is_sent(llava: Served) -> None:
    voxels = np.zeros((3, 64, 64), np.int16)
    volume = llava.store.put(encode_volume(Volume(voxels, (1.0, 1.0, 1.0), "HU", "CT")))
    item = VolumeItem(digest=volume, slices=3, role="current")
    unreachable = VllmModel("http://127.0.0.1:1", llava.folder / "release.json", llava.store.path)
    many = [(f"finding-{number}", "A finding with a name of some length") for number in range(40)]
    questions = {
        "LLaVA-Med v1.5 takes text and pictures, not volumes": build_request("CT", LABELS, [item], "routine"),
        "at most 1 pictures in 1 stacks": build_request("DX", LABELS, [picture(llava, 2, count=2)], "routine"),
        "ask for fewer findings": build_request("DX", many, [picture(llava, 2)], "routine"),
    }
    for sentence, request in questions.items():
        with pytest.raises(PermanentFailure, match=sentence):
            unreachable.ask(request)
    mislabelled = build_request("CT", LABELS, [item.model_copy(update={"kind": "picture", "slices": 1})], "routine")
    with pytest.raises(PermanentFailure, match="this is a volume"):
        llava.model.ask(mislabelled)
    unreachable.close()


def test_told_to_end_with_all_its_processes_it_gives_the_answer_it_owes(llava: Served) -> None:
    """As the launcher ends it. Last of this family, because it takes the server away."""
    long = chat(llava, []) | {"max_tokens": LONG, "min_tokens": LONG, "ignore_eos": True}
    with httpx.Client(base_url=llava.url, trust_env=False, timeout=120) as client:
        ends_well(client, llava.process, by_session, long)


# -- BioMedLM ----------------------------------------------------------------------------------------------------------


def weighing(server: Served) -> tuple[ModelRequest, list[str]]:
    from schemas.families import family_of

    findings, timeline = reading().findings, context().timeline
    excerpt = fitting_excerpt(family_of(server.release.family), findings, timeline, set())
    assert excerpt.entries
    return history_request(findings, excerpt.entries, 20), [finding.label for finding in findings]


def test_the_history_is_weighed_by_text_alone(biomedlm: Served) -> None:
    request, labels = weighing(biomedlm)
    answer = biomedlm.model.ask(request)
    assert set(read_weighed(answer, labels).findings) == set(labels)


def test_tokens_are_counted_high(biomedlm: Served) -> None:
    from schemas.families import BIOMEDLM

    request, _ = weighing(biomedlm)
    answer = biomedlm.model.ask(request)
    assert answer.prompt_tokens <= prompt_tokens(BIOMEDLM, request)
    assert answer.prompt_tokens + request.max_tokens <= BIOMEDLM.context


def test_the_served_model_is_the_converted_one(biomedlm: Served) -> None:
    """vLLM's likelihoods against transformers' on the same folder, in float32."""
    import torch
    from transformers import AutoTokenizer, GPT2LMHeadModel

    sentence = "A pleural effusion on the left side is definite."
    body = {
        "model": biomedlm.release.served_model_name,
        "messages": [{"role": "user", "content": sentence}],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
    }
    answer = httpx.post(
        f"{biomedlm.url}/v1/chat/completions", json=body, timeout=60, trust_env=False
    ).raise_for_status()
    served = answer.json()["choices"][0]["logprobs"]["content"][0]["logprob"]
    prompt = f"{sentence}\nAnswer:"
    tokenizer = AutoTokenizer.from_pretrained(biomedlm.folder)
    model = GPT2LMHeadModel.from_pretrained(biomedlm.folder).eval()
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode(prompt)])).logits[0, -1]
    assert served == pytest.approx(float(logits.log_softmax(-1).max()), abs=1e-3)


def test_more_than_the_model_holds_is_refused_before_anything_is_sent(biomedlm: Served) -> None:
    request, _ = weighing(biomedlm)
    unreachable = VllmModel("http://127.0.0.1:1", biomedlm.folder / "release.json", biomedlm.store.path)
    with pytest.raises(PermanentFailure, match="1024 tokens of prompt and answer"):
        unreachable.ask(request.model_copy(update={"query": request.query + " creatinine 1.1 mg/dL" * 80}))
    with pytest.raises(PermanentFailure, match="BioMedLM takes text, not pictures"):
        unreachable.ask(build_request("DX", LABELS, [picture(biomedlm, 1)], "routine"))
    unreachable.close()


def test_the_server_itself_refuses_what_does_not_fit(biomedlm: Served) -> None:
    """Should a count ever be too low: vLLM answers 400 and goes on."""
    assert status(biomedlm, [{"type": "text", "text": "nodule " * 2000}]) == 400
    assert status(biomedlm, [{"type": "text", "text": "nodule"}]) == 200


# -- requests by hand --------------------------------------------------------------------------------------------------


def chat(server: Served, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": server.release.served_model_name,
        "messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "Judge."}]}],
        "max_tokens": 1,
        "temperature": 0,
    }


def first_logprob(server: Served, parts: list[dict[str, Any]]) -> float:
    body = chat(server, parts) | {"logprobs": True}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60, trust_env=False).raise_for_status()
    return float(answer.json()["choices"][0]["logprobs"]["content"][0]["logprob"])


def status(server: Served, parts: list[dict[str, Any]]) -> int:
    url = f"{server.url}/v1/chat/completions"
    return httpx.post(url, json=chat(server, parts), timeout=60, trust_env=False).status_code
