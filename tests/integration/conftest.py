"""What takes long to start and is shared by all tests of a process: a whole system, one with the scripted model, and one vLLM server.

Files that use one of them are one group (tests.groups), so that all its users are in one process and it is started once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.shared_services import stopped_with_the_run as stopped_with_the_run

if TYPE_CHECKING:
    from tests.collector import Collector
    from tests.integration.model_server import Server
    from tests.integration.system import System


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Every part, up and healthy; nothing is left of it afterwards."""
    from services.settings import Settings
    from tests.integration.system import System

    started = System(Settings(state_dir=str(tmp_path_factory.mktemp("system") / "state")))
    started.up()
    try:
        yield started
    finally:
        started.down()


@pytest.fixture(scope="session")
def quick_traces() -> Iterator[Collector]:
    """Where the quick system sends its traces."""
    from tests.collector import collecting

    with collecting() as listening:
        yield listening


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory, quick_traces: Collector) -> Iterator[System]:
    """Every part, with the scripted model in the place of vLLM, traces on and the log in JSON."""
    from services.scripted_model.part import with_scripted_model
    from services.settings import Settings
    from tests.integration.system import System

    folder = str(tmp_path_factory.mktemp("quick") / "state")
    settings = Settings(state_dir=folder, traces_url=quick_traces.url, log_format="json")
    started = System(settings, parts=with_scripted_model())
    started.up()
    try:
        yield started
    finally:
        started.down()


@pytest.fixture(scope="session")
def model_traces() -> Iterator[Collector]:
    """Where the shared vLLM server sends its traces."""
    from tests.collector import collecting

    with collecting() as listening:
        yield listening


@pytest.fixture(scope="session")
def shared_vllm(tmp_path_factory: pytest.TempPathFactory, model_traces: Collector) -> Iterator[Server]:
    """One vLLM server of the untrained checkpoint, with traces on and no network; take it through `vllm_server`."""
    from tests.integration.model_server import offline, running, vllm

    traced = {"LONGVIEW_MODEL_SERVER_TRACES_URL": model_traces.url}
    with running(vllm, tmp_path_factory.mktemp("vllm"), offline() | traced) as started:
        yield started


@pytest.fixture(scope="module")
def vllm_server(shared_vllm: Server) -> Server:
    """The shared server, started again if a module before this one has ended it. Counters and the log hold what other modules did."""
    shared_vllm.revive()
    return shared_vllm
