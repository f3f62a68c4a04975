"""Logging in at the hospital's issuer, reviewing and logging out, in headless Chromium. Screenshots are kept in pytest's folder, for eyes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.axe import problems
from tests.inbox_house import House, open_house
from tests.integration.test_inbox_login import Clock, logins_at
from tests.openid_provider import AUDITOR, PORTER, Provider, running_provider

pytestmark = pytest.mark.browser


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def house(tmp_path: Path, provider: Provider) -> Iterator[House]:
    with open_house(tmp_path, logins_at(provider, Clock())) as house:
        yield house


@pytest.fixture
def screen(chromium: Browser) -> Iterator[Page]:
    """A page of its own browser profile that must not complain of a script or of the content policy."""
    context = chromium.new_context(viewport={"width": 1360, "height": 850})
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    broken = problems(page)
    context.close()
    assert not broken, broken
    assert not [c for c in complaints if "status of 40" not in c], complaints


def test_a_radiologist_logs_in_reviews_and_logs_out(
    house: House, provider: Provider, screen: Page, tmp_path: Path
) -> None:
    told = house.add()
    screen.goto(f"{house.url}/results/{told.result_id}")
    expect(screen.get_by_role("heading", name="Lindqvist, Maren")).to_be_visible()
    expect(screen.locator(".visitor .who")).to_have_text("Dr. Ines Halloran")
    expect(screen.get_by_label("Your name")).to_have_count(0)
    expect(screen.locator("#live-text")).to_have_text("Live")
    screen.screenshot(path=tmp_path / "logged-in.png")
    screen.get_by_role("button", name="Accept").click()
    expect(screen.locator(".done")).to_contain_text("Accepted by Dr. Ines Halloran")
    screen.get_by_role("button", name="Log out").click()
    expect(screen.get_by_role("heading", name="Logged out of the hospital")).to_be_visible()
    assert screen.url.startswith(f"{provider.issuer}/logout?")
    assert provider.ended[0]["post_logout_redirect_uri"] == f"{house.url}/"
    assert provider.ended[0]["id_token_hint"].count(".") == 2
    cookies = {cookie["name"] for cookie in screen.context.cookies(house.url)}
    assert "longview_session" not in cookies


def test_a_list_that_stays_open_is_refreshed_within_the_session(house: House, screen: Page) -> None:
    screen.goto(house.url)
    expect(screen.locator("#live-text")).to_have_text("Live")
    house.add("first", "study-1")
    expect(screen.locator(".result")).to_have_count(1)


def test_who_has_no_right_is_told_so(house: House, provider: Provider, screen: Page, tmp_path: Path) -> None:
    house.add()
    provider.person = dict(PORTER)
    screen.goto(house.url)
    expect(screen.get_by_role("heading", name=re.compile("not in a group"))).to_be_visible()
    screen.screenshot(path=tmp_path / "no-right.png")
    screen.get_by_role("button", name="Log out").click()
    expect(screen.get_by_role("heading", name="Logged out of the hospital")).to_be_visible()


def test_an_auditor_reads_the_trail(house: House, provider: Provider, screen: Page, tmp_path: Path) -> None:
    told = house.add()
    provider.person = dict(AUDITOR)
    screen.goto(f"{house.url}/audit?result={told.result_id}")
    expect(screen.get_by_role("row", name=re.compile("result posted"))).to_have_count(1)
    screen.get_by_role("link", name="Audit trail").click()
    expect(screen.get_by_role("row", name=re.compile("login.*Ada Okonjo"))).to_have_count(1)
    screen.screenshot(path=tmp_path / "audit.png", full_page=True)
