"""What the model server remembers: files it has read, what the image encoder made of them, and who goes first when it is full."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from schemas.pictures import Pictures, encode_pictures
from services.store import FolderObjectStore

pytestmark = [
    pytest.mark.skipif(
        find_spec("vllm") is None, reason="vllm is not installed"
    ),  # looked for: collecting imports nothing
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers"),
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
]


def film(grey: int) -> list[bytes | memoryview]:
    return encode_pictures(Pictures(np.full((1, 4, 4, 1), grey, np.uint8), "DX"))


@pytest.fixture
def store(tmp_path: Path) -> FolderObjectStore:
    return FolderObjectStore(tmp_path / "store")


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_prior_of_yesterday_is_known_without_being_read(tmp_path: Path, store: FolderObjectStore) -> None:
    from model_runtime.containers import DecodedItem
    from model_runtime.recall import KnownFiles, RecalledItem

    files, digest = KnownFiles(), store.put(film(1))
    path = store.path(digest)
    first, again = files.load(tmp_path, path), files.load(tmp_path, path)
    assert isinstance(first, DecodedItem)
    assert isinstance(again, RecalledItem)
    assert first.digest == again.digest == again.decoded().digest == digest


def test_a_file_that_was_written_to_is_read_again(tmp_path: Path, store: FolderObjectStore) -> None:
    """Even if its size and its time of modification are put back: the time of change cannot be."""
    from model_runtime.containers import DecodedItem
    from model_runtime.recall import KnownFiles

    files, digest = KnownFiles(), store.put(film(1))
    path = store.path(digest)
    before = path.stat()
    files.load(tmp_path, path)
    path.write_bytes(b"".join(film(2)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    item = files.load(tmp_path, path)
    assert isinstance(item, DecodedItem)
    assert item.digest == hashlib.sha256(path.read_bytes()).hexdigest() != digest


def test_what_is_gone_or_became_another_is_refused(tmp_path: Path, store: FolderObjectStore) -> None:
    from vllm.exceptions import VLLMValidationError

    from model_runtime.recall import KnownFiles

    files, digest = KnownFiles(), store.put(film(1))
    path = store.path(digest)
    files.load(tmp_path, path)
    recalled = files.load(tmp_path, path)
    path.write_bytes(b"".join(film(2)))
    with pytest.raises(VLLMValidationError):
        recalled.decoded()
    path.unlink()
    with pytest.raises(VLLMValidationError):
        recalled.decoded()
    with pytest.raises(FileNotFoundError):
        files.load(tmp_path, path)


def test_only_a_name_that_is_the_content_is_remembered(tmp_path: Path) -> None:
    """A study that lies under another's name, or under any other, is read at each request."""
    from model_runtime.containers import DecodedItem
    from model_runtime.recall import KnownFiles

    files = KnownFiles()
    for name in ("current-study", "f" * 64):
        path = tmp_path / name
        path.write_bytes(b"".join(film(3)))
        for _ in range(2):
            assert isinstance(files.load(tmp_path, path), DecodedItem)


def test_a_known_file_is_still_looked_for_below_the_folder_alone(tmp_path: Path, store: FolderObjectStore) -> None:
    from model_runtime.recall import KnownFiles

    files, digest = KnownFiles(), store.put(film(1))
    files.load(tmp_path, store.path(digest))
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="subpath"):
        files.load(tmp_path / "other", store.path(digest))


def test_the_files_asked_for_longest_ago_are_forgotten(tmp_path: Path, store: FolderObjectStore) -> None:
    from model_runtime.recall import KnownFiles, RecalledItem

    files = KnownFiles(most=2)
    paths = [store.path(store.put(film(grey))) for grey in range(3)]
    for path in (paths[0], paths[1], paths[0], paths[2]):
        files.load(tmp_path, path)
    assert [isinstance(files.load(tmp_path, path), RecalledItem) for path in (paths[0], paths[2], paths[1])] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("size", [0, 1, 4 * 1024**2 - 1, 4 * 1024**2, 9 * 1024**2 + 7])
