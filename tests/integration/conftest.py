"""One system for all tests of this folder that need the whole of it: it takes half a minute to start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

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
