"""The pages as people use them, in a real browser: each flow, with keys alone, narrow, dark, and without scripts.

After every test nothing may have been said on the console, and no other host asked.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from guard.events import Outcome
from guard.indexes.overlay import Overlay
from tests.browser.conftest import HOSTILE_NAME, Site
from tests.support.browser import Browser
from tests.support.pages import HOSTILE

pytestmark = pytest.mark.slow


def outcomes(site: Site) -> list[str | None]:
    """Of all events, the newest first."""
    return [event.outcome.value if event.outcome else None for event in site.log.read()]


def test_a_reviewer_works_through_the_queue(browser: Browser, site: Site, queries: dict[str, Path]) -> None:
    assert site.check(queries["copy"], queries["turned"]) == ["block", "block"]
    browser.open("/")
    assert browser.path == "/status"
    with browser.another_page("/review"):
        browser.one("nav a[href='/review']").click()
    assert "2 images wait" in browser.text()
    browser.until(
        lambda: all(browser.run("return arguments[0].naturalWidth", image) > 0 for image in browser.all(".queue img"))
    )
    with browser.another_page("/review/"):
        browser.all(".row")[0].click()
    assert browser.all(".mask path"), "the copied area has an outline"
    assert browser.one(".laid").is_displayed()
    assert "The same picture" in browser.text(".judge")
    browser.one("#note").send_keys("seen before")
    with browser.another_page():
        browser.one("button[value=confirm]").click()
    assert "You said" in browser.text()
    assert outcomes(site) == ["confirm", None]
    with browser.another_page():
        browser.one(".notice button[value=undo]").click()
    assert "Undone" in browser.text()
    assert outcomes(site) == [None, None]
    with browser.another_page():
        browser.one("button[value=unsure]").click()
    assert "done=" in browser.path
    with browser.another_page():
        browser.one("button[value=confirm]").click()
    assert "Nothing waits" in browser.text()
    browser.open("/review?show=all")
    assert len(browser.all(".row")) == 2
    assert outcomes(site) == ["unsure", "confirm"]


def test_not_a_copy_lets_the_image_pass_and_undo_stops_it(
    browser: Browser, site: Site, queries: dict[str, Path]
) -> None:
    site.check(queries["turned"])
    browser.open("/review")
    with browser.another_page("/review/"):
        browser.one(".row").click()
    with browser.another_page():
        browser.one("button[value=not_a_copy]").click()
    assert "You said" in browser.text()
    assert site.check(queries["turned"]) == ["allow"]
    with browser.another_page():
        browser.one("button[value=undo]").click()
    assert "Undone" in browser.text()
    assert site.check(queries["turned"]) == ["block"]


def test_a_review_with_keys_alone(browser: Browser, site: Site, queries: dict[str, Path]) -> None:
    site.check(queries["copy"], queries["mirrored"], queries["turned"])
    browser.open("/status")
    with browser.another_page("/review"):
        browser.chord("g", "r")
    browser.keys("j", "j", "k")
    assert browser.focused() == browser.all(".row")[0]
    with browser.another_page("/review/"):
        browser.keys(Keys.ENTER)
    newest = browser.path
    before = float(browser.run("return getComputedStyle(document.querySelector('.laid')).opacity"))
    browser.keys(Keys.ARROW_RIGHT)
    assert float(browser.run("return getComputedStyle(document.querySelector('.laid')).opacity")) > before
    browser.keys("b")
    assert browser.run("return getComputedStyle(document.querySelector('.laid')).opacity") == "0"
    browser.keys("m")
    assert browser.run("return getComputedStyle(document.querySelector('.mask')).display") == "none"
    browser.keys("m")
    assert browser.one(".mask").is_displayed()
    browser.keys("e", "cn?", Keys.ESCAPE)
    assert browser.one("#note").get_attribute("value") == "cn?", "what is typed presses nothing"
    with browser.another_page():
        browser.keys("j")
    assert browser.path != newest
    with browser.another_page():
        browser.keys("k")
    assert browser.path == newest
    browser.keys("?")
    browser.until(lambda: browser.one("dialog").is_displayed())
    browser.keys("c", Keys.ESCAPE)
    browser.until(lambda: not browser.one("dialog").is_displayed())
    assert outcomes(site) == [None, None, None], "an open dialog takes the keys"
    with browser.another_page():
        browser.keys("c")
    assert "You said" in browser.text()
    with browser.another_page():
        browser.keys("z")
    assert "Undone" in browser.text()
    with browser.another_page():
        browser.keys("n")
    assert "done=" in browser.path
    with browser.another_page():
        browser.keys("u")
    assert "done=" in browser.path
    assert newest not in browser.path
    with browser.another_page():
        browser.keys("q")
    assert len(browser.all(".row")) == 1
    assert outcomes(site) == [Outcome.NOT_A_COPY, Outcome.UNSURE, None]


def test_every_control_is_reached_by_tab_and_shows_it(browser: Browser, site: Site, queries: dict[str, Path]) -> None:
    site.check(queries["copy"])
    for path, least in (("/status", 5), ("/review", 12), ("/search", 9)):
        browser.open(path)
        seen = []
        while True:
            browser.keys(Keys.TAB)
            element = browser.focused()
            if element.tag_name == "body" or element in seen:
                break
            seen.append(element)
            style = "const s = getComputedStyle(arguments[0]); return s.outlineStyle + ' ' + s.outlineWidth"
            assert browser.run(style, element) == "solid 3px", element.get_attribute("outerHTML")
        assert len(seen) >= least, path


def test_a_picture_is_found_and_protected(browser: Browser, site: Site, queries: dict[str, Path]) -> None:
    assert site.check(queries["other"]) == ["allow"]
    browser.open("/search")
    with browser.another_page("/search"):
        browser.one("#picture").send_keys(str(queries["other"]))
    assert "Nothing is near enough" in browser.text()
    assert not browser.one("[data-counted]").is_enabled()
    browser.one("input[name=own]").click()
    assert "Protect 1" in browser.text("[data-counted]")
    browser.one("#why").send_keys("letter of 3 March")
    with browser.another_page("/search/protected"):
        browser.one("[data-counted]").click()
    assert "1 picture is protected" in browser.text()
    assert "letter of 3 March" in browser.text()
    browser.until(lambda: browser.run("return document.querySelector('.thumb').naturalWidth") == 256)
    assert site.check(queries["other"]) == ["block"], "the very next check"
    with browser.another_page():
        browser.one(".row button").click()
    assert "Nothing is protected here yet" in browser.text()
    assert site.check(queries["other"]) == ["allow"]


def test_a_crop_is_told_by_its_pixels(browser: Browser, site: Site, queries: dict[str, Path]) -> None:
    """Whatever the descriptor says of it; the hash says nothing."""
    browser.open("/search")
    with browser.another_page("/search"):
        browser.one("#picture").send_keys(str(queries["cropped"]))
    assert "It is in there, or a part of it" in browser.text()
    (hit,) = [hit for hit in browser.all(".hit") if "pixels agree" in hit.text]
    assert "astronaut.jpg" in hit.text


def test_a_search_with_keys_alone(browser: Browser, site: Site, tmp_path: Path) -> None:
    browser.open("/status")
    with browser.another_page("/search"):
        browser.chord("g", "f")
    with browser.another_page("/search"):
        browser.keys("/", "photograph", Keys.ENTER)
    assert len(browser.all(".hit")) == 10
    browser.keys("j", "x", "j", " ")
    assert len(browser.all(".hit input:checked")) == 2
    with browser.another_page("/search/protected"):
        browser.keys("e", "asked for", Keys.ESCAPE, "p")
    memberships = Overlay(tmp_path / "photos.index").memberships()
    assert [(one.collection, one.who, one.why) for one in memberships] == [("opt-out", "local", "asked for")] * 2
    with browser.another_page("/search/protected"):
        browser.keys("j", Keys.ENTER)
    assert len(browser.all(".queue > li")) == 1
    with browser.another_page("/search"):
        browser.keys("q")
    assert browser.path == "/search"
    with browser.another_page("/search/protected"):
        browser.keys("v")


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(browser: Browser, site: Site, how: str) -> None:
    """The events are made by a script: what a desktop would send."""
    browser.open("/search")
    script = """
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 64;
        canvas.getContext("2d").fillRect(8, 8, 30, 50);
        canvas.toBlob((blob) => {
          const data = new DataTransfer();
          data.items.add(new File(["text"], "notes.txt", { type: "text/plain" }));
          data.items.add(new File([blob], "<b>mine</b>.png", { type: "image/png" }));
          const how = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
          const kind = arguments[0] === "drop" ? DragEvent : ClipboardEvent;
          document.body.dispatchEvent(new kind(arguments[0], how));
        });
    """
    with browser.another_page("/search"):
        browser.run(script, how)
    assert browser.all(".hit") or "too little detail" in browser.text()


def test_captions_and_file_names_stay_text(browser: Browser, site: Site, queries: dict[str, Path]) -> None:
    site.check(queries["copy"])
    browser.open("/search")
    with browser.another_page("/search"):
        browser.one("#picture").send_keys(str(queries["copy"]))
    assert browser.all(".hit")
    assert HOSTILE in browser.all(".caption")[0].text
    assert browser.all(".hit .mono")[0].text == HOSTILE_NAME
    pages = ["/search?words=caption", "/search?words=" + "%3Cscript%3Edocument.title%3D3%3C%2Fscript%3E", "/review"]
    for path in pages:
        browser.open(path)
        assert browser.driver.title.endswith("memorization-guard")
        assert not browser.all("main script, main b[onclick], main [onerror], img[src='x']")
    with browser.another_page("/review/"):
        browser.one(".row").click()
    assert HOSTILE in browser.text(".more")
    assert HOSTILE_NAME in browser.text(".more")
    assert not browser.all("main script, main [onerror], img[src='x']")


def test_a_script_that_got_in_would_not_run(browser: Browser, site: Site) -> None:
    browser.open("/status")
    broken = browser.run(
        """
        const violated = new Promise((resolve) => {
          document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        });
        const script = document.createElement("script");
        script.textContent = "document.title = 'owned'";
        document.body.append(script);
        return violated;
        """
    )
    assert broken == "script-src-elem"
    assert browser.driver.title != "owned"
    said = browser.noticed()
    assert len(said) == 1
    assert "Content Security Policy" in said[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_pages_fit_their_screen_and_can_be_read(
    browser: Browser, site: Site, queries: dict[str, Path], width: int, scheme: str
) -> None:
    site.check(queries["copy"], queries["turned"])
    browser.look(width=width, height=720, scheme=scheme)
    browser.open("/review")
    pair = browser.all(".row")[0].get_attribute("href").removeprefix(browser.base)
    browser.open(pair)
    with browser.another_page():
        browser.one("button[value=unsure]").click()
    assert "done=" in browser.path
    browser.open("/search")
    with browser.another_page("/search"):
        browser.one("#picture").send_keys(str(queries["copy"]))
    assert browser.all(".hit")
    places = [None, "/status", "/review", "/review?show=all", pair, "/search", "/search?words=zzz", "/search/protected"]
    for path in places:
        if path is not None:
            browser.open(path)
        assert browser.faint() == [], path
        wide = browser.run("return document.documentElement.scrollWidth")
        assert wide <= width, f"{path} is {wide} px wide"


def test_errors_are_pages_too(browser: Browser, site: Site) -> None:
    browser.look(width=320)
    browser.open("/review/none")
    assert "There is nothing here" in browser.text("h1")
    assert browser.faint() == []
    (said,) = browser.noticed()
    assert "404" in said


def test_everything_essential_works_without_scripts(browser: Browser, site: Site, queries: dict[str, Path]) -> None:
    site.check(queries["turned"])
    browser.look(scripts=False)
    browser.open("/review")
    with browser.another_page("/review/"):
        browser.one(".row").click()
    assert not browser.one("[data-blend]").is_displayed(), "what needs a script is not shown"
    assert not browser.one(".keys-button").is_displayed()
    with browser.another_page():
        browser.one("button[value=confirm]").click()
    with browser.another_page():
        browser.one(".notice button[value=undo]").click()
    assert browser.all(".history")
    assert outcomes(site) == [None]
    browser.open("/search")
    browser.one("#picture").send_keys(str(queries["other"]))
    with browser.another_page("/search"):
        browser.one("form.ask button.primary").click()
    assert browser.all(".answer")
    browser.one("input[name=own]").click()
    with browser.another_page("/search/protected"):
        browser.one("[data-counted]").click()
    assert browser.all(".queue > li")
    assert site.check(queries["other"]) == ["block"]


def test_the_status_renews_itself(browser: Browser, site: Site, queries: dict[str, Path]) -> None:
    browser.open("/status")
    assert browser.text("tbody td:nth-child(4)") == "0"
    site.check(queries["copy"])
    browser.until(lambda: browser.text("tbody td:nth-child(4)") == "1")


def test_signing_in_and_out(browser: Browser, guarded_site: Site, queries: dict[str, Path]) -> None:
    guarded_site.check(queries["turned"])
    browser.open("/review?show=all")
    assert browser.path.startswith("/sign-in")
    browser.until(lambda: browser.focused() == browser.one("#token"))
    with browser.another_page("/review?show=all"):
        browser.keys(guarded_site.secrets["anna"], Keys.ENTER)
    assert [link.text for link in browser.all("header nav a")] == ["Review", "Search"]
    assert browser.run("return document.cookie") == ""
    browser.open("/review")
    with browser.another_page("/review/"):
        browser.one(".row").click()
    with browser.another_page():
        browser.one("button[value=confirm]").click()
    assert "You said" in browser.text()
    log = guarded_site.log
    assert [review.who for event in log.read() for review in log.reviews(event.id)] == ["anna"]
    with browser.another_page("/sign-in"):
        browser.one("header form button").click()
    browser.open("/review")
    assert browser.path.startswith("/sign-in")
