"""One Chromium for the whole tier: Playwright can be started once in a thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.real import parts


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = parts.chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
