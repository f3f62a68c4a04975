"""bf16 beside W8A8 and W4A16 of the same checkpoint: size, memory, speed, and how far the answers agree, in one run.

The checkpoint has the released layout, random weights and 95 million parameters in its matrices, so that these and not the engine take most of the
time. The three servers live side by side and are asked in turn, so that a busy machine is busy for all. Only the chat route is used, and of it only
what the server lets through.

Agreement on random weights is meant as the worst case: where nothing was learned the likeliest tokens lie close together, and whatever moves a weight
turns some of them over. What quantization costs a trained model this benchmark cannot tell.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from schemas.codes import LABELS
from schemas.errors import PartUnavailable, PermanentFailure
from schemas.inference import VolumeItem
from schemas.volume import Volume, encode_volume
from services.bench import rounds
from services.bench.model_server import ModelServer, memory_mib, runtime, serving
from services.clients.model import VllmModel
from services.parts.environment import cache_folder, processor_has
from services.store import FolderObjectStore
from workflows.reading.check import read_answer
from workflows.reading.prompt import build_request

BITS = {"int8": "8", "int4": "4"}
WITHOUT_INT4 = "4 bit was left out: this processor has no AVX-512, which vLLM needs for it on a CPU."
ROUNDS = 7
PREFILL_WORDS, DECODED_TOKENS = 1200, 48
PROMPTS, PROMPT_WORDS, ANSWER_TOKENS, TOP = 12, 40, 16, 20
STUDIES, SLICES, FINDINGS = 6, 4, 2
SECONDS = 300.0
SEED = 6
WORST_CASE = (
    "The weights are random, and made so that the layers decide the answer: agreement is meant as the worst case. How low it is depends on how they "
    "were made, and it says nothing about a trained model's accuracy."
)

Speeds = dict[str, dict[str, list[float]]]
"""Tokens a second, by kind, measure and round."""


@dataclass(frozen=True)
class Spoken:
    """A greedy answer: its tokens, and the logarithms of probabilities of the likeliest first tokens."""

    tokens: tuple[int, ...]
    first: Mapping[str, float]


class Reader:
    """One server, asked as the worker asks it."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.store = FolderObjectStore(server.media)
        self._http = httpx.Client(base_url=server.url, timeout=SECONDS, trust_env=False)
        self._name = orjson.loads(server.release_file.read_bytes())["served_model_name"]

    def close(self) -> None:
        self._http.close()

    def complete(self, prompt: str, tokens: int, **more: Any) -> tuple[dict[str, Any], float]:
        """The body of a greedy answer of exactly so many tokens, and its seconds."""
        request = {
            "model": self._name,
            "messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}],
            "temperature": 0,
            "max_tokens": tokens,
            "min_tokens": tokens,
            "ignore_eos": True,
        }
        begun = time.perf_counter()
        answer = self._http.post("/v1/chat/completions", json=request | more)
        seconds = time.perf_counter() - begun
        if answer.status_code != 200:
            raise PartUnavailable("bench-model", f"the model server answered {answer.status_code}: look at its log.")
        return orjson.loads(answer.content), seconds

    def prefill(self, prompt: str) -> float:
        """Tokens a second of a prompt that no cache knows."""
        body, seconds = self.complete(prompt, 1)
        return float(body["usage"]["prompt_tokens"]) / seconds

    def decode(self, prompt: str) -> float:
        """Tokens a second after the first."""
        _, first = self.complete(prompt, 1)
        _, whole = self.complete(prompt, 1 + DECODED_TOKENS)
        return DECODED_TOKENS / max(whole - first, 1e-6)

    def speak(self, prompt: str) -> Spoken:
        body, _ = self.complete(prompt, ANSWER_TOKENS, logprobs=True, top_logprobs=TOP, return_token_ids=True)
        choice = body["choices"][0]
        likeliest = choice["logprobs"]["content"][0]["top_logprobs"]
        return Spoken(tuple(choice["token_ids"]), {str(each["bytes"]): float(each["logprob"]) for each in likeliest})

    def findings(self, seed: int) -> dict[str, tuple[str, ...]]:
        """Presence, likelihood and side of each finding of a study of noise; none if the answer breaks the schema or is cut off."""
        voxels = np.random.default_rng(seed).integers(-1024, 1500, (SLICES, 64, 64)).astype(np.int16)
        digest = self.store.put(encode_volume(Volume(voxels, (5.0, 1.0, 1.0), "HU", "CT")))
        labels = [(label.code, label.text) for label in LABELS[:FINDINGS]]
        item = VolumeItem(digest=digest, slices=SLICES, role="current", heading="STUDY 1")
        request = build_request("CT", labels, [item], "routine")
        model = VllmModel(self.server.url, self.server.release_file, self.store.path)
        try:
            answered = read_answer(model.ask(request), request)
        except PermanentFailure:
            return {}
        finally:
            model.close()
        return {code: (f.presence, f.likelihood, f.side) for code, f in answered.findings.items()}


