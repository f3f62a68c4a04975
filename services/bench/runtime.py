"""The model runtime, in ratios of one run on one server with the untrained checkpoint.

What an item costs as one part and as PNG parts; what priors cost that were seen before; what a STAT study waits for on a full server; what windows
cost in numpy and on the model's device. The checkpoint is small, so that everything that is not the model weighs more than beside one of 4 billion
parameters: for caches and urgency this is the hard case. CT is 85 x 512 x 512, studies that must be new are new in every round, kinds are
interleaved, and medians are compared.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import PartUnavailable
from schemas.volume import MAX_MODEL_SLICES, model_slices
from services.bench import rounds
from services.bench.model_server import COMMAND_SECONDS, ModelServer, runtime, serving
from services.bench.studies import Part, Reader, Studies, phantom
from services.parts.environment import cache_folder, model_environment
from services.settings import Settings
from services.store import FolderObjectStore

ROUNDS = 7
DEPTHS = (10, 85, 170, 300, 600)
PRIORS = (0, 1, 2, 3, 4, 5, 6)
GOAL_PRIORS = 3
STAT, ROUTINE = 0, 20
STAT_TOKENS, ROUTINE_TOKENS = 150, 600
READERS = 10
"""Who ask without a pause, on a server that computes four requests together."""
SATURATED_SECONDS = 2.0
QUANTIZATION = "services.bench.quantization"


def run() -> dict[str, Any]:
    """`ratios` with the keys of the goals; `seconds`, `growth` and `counters` say where they come from."""
    checkpoint = runtime("build", "--cache", str(cache_folder()))
    with tempfile.TemporaryDirectory(prefix="longview-bench-") as name, serving(checkpoint, Path(name) / "s") as server:
        told = measured(server)
    windows = _windows()
    ratios = told["ratios"] | {"numpy_to_device": round(windows["numpy"] / windows["device"], 2)} | _quantization()
    return {**told, "ratios": ratios, "seconds": told["seconds"] | {"windows": windows}}


def measured(server: ModelServer) -> dict[str, Any]:
    studies = Studies(FolderObjectStore(server.media), phantom(max(DEPTHS)))
    with closing(Reader(server)) as reader:
        reader.seconds([studies.volume(MAX_MODEL_SLICES)])
        images, priors, depths = _images(reader, studies), _priors(reader, studies), _depths(reader, studies)
        stat = _stat(server, reader, studies)
    alone = priors["cached"][0]
    return {
        "ratios": {
            "images_to_volume_first": round(images["images_first"] / images["volume_first"], 2),
            "images_to_volume_repeat": round(images["images_repeat"] / images["volume_repeat"], 2),
            "cached_priors_to_none": round(priors["cached"][GOAL_PRIORS] / alone, 2),
            "new_priors_to_none": round(priors["new"][GOAL_PRIORS] / alone, 2),
            "stat_to_idle": round(stat["stat"] / stat["idle"], 2),
            "stat_to_fifo": round(stat["stat"] / stat["fifo"], 2),
        },
        "growth": {
            "slices": {str(d): round(s / depths[MAX_MODEL_SLICES], 2) for d, s in depths.items()},
            "slices_shown": {str(d): len(model_slices(d)) for d in DEPTHS},
            "cached_priors": {str(n): round(s / alone, 2) for n, s in priors["cached"].items()},
            "new_priors": {str(n): round(s / alone, 2) for n, s in priors["new"].items()},
        },
        "counters": priors["counters"],
        "seconds": {name: round(value, 3) for name, value in (images | stat | {"study_alone": alone}).items()},
    }


def _images(reader: Reader, studies: Studies) -> dict[str, float]:
    """A study that was never seen, and the same request again; as one part and as PNG files with labels, both read from the media folder."""
    seconds: dict[str, list[float]] = {f"{kind}_{when}": [] for kind in ("volume", "images") for when in WHEN}
    for _ in range(rounds(ROUNDS)):
        volume, images = studies.both()
        for when in WHEN:
            seconds[f"volume_{when}"].append(reader.seconds([volume]))
        for when in WHEN:
            seconds[f"images_{when}"].append(reader.seconds([images]))
    return {name: statistics.median(times) for name, times in seconds.items()}


WHEN = ("first", "repeat")


def _priors(reader: Reader, studies: Studies) -> dict[str, Any]:
    """A new study after n priors: after those that were read before, each after the ones before it, and after n that are new as well."""
    seen: list[Part] = []
    for _ in range(max(PRIORS)):
        seen.append(studies.volume(MAX_MODEL_SLICES))
        reader.seconds(seen)
    cached: dict[int, list[float]] = {n: [] for n in PRIORS}
    counters: dict[str, dict[str, float]] = {}
    for _ in range(rounds(ROUNDS)):
        for n in PRIORS:
            request = [*seen[:n], studies.volume(MAX_MODEL_SLICES)]
            before = reader.counters()
            cached[n].append(reader.seconds(request))
            counters[f"{n} cached"] = _since(before, reader.counters())
    new: dict[int, float] = {0: statistics.median(cached[0])}
    for n in PRIORS[1:]:
        request = [studies.volume(MAX_MODEL_SLICES) for _ in range(n + 1)]
        before = reader.counters()
        new[n] = reader.seconds(request)
        counters[f"{n} new"] = _since(before, reader.counters())
    return {"cached": {n: statistics.median(s) for n, s in cached.items()}, "new": new, "counters": counters}


def _since(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after}


def _depths(reader: Reader, studies: Studies) -> dict[int, float]:
    seconds: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    for _ in range(rounds(ROUNDS)):
        for depth in DEPTHS:
            seconds[depth].append(reader.seconds([studies.volume(depth)]))
    return {depth: statistics.median(times) for depth, times in seconds.items()}


def _stat(server: ModelServer, reader: Reader, studies: Studies) -> dict[str, float]:
    """A new study: alone on the server, on a full server as STAT, and on a full server among its equals, which is first come, first served."""
    others = [studies.volume(MAX_MODEL_SLICES) for _ in range(READERS)]
    seconds: dict[str, list[float]] = {"idle": [], "stat": [], "fifo": []}

    def ask(name: str, priority: int) -> None:
        study = studies.volume(MAX_MODEL_SLICES)
        seconds[name].append(reader.seconds([study], tokens=STAT_TOKENS, priority=priority))

    for _ in range(PHASES):
        for _ in range(rounds(ROUNDS) // PHASES + 1):
            ask("idle", STAT)
        with _full(server, others):
            for _ in range(rounds(ROUNDS) // PHASES + 1):
                ask("stat", STAT)
            ask("fifo", ROUTINE)
    return {name: statistics.median(times) for name, times in seconds.items()}


PHASES = 3
"""Idle and full by turns."""


@contextmanager
def _full(server: ModelServer, studies: Sequence[Part]) -> Iterator[None]:
    """More readers than places, each with a study of its own and a long answer, one request after the other."""
    over = threading.Event()
    failures: list[Exception] = []

    def read(study: Part) -> None:
        try:
            with closing(Reader(server)) as reader:
                while not over.is_set():
                    reader.seconds([study], tokens=ROUTINE_TOKENS, priority=ROUTINE)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(study,)) for study in studies]
    for thread in threads:
        thread.start()
    time.sleep(SATURATED_SECONDS)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if failures:
        raise PartUnavailable(
            "bench-full", "a reader failed while the server was full: look at its log."
        ) from failures[0]


def _windows() -> dict[str, float]:
    """Seconds of 85 x 512 x 512 voxels in three windows, by numpy and on the model's device; the runtime measures itself."""
    command = [sys.executable, "-P", "-m", "model_runtime", "windows"]
    environment = model_environment(Settings()) | {"OMP_WAIT_POLICY": "PASSIVE"}  # as the server has it
    done = subprocess.run(command, capture_output=True, timeout=COMMAND_SECONDS, env=environment, check=False)
    if done.returncode != 0:
        raise PartUnavailable("bench-runtime", "the model runtime could not measure its windows: try it by hand.")
    seconds: dict[str, float] = orjson.loads(done.stdout.splitlines()[-1])
    return seconds


def _quantization() -> dict[str, float]:
    """The ratios of 8 and 4 bit to 16, by their own benchmark, where it is there."""
    if find_spec(QUANTIZATION) is None:
        return {}
    ratios: dict[str, float] = import_module(QUANTIZATION).run()["ratios"]
    return ratios
