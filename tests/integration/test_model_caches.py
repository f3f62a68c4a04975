"""A server that remembers: what a patient's priors cost the second time, counted by the server itself; and who is answered first when it is full."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from schemas.volume import MAX_MODEL_SLICES, Volume, encode_volume
from tests.integration.model_server import BEARER, Server

pytestmark = pytest.mark.integration
LONG = 1000
"""Tokens of an answer that takes some seconds beside three others."""
COUNTERS = {
    "encoded": 'longview_encoder_items_total{result="encoded"}',
    "kept": 'longview_encoder_items_total{result="cached"}',
    "images": "longview_encoder_images_total",
    "read": 'longview_media_files_total{result="read"}',
    "known": 'longview_media_files_total{result="known"}',
    "hits": "vllm:prefix_cache_hits_total",
    "running": "vllm:num_requests_running",
    "prompt": "vllm:prefix_cache_queries_total",
}


@pytest.fixture(scope="module")
def server(vllm_server: Server) -> Server:
    return vllm_server


def study(server: Server, seed: int) -> str:
    """The digest of a CT of as many slices as the model takes; small ones, so that many are soon read."""
    voxels = np.random.default_rng(seed).integers(-1024, 1500, (MAX_MODEL_SLICES, 16, 16)).astype(np.int16)
    return server.store.put(encode_volume(Volume(voxels, (1.0, 1.0, 1.0), "HU", "CT")))


def read(server: Server, studies: list[str], tokens: int = 1, priority: int = 20) -> str:
    """The answer, of exactly so many tokens."""
    content: list[dict[str, Any]] = [{"type": "text", "text": "You are reading a study."}]
    for k, digest in enumerate(studies, 1):
        part = {"type": "video_url", "video_url": {"url": server.store.path(digest).as_uri()}, "uuid": digest}
        content += [{"type": "text", "text": f"STUDY {k}"}, part]
    content.append({"type": "text", "text": "What is there?"})
    body = {
        "model": server.model().release().served_model_name,
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": tokens,
        "ignore_eos": True,
        "priority": priority,
    }
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=BEARER, timeout=120, trust_env=False)
    return str(answer.raise_for_status().json()["choices"][0]["message"]["content"])


def counted(server: Server) -> dict[str, float]:
    lines = httpx.get(f"{server.url}/metrics", timeout=10, trust_env=False).text.splitlines()
    values = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {key: sum(float(v) for name, _, v in values if name.startswith(begin)) for key, begin in COUNTERS.items()}


def spent(server: Server, studies: list[str]) -> dict[str, float]:
    before = counted(server)
    read(server, studies)
    return {key: value - before[key] for key, value in counted(server).items()}


def test_three_priors_that_were_read_before_cost_no_run_of_the_encoder(server: Server) -> None:
    """As the days go: each study was the current one once, after those before it."""
    priors = [study(server, seed) for seed in (1, 2, 3)]
    for k in range(1, 4):
        read(server, priors[:k])
    today = spent(server, [*priors, study(server, 4)])
    assert (today["encoded"], today["kept"], today["images"]) == (1, 0, MAX_MODEL_SLICES)
    assert (today["read"], today["known"]) == (1, 3)
    assert today["hits"] > 0.7 * today["prompt"] > 0, "three of four studies stand in front"


def test_a_prior_that_no_cache_of_vllm_holds_is_still_not_encoded_again(server: Server) -> None:
    """Fifty studies later, and after another study, so that no prefix is found: what the encoder made of it is in the machine's memory."""
    old = study(server, 10)
    read(server, [old])
    for seed in range(50):
        read(server, [study(server, 100 + seed)])
    today = spent(server, [study(server, 11), old])
    assert (today["encoded"], today["kept"]) == (1, 1)


def test_a_stat_study_is_answered_while_the_server_is_full(server: Server) -> None:
    """Five routine studies on four places, each with a long answer: the STAT study comes last and is answered first, and the others lose nothing."""
    routine, stat = [study(server, 200 + k) for k in range(5)], study(server, 300)
    with ThreadPoolExecutor(len(routine)) as readers:
        waiting = [readers.submit(read, server, [each], LONG) for each in routine]
        while counted(server)["running"] < 4:
            time.sleep(0.05)
        read(server, [stat], 20, priority=0)
        assert not any(each.done() for each in waiting)
        first, *_, last = [each.result() for each in waiting]
        assert [first, last] == list(readers.map(lambda each: read(server, [each], LONG), [routine[0], routine[-1]]))
