"""vLLM behind our front, without a network: whose scan answers, hostile requests (300, or 2,000 with `make test-fuzz`), and how it ends."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from schemas.volume import Volume
from tests.integration.model_fuzz.cases import case
from tests.integration.model_fuzz.grounds import CANARY, ask, container, data_url, lay_out, part, png
from tests.integration.model_server import BEARER, LONG, TOKEN, Server, by_process, ends_well

pytestmark = pytest.mark.integration
CASES = int(os.environ.get("LONGVIEW_TEST_FUZZ") or 300)
SEED = int(os.environ.get("LONGVIEW_TEST_FUZZ_SEED") or 6)
ROUND = 100
"""After so many cases a sound question is asked."""


@pytest.fixture(scope="module")
def server(vllm_server: Server) -> Server:
    """Every request that leaves the machine would end at a port where nobody listens (`model_server.offline`)."""
    return vllm_server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers=BEARER, trust_env=False, timeout=120) as opened:
        yield opened


@pytest.fixture
def model(server: Server) -> str:
    return server.model().release().served_model_name


def chat(client: httpx.Client, body: Any) -> httpx.Response:
    return client.post("/v1/chat/completions", json=body)


# -- whose scan answers ------------------------------------------------------------------------------------------------


def scan(seed: int) -> bytes:
    voxels = np.random.default_rng(seed).integers(-1000, 1500, (3, 40, 40)).astype(np.int16)
    return container(Volume(voxels, (1, 1, 1), "HU", "CT"))


def radiograph(seed: int) -> bytes:
    return png(56, 56, seed=seed)


@pytest.mark.parametrize(("kind", "make"), [("video_url", scan), ("image_url", radiograph)])
def test_one_scans_name_never_brings_the_answer_of_another(
    client: httpx.Client, model: str, kind: str, make: Callable[[int], bytes]
) -> None:
    """Stock vLLM answers the third question from the first one's cache."""
    mine, other = make(1), make(2)
    digest, others = (hashlib.sha256(data).hexdigest() for data in (mine, other))

    def seen(data: bytes, uuid: str | None) -> float:
        body = ask(model, part(kind, data_url(data), uuid), max_tokens=1, logprobs=True)
        answer = chat(client, body)
        assert answer.status_code == 200, answer.text
        return float(answer.json()["choices"][0]["logprobs"]["content"][0]["logprob"])

    first = seen(mine, digest)
    refused = chat(client, ask(model, part(kind, data_url(other), digest)))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "uuid")
    assert chat(client, ask(model, {"type": kind, "uuid": digest})).status_code == 400
    assert seen(other, others) != first
    assert (seen(mine, None), seen(mine, digest)) == (first, first)


def test_metrics_are_for_everybody_because_they_say_nothing_of_anybody(client: httpx.Client, model: str) -> None:
    data = scan(3)
    digest = hashlib.sha256(data).hexdigest()
    said = {"type": "text", "text": "Haemoptysis since Tuesday"}
    assert chat(client, ask(model, said, part("video_url", data_url(data), digest), priority=-7)).status_code == 200
    metrics = httpx.get(client.base_url.join("/metrics"), trust_env=False)
    assert metrics.status_code == 200
    assert "vllm:num_requests_waiting" in metrics.text
    for secret in (digest, "Haemoptysis", TOKEN):
        assert secret not in metrics.text


# -- hostile requests --------------------------------------------------------------------------------------------------


@contextmanager
def opened_in(folder: Path) -> Iterator[list[bytes]]:
    """Every opening of a file in `folder`, by whatever process, as the kernel tells of it (inotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    opened, accessed = 0x20, 0x1
    assert libc.inotify_add_watch(handle, os.fsencode(folder), opened | accessed) >= 0, os.strerror(ctypes.get_errno())
    events: list[bytes] = []
    try:
        yield events
        with suppress(BlockingIOError):
            events.append(os.read(handle, 4096))
    finally:
        os.close(handle)


def test_the_witness_of_what_is_opened_sees(tmp_path: Path) -> None:
    (tmp_path / "canary").write_bytes(CANARY)
    with opened_in(tmp_path) as events:
        pass
    assert events == []
    with opened_in(tmp_path) as events:
        (tmp_path / "canary").read_bytes()
    assert events


def test_hostile_requests_are_answered_and_nothing_outside_is_read(
    server: Server, client: httpx.Client, model: str, tmp_path: Path
) -> None:
    """No crash, no 5xx, nothing opened outside the media folder, the engine alive after each. A case is sent again by its seed and number."""
    outside = tmp_path / "outside"
    grounds = lay_out(model, server.store.path("0" * 64).parents[2], outside)
    bad: list[str] = []
    before = server.log.stat().st_size
    statuses: dict[int, int] = {}
    with opened_in(outside) as events:
        for number in range(CASES):
            sent = case(grounds, SEED, number)
            answer = client.post("/v1/chat/completions", content=sent.body)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            if answer.status_code >= 500 or (sent.refused and answer.status_code < 400):
                bad.append(f"{sent.name}: {answer.status_code}")
            if CANARY[:12].decode() in answer.text or str(outside) in answer.text:
                bad.append(f"{sent.name}: repeats what it was sent")
            assert client.get("/health").status_code == 200, f"{sent.name}: the engine is gone"
            if number % ROUND == ROUND - 1:
                sound(client, model)
    print(f"seed {SEED}, {CASES} cases: {dict(sorted(statuses.items()))}")
    assert not bad, f"seed {SEED}: " + "; ".join(bad[:20])
    assert not events, "something outside the media folder was opened"
    sound(client, model)
    log = server.log.read_bytes()[before:].decode(errors="replace")
    for secret in (TOKEN, str(outside), "Traceback"):
        assert secret not in log


def sound(client: httpx.Client, model: str) -> None:
    answer = chat(client, ask(model, part("video_url", data_url(scan(9)))))
    assert answer.status_code == 200, answer.text


# -- how it ends -------------------------------------------------------------------------------------------------------


def test_a_server_that_is_told_to_end_gives_the_answer_it_owes(
    server: Server, client: httpx.Client, model: str
) -> None:
    """Last, because it takes the server away; how the launcher ends one is in test_model_families."""
    ends_well(client, server.process, by_process, ask(model, max_tokens=LONG, min_tokens=LONG, ignore_eos=True))
