"""One control plane for the whole tier: it takes some seconds to start and nothing of it is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from schemas.errors import PartUnavailable
from scripts.cluster.plane import control_plane, tools
from tests.helm.tools import PROFILES

if TYPE_CHECKING:
    from tests.helm.cluster import Cluster, Release


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/helm/" in item.path.as_posix():
            item.add_marker(pytest.mark.helm)


@pytest.fixture(scope="session", autouse=True)
def _built() -> None:
    """Every test here needs at least helm."""
    try:
        tools()
    except PartUnavailable as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of our own, beside one that `make cluster` may have started."""
    from tests.helm.cluster import Cluster

    plane = control_plane(tmp_path_factory.mktemp("cluster") / "state")
    plane.up()
    try:
        yield Cluster(plane.settings.state)
    finally:
        plane.down()


@pytest.fixture(scope="session", params=PROFILES)
def installed(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Release]:
    """The chart as it stands, installed for each profile in turn."""
    from tests.helm.cluster import Release

    with Release.place(cluster, request.param, f"longview-{request.param}") as release:
        release.install()
        release.scale_as_keda_would()
        yield release
