"""The images, their steps replayed once for all tests: LONGVIEW_TEST_IMAGES names other targets than the services', LONGVIEW_TEST_REPLAYED=1 takes
what `make images-replay` has left in the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from scripts.images import catalog, dockerfile
from scripts.images.__main__ import cannot, replay_targets, replayed
from tests.images.containers import Containers, Image

TARGETS = os.environ.get("LONGVIEW_TEST_IMAGES", "services,trial").split(",")
TAKE_KEPT = os.environ.get("LONGVIEW_TEST_REPLAYED", "") == "1"


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Image]]:
    """Every target of TARGETS, as a folder. Two Dockerfiles: two replays."""
    if why := cannot():
        pytest.skip(f"images cannot be replayed here: {why}")
    work = tmp_path_factory.mktemp("images")
    roots: dict[str, Path] = {}
    for name in catalog.DOCKERFILES:
        wanted = [target for target in TARGETS if catalog.TARGETS[target] == name]
        if TAKE_KEPT:
            roots |= {target: replayed(target) for target in wanted}
        elif wanted:
            roots |= {target: done.root for target, done in replay_targets(wanted, work / name).items()}
    configs = {name: dockerfile.configuration(catalog.read(name), name) for name in roots}
    yield {name: Image(root, configs[name], name in catalog.NEED_SHELL) for name, root in roots.items()}
    shutil.rmtree(work)


@pytest.fixture
def services(images: Mapping[str, Image]) -> Image:
    return _asked(images, "services")


@pytest.fixture
def trial(images: Mapping[str, Image]) -> Image:
    return _asked(images, "trial")


@pytest.fixture
def cpu(images: Mapping[str, Image]) -> Image:
    return _asked(images, "cpu")


def _asked(images: Mapping[str, Image], name: str) -> Image:
    if name not in images:
        pytest.skip(f"LONGVIEW_TEST_IMAGES does not name {name}")
    return images[name]


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    """Processes of images that all end with the test."""
    running = Containers(tmp_path)
    try:
        yield running
    finally:
        running.end()
