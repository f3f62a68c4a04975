"""The inbox in headless Chromium, as a radiologist uses it. Screenshots are kept in pytest's folder, for eyes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from schemas.report import RaisedPriority
from tests import inbox_samples as samples
from tests.browser.axe import problems
from tests.inbox_house import House
from tests.inbox_house import house as house
from tests.unit.document_samples import encapsulated
from tests.unit.injection.house import Hospital, chart, run
from tests.unit.lab_reports import CHEMISTRY, table_pdf
from tests.unit.test_document_journey import FirstChoice

pytestmark = pytest.mark.browser
EXPECTED = ("status of 400", "status of 409", "ERR_CONNECTION", "ERR_INCOMPLETE_CHUNKED")
"""What Chromium itself says of a form that is refused and of a server that ends."""


@pytest.fixture
def screen(chromium: Browser, house: House) -> Iterator[Page]:
    """A page that must not complain: neither an error of the script nor a breach of the content policy."""
    page = chromium.new_page(viewport={"width": 1360, "height": 850})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    broken = problems(page)
    page.close()
    assert not broken, broken
    assert not [c for c in complaints if not any(expected in c for expected in EXPECTED)], complaints


def test_a_new_result_arrives_without_a_reload(house: House, screen: Page, tmp_path: Path) -> None:
    house.add("first", "study-1", priority="routine")
    screen.goto(house.url)
    expect(screen.locator("#live-text")).to_have_text("Live")
    expect(screen.locator(".result")).to_have_count(1)
    house.add("second", "study-2", priority="stat", patient=samples.patient("Okonjo, Ada", "MR-77"))
    expect(screen.locator(".result")).to_have_count(2)
    expect(screen.locator(".result").first).to_contain_text("Okonjo, Ada")
    expect(screen.locator(".result").first).to_contain_text("STAT")
    expect(screen.locator("#open-count")).to_have_text("2")
    expect(screen.locator("#said")).to_have_text("One new result")
    screen.screenshot(path=tmp_path / "list.png")


def test_keys_move_and_open(house: House, screen: Page) -> None:
    house.add("first", "study-1", priority="stat")
    second = house.add("second", "study-2", priority="routine")
    screen.goto(house.url)
    screen.keyboard.press("j")
    screen.keyboard.press("j")
    screen.keyboard.press("Enter")
    expect(screen).to_have_url(f"{house.url}/results/{second.result_id}")


def test_the_pictures_are_there_and_the_box_lies_over_the_finding(house: House, screen: Page, tmp_path: Path) -> None:
    told = house.add()
    screen.goto(f"{house.url}/results/{told.result_id}")
    pictures = screen.locator(".frame img")
    expect(pictures).to_have_count(2)
    for picture in pictures.all():
        expect(picture).to_have_js_property("complete", value=True)
        assert picture.evaluate("image => image.naturalWidth") > 0
    image, box = screen.locator(".slice").last.locator("img").bounding_box(), screen.locator("rect").bounding_box()
    assert image is not None
    assert box is not None
    scale = image["width"] / 512
    assert box["x"] - image["x"] == pytest.approx(301 * scale, abs=2.5)
    assert box["y"] - image["y"] == pytest.approx(188.5 * scale, abs=2.5)
    assert box["width"] == pytest.approx(28 * scale, abs=4)
    expect(screen.get_by_role("alert").first).to_contain_text("UNTRAINED MODEL")
    screen.screenshot(path=tmp_path / "result.png", full_page=True)


def test_a_documents_values_stand_beside_the_lines_that_they_were_read_from(
    house: House, screen: Page, tmp_path: Path
) -> None:
    report = encapsulated(table_pdf(CHEMISTRY, more=["Patient P1"]))
    outcome = run(Hospital(chart(), [report], modality="DOC"), FirstChoice(), store=house.store)
    told = house.add(reading=outcome.reading, conclusion=outcome.report["conclusion"])
    screen.goto(f"{house.url}/results/{told.result_id}")
    expect(screen.get_by_role("row", name=re.compile("Potassium"))).to_contain_text("5.9 mmol/L")
    strip = screen.locator(".evidence").nth(1)
    expect(strip).to_contain_text("Potassium: 5.9 mmol/L, high")
    image, box = strip.locator("img").bounding_box(), strip.locator("rect").bounding_box()
    assert image is not None
    assert box is not None
    region = outcome.reading.values[1].citation.region
    assert region is not None
    scale = image["width"] / region.columns  # the strip is as wide as the page
    assert box["x"] - image["x"] == pytest.approx(region.x0 * scale, abs=3)
    assert box["height"] == pytest.approx((region.y1 - region.y0) * scale, abs=4)
    assert image["y"] < box["y"] < box["y"] + box["height"] < image["y"] + image["height"]
    screen.screenshot(path=tmp_path / "document.png", full_page=True)


def test_the_banner_stays_in_sight(house: House, screen: Page) -> None:
    told = house.add()
    screen.goto(f"{house.url}/results/{told.result_id}")
    screen.mouse.wheel(0, 4000)
    expect(screen.get_by_role("heading", name="Lindqvist, Maren")).to_be_in_viewport()


def test_accepting(house: House, screen: Page) -> None:
    told = house.add()
    screen.goto(f"{house.url}/results/{told.result_id}")
    screen.get_by_label("Your name").fill("Dr. Ines Halloran")
    screen.get_by_role("button", name="Accept").click()
    expect(screen.locator(".done")).to_contain_text("Accepted by Dr. Ines Halloran")


def test_rejecting_needs_a_reason(house: House, screen: Page) -> None:
    told = house.add()
    screen.goto(f"{house.url}/results/{told.result_id}")
    screen.get_by_label("Your name").fill("Dr. Ines Halloran")
    screen.get_by_text("Reject …").click()
    screen.get_by_role("button", name="Reject").click()
    expect(screen.locator(".problem")).to_have_text("Choose a reason for the rejection.")
    screen.get_by_label("Why").select_option("wrong-location")
    screen.get_by_label("No", exact=True).check()
    screen.get_by_role("button", name="Reject").click()
    expect(screen.locator(".done")).to_contain_text("Rejected by Dr. Ines Halloran")
    expect(screen.locator(".decision")).to_contain_text("Wrong place or side")


def test_enter_decides_nothing(house: House, screen: Page) -> None:
    """A rejection that was filled in, and Enter on its last answer, was recorded as accepted."""
    told = house.add()
    screen.goto(f"{house.url}/results/{told.result_id}")
    screen.get_by_text("Reject …").click()
    screen.get_by_label("Why").select_option("wrong-location")
    screen.get_by_label("Yes", exact=True).check()
    screen.get_by_label("Yes", exact=True).press("Enter")
    screen.get_by_label("Your name").fill("Dr. Ines Halloran")
    screen.get_by_label("Your name").press("Enter")
    expect(screen.get_by_role("button", name="Accept")).to_be_visible()
    screen.reload()
    expect(screen.locator(".done")).to_have_count(0)
    assert house.reviewer.acts == []
    screen.get_by_label("Your name").fill("Dr. Ines Halloran")
    screen.get_by_role("button", name="Accept").click()
    expect(screen.locator(".done")).to_contain_text("Accepted")


def test_someone_else_decides_while_the_page_is_open(house: House, screen: Page) -> None:
    told = house.add()
    screen.goto(f"{house.url}/results/{told.result_id}")
    expect(screen.locator("#live-text")).to_have_text("Live")
    other = samples.review(told)
    house.inbox.record_review(other, samples.reviewed(told, other))
    expect(screen.locator("#changed")).to_be_visible()


def test_a_pneumothorax_in_a_routine_study_goes_before_what_was_ordered_as_urgent(
    house: House, screen: Page, tmp_path: Path
) -> None:
    """It says on whose word; a reviewer who rejects it gives the result its order's place again."""
    house.add("first", "study-1", priority="urgent")
    raised = RaisedPriority(finding="pneumothorax", likelihood="probable", priority="stat", critical_list="default@v1")
    told = house.add(
        "second", "study-2", priority="stat", order_priority="routine", raised=raised, trained=True,
        patient=samples.patient("Okonjo, Ada", "MR-77"),
    )  # fmt: skip
    screen.goto(house.url)
    first = screen.locator(".result").first
    expect(first).to_contain_text("Okonjo, Ada")
    expect(first.locator(".raised")).to_have_text("Order ROUTINE, AI-raised STAT: Pneumothorax, probable (list v1)")
    screen.screenshot(path=tmp_path / "raised.png")
    screen.goto(f"{house.url}/results/{told.result_id}")
    expect(screen.locator(".note.raised")).to_contain_text("The AI’s finding is unverified")
    screen.get_by_label("Your name").fill("Dr. Ines Halloran")
    screen.get_by_text("Reject …").click()
    screen.get_by_label("Why").select_option("false-positive")
    screen.get_by_label("No", exact=True).check()
    screen.get_by_role("button", name="Reject").click()
    expect(screen.locator(".done")).to_contain_text("Rejected by Dr. Ines Halloran")
    expect(screen.locator(".note.raised")).to_have_count(0)