@cache
def run() -> dict[str, Any]:
    """`ratios` (`int8_to_bf16_decode` and so on, and shares of agreement), `rounds` (least and most of a speed's ratios), `table` of absolute values,
    `agreement`, `worse`, `notes`. Measured once in a process: the runtime's benchmark takes the ratios in."""
    with tempfile.TemporaryDirectory(prefix="longview-bench-") as name, ExitStack() as running:
        checkpoints, seconds = _checkpoints(Path(name))
        readers = {}
        for kind, checkpoint in checkpoints.items():
            server = running.enter_context(serving(checkpoint, Path(name) / f"server-{kind}"))
            readers[kind] = Reader(server)
            running.callback(readers[kind].close)
        agreement, speeds = _agreement(readers), _speeds(readers)
        space = {kind: _space(readers[kind].server) for kind in readers}
    return told(space, speeds, agreement) | {"quantize_seconds": seconds}


def served_here() -> list[str]:
    """Kinds of BITS: vLLM's CPU build serves 4 bit with AVX-512 alone (`model_runtime.promises.require_kernels`)."""
    return [kind for kind in BITS if kind != "int4" or processor_has("avx512f")]


def _checkpoints(folder: Path) -> tuple[dict[str, Path], dict[str, float]]:
    """bf16 from the cache, the others made of it now; and how long that took, with the start of a process."""
    built = {"bf16": runtime("build", "--size", "bench", "--cache", str(cache_folder()))}
    seconds = {}
    for kind in served_here():
        begun = time.perf_counter()
        out = str(folder / kind)
        built[kind] = runtime("quantize", "--checkpoint", str(built["bf16"]), "--bits", BITS[kind], "--out", out)
        seconds[kind] = round(time.perf_counter() - begun, 1)
    return built, seconds


def _speeds(readers: Mapping[str, Reader]) -> Speeds:
    """Of rounds in which each is asked once, with words of the round's own, in an order that turns; after one round that does not count."""
    measured: Speeds = {kind: {"prefill": [], "decode": []} for kind in readers}
    kinds = list(readers)
    for number in range(rounds(ROUNDS) + 1):
        for kind in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
            prefill = readers[kind].prefill(words(number, PREFILL_WORDS))
            decode = readers[kind].decode(words(number, PROMPT_WORDS))
            if number:
                measured[kind]["prefill"].append(prefill)
                measured[kind]["decode"].append(decode)
    return measured


def _space(server: ModelServer) -> dict[str, float]:
    weights = sum(path.stat().st_size for path in server.checkpoint.glob("*.safetensors"))
    memory = memory_mib(server.process)
    return {
        "size_mib": round(weights / 1024**2, 1),
        "memory_mib": memory["own"],
        "resident_mib": memory["resident"],
    }


def _agreement(readers: Mapping[str, Reader]) -> dict[str, dict[str, float]]:
    """Each with bf16's answers; `bf16` with its own, given once more: what noise there is without any rounding."""
    prompts = [words(1000 + number, PROMPT_WORDS) for number in range(rounds(PROMPTS))]
    spoken = {kind: [reader.speak(prompt) for prompt in prompts] for kind, reader in readers.items()}
    studies = range(rounds(STUDIES))
    found = {kind: [reader.findings(seed) for seed in studies] for kind, reader in readers.items()}
    again = spoken | {"bf16": [readers["bf16"].speak(prompt) for prompt in prompts]}
    refound = found | {"bf16": [readers["bf16"].findings(seed) for seed in studies]}
    return {
        kind: compared(spoken["bf16"], again[kind]) | {"equal_findings": equal_findings(found["bf16"], refound[kind])}
        for kind in readers
    }


