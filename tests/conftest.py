"""What every tier shares."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.groups import GroupScheduling, group_of, longest_first
from tests.progress import Progress
from tests.shared_services import end_group

hypothesis.settings.register_profile("longview", deadline=None)  # a busy machine is no defect
hypothesis.settings.register_profile("check", hypothesis.settings.get_profile("longview"), max_examples=20)
hypothesis.settings.load_profile(os.environ.get("LONGVIEW_TEST_EXAMPLES", "longview"))

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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = longest_first(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test leaves logging as it has found it: importing vLLM, for one, raises the root's level, and what later tests look for is not logged."""
    level = logging.root.level
    try:
        return (yield)
    finally:
        logging.root.setLevel(level)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is None or group_of(nextitem.nodeid) != group_of(item.nodeid):
        end_group()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    """`--dist loadgroup`, by our own table of groups and in its order."""
    if config.getvalue("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return GroupScheduling(config, log)
