"""What takes long to start and is shared by the tests of a group: a whole system, one with the scripted model, and one vLLM server.

Files that use one of them are one group (tests.groups), so that all its users are in one process and it is started once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.shared_services import in_group
from tests.shared_services import stopped_with_the_run as stopped_with_the_run

if TYPE_CHECKING:
    from services.parts.part import Part
    from services.settings import Settings
    from tests.collector import Collector
    from tests.integration.model_server import Server
    from tests.integration.system import System


@contextmanager
def _running(settings: Settings, parts: tuple[Part, ...]) -> Iterator[System]:
    """Every part, up and healthy; nothing is left of it afterwards."""
    from tests.integration.system import System

    started = System(settings, parts=parts)
    started.up()
    try:
        yield started
    finally:
        started.down()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    """Every part, with vLLM."""
    from services.parts.catalog import PARTS
    from services.settings import Settings

    return in_group(
        "system", lambda: _running(Settings(state_dir=str(tmp_path_factory.mktemp("system") / "state")), PARTS)
    )


@pytest.fixture(scope="module")
def quick_traces() -> Collector:
    """Where the quick system sends its traces."""
    from tests.collector import collecting

    return in_group("quick traces", collecting)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, quick_traces: Collector) -> System:
    """Every part, with the scripted model in the place of vLLM, traces on and the log in JSON."""
    from services.scripted_model.part import with_scripted_model
    from services.settings import Settings

    def start() -> AbstractContextManager[System]:
        folder = str(tmp_path_factory.mktemp("quick") / "state")
        return _running(
            Settings(state_dir=folder, traces_url=quick_traces.url, log_format="json"), with_scripted_model()
        )

    return in_group("quick", start)


@pytest.fixture(scope="module")
def model_traces() -> Collector:
    """Where the shared vLLM server sends its traces."""
    from tests.collector import collecting

    return in_group("model traces", collecting)


@pytest.fixture(scope="module")
def vllm_server(tmp_path_factory: pytest.TempPathFactory, model_traces: Collector) -> Server:
    """One vLLM server of the untrained checkpoint, with traces on and no network, started again if a module before this one has ended it.

    Counters and the log hold what other modules did.
    """
    from tests.integration.model_server import offline, running, vllm

    traced = {"LONGVIEW_MODEL_SERVER_TRACES_URL": model_traces.url}
    server = in_group("vllm", lambda: running(vllm, tmp_path_factory.mktemp("vllm"), offline() | traced))
    server.revive()
    return server