def words(seed: int, count: int) -> str:
    """A text that begins with what no other seed's does."""
    vocabulary = [word for label in LABELS for word in label.text.lower().split()]
    chosen = np.random.default_rng([SEED, seed]).choice(vocabulary, count)
    return f"{seed} " + " ".join(chosen)


def compared(reference: Sequence[Spoken], others: Sequence[Spoken]) -> dict[str, float]:
    """Means over prompts: tokens equal until the first that differs, as a share of all; equal first tokens; and by how much the logarithm of the
    probability of the reference's first token differs (at least, where the other does not list it)."""
    pairs = list(zip(reference, others, strict=True))
    return {
        "equal_tokens": _mean(equal_beginning(a.tokens, b.tokens) / len(a.tokens) for a, b in pairs),
        "equal_first_token": _mean(float(a.tokens[:1] == b.tokens[:1]) for a, b in pairs),
        "first_token_logprob_difference": _mean(difference(a.first, b.first) for a, b in pairs),
    }


def equal_beginning(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def difference(reference: Mapping[str, float], other: Mapping[str, float]) -> float:
    token = max(reference, key=lambda each: reference[each])
    return abs(reference[token] - other.get(token, min(other.values())))


def equal_findings(
    reference: Iterable[Mapping[str, tuple[str, ...]]], others: Iterable[Mapping[str, tuple[str, ...]]]
) -> float:
    """The share of findings with one presence, likelihood and side; an answer that could not be read agrees with none."""
    pairs = [(a, b) for a, b in zip(reference, others, strict=True)]
    return _mean(
        float(label.code in a and a[label.code] == b.get(label.code)) for a, b in pairs for label in LABELS[:FINDINGS]
    )


def _mean(values: Iterable[float]) -> float:
    return round(statistics.fmean(values), 3)


def told(space: dict[str, dict[str, float]], speeds: Speeds, agreement: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The result: ratios to bf16, what is worse than it, and the notes that belong to the numbers. A speed's ratio is the median of its rounds'."""
    ratios, spread = {}, {}
    kinds = [kind for kind in BITS if kind in space]
    for kind in kinds:
        for measure in ("size", "memory"):
            ratios[f"{kind}_to_bf16_{measure}"] = space[kind][f"{measure}_mib"] / space["bf16"][f"{measure}_mib"]
        for measure in ("decode", "prefill"):
            each = [a / b for a, b in zip(speeds[kind][measure], speeds["bf16"][measure], strict=True)]
            ratios[f"{kind}_to_bf16_{measure}"] = statistics.median(each)
            spread[f"{kind}_to_bf16_{measure}"] = [round(min(each), 3), round(max(each), 3)]
    ratios = {key: round(ratio, 3) for key, ratio in ratios.items()}
    worse = [
        _sentence(key, ratio, spread) for key, ratio in ratios.items() if (ratio < 1 if key in spread else ratio > 1)
    ]
    medians = {
        kind: {f"{measure}_tokens_a_second": round(statistics.median(each), 1) for measure, each in measured.items()}
        for kind, measured in speeds.items()
    }
    notes = [
        *([] if "int4" in kinds else [WITHOUT_INT4]),
        f"{WORST_CASE} Asked: {rounds(PROMPTS)} prompts, {rounds(STUDIES) * FINDINGS} findings.",
        f"Slower or larger than bf16: {'; '.join(worse) or 'nothing'}.",
    ]
    return {
        "ratios": ratios | {f"{kind}_{name}": agreement[kind][name] for kind in kinds for name in SHARES},
        "rounds": spread,
        "table": {kind: space[kind] | medians[kind] for kind in space},
        "agreement": agreement,
        "worse": worse,
        "notes": notes,
    }


def _sentence(key: str, ratio: float, rounds: Mapping[str, Sequence[float]]) -> str:
    return f"{key} {ratio}" + (" (rounds {} to {})".format(*rounds[key]) if key in rounds else "")


SHARES = ("equal_tokens", "equal_first_token", "equal_findings")