def test_a_study_that_could_not_be_read_asks_to_be_looked_at_and_leaves_the_list(
    house: House, screen: Page, tmp_path: Path
) -> None:
    notice = house.tell_unread("The AI could not read this study: a slice is missing. Look at it yourself.")
    screen.goto(house.url)
    expect(screen.locator(".result")).to_contain_text("Look at it yourself")
    screen.locator("a.open").click()
    expect(screen.get_by_role("button", name="Accept")).to_have_count(0)
    screen.screenshot(path=tmp_path / "unread.png")
    screen.get_by_label("Your name").fill("Dr. Ines Halloran")
    screen.get_by_role("button", name="I have looked at it").click()
    expect(screen.locator(".done")).to_contain_text("Looked at by Dr. Ines Halloran")
    screen.goto(house.url)
    expect(screen.locator(f"[href='/results/{notice.result_id}']")).to_have_count(0)


def test_a_phone(house: House, chromium: Browser, tmp_path: Path) -> None:
    told = house.add()
    page = chromium.new_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    for path in ("/", f"/results/{told.result_id}"):
        page.goto(house.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.screenshot(path=tmp_path / f"phone{len(path)}.png", full_page=True)
    page.close()


def test_without_javascript_a_decision_can_still_be_taken(house: House, chromium: Browser) -> None:
    house.add()
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(house.url)
    page.locator("a.open").click()
    page.get_by_label("Your name, as").fill("Dr. Plain")
    page.get_by_role("button", name="Accept").click()
    expect(page.locator(".done")).to_have_text(re.compile("Accepted by Dr. Plain"))
    context.close()


def test_a_page_that_is_no_longer_live_says_so(house: House, screen: Page) -> None:
    """Instead of looking complete."""
    house.add()
    screen.goto(house.url)
    expect(screen.locator("#live-text")).to_have_text("Live")
    house.stop()
    expect(screen.locator("#live")).to_have_attribute("data-state", "stale")
    expect(screen.locator("#live-text")).to_contain_text("May be out of date")


def reject(screen: Page, words: str) -> None:
    screen.get_by_label("Your name").fill("Dr. Ines Halloran")
    screen.get_by_text("Reject …").click()
    screen.get_by_label("Why").select_option("wrong-location")
    screen.get_by_label("In your words").fill(words)
    screen.get_by_label("No", exact=True).check()
    screen.get_by_role("button", name="Reject", exact=True).click()


def test_a_decision_is_taken_back_and_made_anew(house: House, screen: Page, tmp_path: Path) -> None:
    house.let_undo(6)
    told = house.add()
    screen.goto(f"{house.url}/results/{told.result_id}")
    reject(screen, "It is the left lower lobe.")
    expect(screen.locator("#undo")).to_contain_text("Rejected. It takes effect in")
    screen.screenshot(path=tmp_path / "undo.png")
    screen.get_by_role("button", name="Undo").click()
    expect(screen.locator(".problem")).to_have_text("Taken back: nothing was recorded.")
    assert house.reviewer.acts == []
    expect(screen.get_by_label("In your words")).to_have_value("It is the left lower lobe.")
    house.let_undo(1)
    screen.get_by_role("button", name="Accept").click()
    expect(screen.locator(".done")).to_contain_text("Accepted by Dr. Ines Halloran", timeout=15_000)
    [act] = house.reviewer.acts
    assert act.outcome == "accepted"


def test_who_closes_the_page_has_decided(house: House, screen: Page, chromium: Browser) -> None:
    house.let_undo(2)
    told = house.add()
    other = chromium.new_page()
    other.goto(f"{house.url}/results/{told.result_id}")
    reject(other, "It is the left lower lobe.")
    expect(other.locator("#undo")).to_be_visible()
    other.close()
    screen.goto(f"{house.url}/results/{told.result_id}")
    expect(screen.locator("#changed")).to_be_visible()
    screen.reload()
    expect(screen.locator(".done")).to_contain_text("Rejected by Dr. Ines Halloran")


def test_what_is_missing_is_said_at_once_and_nothing_waits(house: House, screen: Page) -> None:
    told = house.add()
    screen.goto(f"{house.url}/results/{told.result_id}")
    screen.get_by_label("Your name").fill("Dr. Ines Halloran")
    screen.get_by_text("Reject …").click()
    screen.get_by_role("button", name="Reject", exact=True).click()
    expect(screen.locator(".problem")).to_contain_text("Choose a reason")
    expect(screen.locator("#undo")).to_be_hidden()
    screen.get_by_label("Why").select_option("wrong-location")
    screen.get_by_label("No", exact=True).check()
    screen.get_by_role("button", name="Reject", exact=True).click()
    expect(screen.locator(".done")).to_contain_text("Rejected by Dr. Ines Halloran")
