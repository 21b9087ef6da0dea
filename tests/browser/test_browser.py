"""The browser of these tests itself: it waits for pages that come, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.common.exceptions import InvalidSelectorException, WebDriverException

from tests.support.browser import Browser

pytestmark = pytest.mark.slow
INSPECTOR = (
    'unknown error: unhandled inspector error: {"code":-32000,"message":"Node with given id does not belong to the '
    'document"}'
)


def _page(text: str) -> str:
    return f"data:text/html,<a>{text}</a>"


def test_what_leads_to_another_page_is_followed_by_it(browser: Browser, tmp_path: Path) -> None:
    """Though the page takes its time to go, and the next is of the same address and looks the same."""
    browser.base = tmp_path.as_uri()
    leaves = "setTimeout(() => { location.href = 'page.html'; }, 300)"
    (tmp_path / "page.html").write_text(f'<button onclick="{leaves}; this.textContent = 1">0</button>')
    browser.open("/page.html")
    for _ in range(3):
        with browser.another_page("/page.html"):
            browser.one("button").click()
        assert browser.text("button") == "0"


@pytest.mark.parametrize("said", [INSPECTOR, "stale"])
def test_a_page_that_goes_meanwhile_is_asked_again(browser: Browser, said: str) -> None:
    browser.driver.get(_page("old"))
    old = browser.one("a")
    browser.driver.get(_page("new"))
    asked = []

    def text() -> str:
        asked.append(said)
        if len(asked) < 3:
            if said == INSPECTOR:
                raise WebDriverException(said)
            return str(old.text)
        return browser.text("a")

    assert browser.until(text) == "new"
    assert len(asked) == 3


def test_any_other_error_fails_at_once(browser: Browser) -> None:
    browser.driver.get(_page("here"))
    with pytest.raises(InvalidSelectorException):
        browser.until(lambda: browser.all("[["))
    with pytest.raises(InvalidSelectorException), browser.another_page():
        browser.all("[[")
