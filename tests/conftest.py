"""What every tier shares."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from tests.progress import Progress

hypothesis.settings.register_profile("longview", deadline=None)  # a busy machine is no defect
hypothesis.settings.load_profile("longview")

TEST_DATA = Path(os.environ.get("LONGVIEW_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

FOREIGN_WARNINGS = (
    r"ignore:(read|open)_text is deprecated:DeprecationWarning",
)  # kafka-python on Python 3.11 and 3.12
"""Warnings that libraries make on import and that nothing here can mend; every other warning is an error."""


def pytest_configure(config: pytest.Config) -> None:
    for line in FOREIGN_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """After the terminal's reporter is there; a worker of xdist shows nothing by itself."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        progress = Progress(reporter)
        session.config.pluginmanager.register(progress, "longview-progress")
        progress.start()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real CT, MR and synthetic patients, which are never committed."""
    if not TEST_DATA.is_dir():
        pytest.skip("no test data: set LONGVIEW_TEST_DATA to a folder with ct/, mr/ and fhir/synthea")
    return TEST_DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What has no group of its own stays with its file, where tests share fixtures (`--dist loadgroup`)."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
