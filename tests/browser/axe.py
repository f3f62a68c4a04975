"""axe-core on whatever a test leaves on the screen: WCAG 2.2 AA, as each browser test ends."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def problems(page: Page) -> list[str]:
    """A line for each rule that the page breaks, with the places; nothing for a page that is no page of ours (a login at the issuer's)."""
    if page.is_closed() or not page.evaluate("Boolean(document.querySelector('body[data-page]'))"):
        return []
    told = Axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG}, "resultTypes": ["violations"]})
    return [
        f"{broken['id']}: {broken['help']}: {'; '.join(' '.join(node['target']) for node in broken['nodes'][:3])}"
        for broken in told.response["violations"]
    ]
