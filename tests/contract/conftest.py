"""FHIR servers for the contract suites: the embedded one, and HAPI on the real tier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.parts.launcher import Launcher
from services.settings import Settings
from tests.real import parts


@pytest.fixture(scope="module", params=["sekmet", pytest.param("hapi", marks=pytest.mark.real)])
def fhir_base_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one server for the tests of a module."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "hapi":
        with parts.hapi(folder) as url:
            yield url
        return
    launcher = Launcher(Settings(state_dir=str(folder)))
    launcher.up(["fhir"])
    yield launcher.settings.fhir_url
    launcher.down()