def test_a_file_is_hashed_as_it_is_read(tmp_path: Path, size: int) -> None:
    from model_runtime.media_files import opened_below, read_digested

    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    (tmp_path / "file").write_bytes(data)
    with opened_below(tmp_path, tmp_path / "file") as file:
        read, digest = read_digested(file)
    assert (bytes(read), digest) == (data, hashlib.sha256(data).hexdigest())


# -- what was encoded --------------------------------------------------------------------------------------------------


def test_what_the_encoder_made_is_kept_within_its_size() -> None:
    import torch

    from model_runtime.encoded import EncodedCache

    cache = EncodedCache(most_bytes=2 * 16)
    tokens = {name: torch.full((2, 4), float(k), dtype=torch.bfloat16) for k, name in enumerate((b"a", b"b", b"c"))}
    cache.put(b"a", tokens[b"a"])
    cache.put(b"b", tokens[b"b"])
    assert _kept(cache, b"a") is not None
    cache.put(b"c", tokens[b"c"])
    assert _kept(cache, b"b") is None, "not asked for longest"
    assert torch.equal(_kept(cache, b"a"), tokens[b"a"])
    assert torch.equal(_kept(cache, b"c"), tokens[b"c"])
    cache.put(b"large", torch.zeros((100, 4), dtype=torch.bfloat16))
    assert _kept(cache, b"large") is None
    assert _kept(cache, b"c") is not None, "what does not fit takes nobody's place"


def _kept(cache: Any, digest: bytes) -> Any:
    import torch

    return cache.get(digest, torch.device("cpu"))


# -- who goes first ----------------------------------------------------------------------------------------------------


def _step(
    monkeypatch: pytest.MonkeyPatch, running: list[int], waiting: list[int], usage: float = 0.5
) -> tuple[list[int], int]:
    """Which of those that run are computed in a step, and how many there may be: four as a rule, eight places in all. Numbers are priorities."""
    from vllm.v1.core.sched.scheduler import Scheduler

    from model_runtime.urgent import UrgentFirst

    scheduler: Any = UrgentFirst.__new__(UrgentFirst)
    scheduler.running = [SimpleNamespace(priority=priority) for priority in running]
    scheduler.waiting = _Queue(sorted(waiting))
    scheduler.max_num_running_reqs, scheduler._usual = 8, 4
    scheduler.kv_cache_manager = SimpleNamespace(usage=usage)
    shown: list[int] = []
    monkeypatch.setattr(Scheduler, "schedule", lambda self, throttle: shown.extend(r.priority for r in self.running))
    scheduler.schedule()
    assert sorted(r.priority for r in scheduler.running) == sorted(running), "nobody is lost"
    return shown, int(scheduler.max_num_active_reqs)


class _Queue(list[Any]):
    def __init__(self, priorities: list[int]) -> None:
        super().__init__(SimpleNamespace(priority=priority) for priority in priorities)

    def peek_request(self) -> Any:
        return self[0]


@pytest.mark.parametrize(
    ("running", "waiting", "shown", "places"),
    [
        ([], [], [], 4),
        ([20, 20, 20, 20], [20, 10], [20, 20, 20, 20], 4),
        ([20, 20, 20, 20], [0, 20], [20, 20, 20, 20], 5),
        ([20, 20, 20, 20], [0, 0, 20], [20, 20, 20, 20], 6),
        ([20, 20, 20, 20, 0], [20], [0], 1),
        ([20, 20, 20, 20, 0], [0, 20], [0], 2),
        ([20, 20, 0], [20, 20], [0], 1),
        ([], [0, 20], [], 1),
        ([20, 20, 20, 20, 0, 0, 0], [0, 0, 20], [0, 0, 0], 4),
    ],
)
def test_a_stat_study_never_waits_for_a_place_and_nothing_is_computed_beside_it(
    monkeypatch: pytest.MonkeyPatch, running: list[int], waiting: list[int], shown: list[int], places: int
) -> None:
    assert _step(monkeypatch, running, waiting) == (shown, places)


def test_memory_can_be_taken_from_those_that_wait_for_a_stat_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the KV cache is nearly full they are shown, so that vLLM can take back what the least urgent holds."""
    assert _step(monkeypatch, [20, 20, 0], [20], usage=0.95) == ([20, 20, 0], 3)
