"""One system for all tests of this folder that need the whole of it: it takes half a minute to start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.shared_services import stopped_with_the_run as stopped_with_the_run

if TYPE_CHECKING:
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


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Every part, with the scripted model in the place of vLLM."""
    from services.scripted_model.part import with_scripted_model
    from services.settings import Settings
    from tests.integration.system import System

    started = System(Settings(state_dir=str(tmp_path_factory.mktemp("quick") / "state")), parts=with_scripted_model())
    started.up()
    try:
        yield started
    finally:
        started.down()
