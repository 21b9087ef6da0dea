"""A headless Chromium that notices what a page does besides being shown: console messages, requests to other hosts.

An element belongs to one page. Whatever leads to another page is done within `another_page`, so that what follows
meets that page, all of it, and never the one before on its way out.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import (
    NoSuchElementException,
    SessionNotCreatedException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.waiting import WAIT_S

__all__ = ["Browser", "chromium"]

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --disable-dev-shm-usage"
)
STARTS = 3  # of a browser: chromedriver gives up after a minute, which a busy machine may take
GONE = (
    "does not belong to the document",
    "node with given id",
    "cannot find context",
    "execution context was destroyed",
    "navigated or closed",
    "aborted by navigation",
    "document unloaded",
    "cannot determine loading status",
    "frame detached",
    "no such execution context",
    "does not have execution context",
    "cannot find default execution context",
    "uniquecontextid not found",
)
"""What chromedriver says of a page that goes while it is asked, where it should call an element stale."""
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


class Browser:
    """One window. base: address of the only host that its pages may ask."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.base = ""

    def open(self, path: str) -> None:
        self.driver.get(self.base + path)

    def all(self, selector: str) -> list[Any]:
        """Elements that a CSS selector finds."""
        return list(self.driver.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        (found,) = self.all(selector)
        return found

    def text(self, selector: str = "main") -> str:
        return str(self.one(selector).text)

    @property
    def path(self) -> str:
        """Of the page that is shown, with its query."""
        return str(self.driver.current_url).removeprefix(self.base)

    def keys(self, *pressed: str) -> None:
        """Press keys one after the other, as somebody without a mouse does; a text is typed."""
        ActionChains(self.driver).send_keys(*pressed).perform()

    def chord(self, *pressed: str) -> None:
        """Keys of which a page forgets the first after a while: here it does not, however long the next one takes."""
        self.run("window.setTimeout = () => 0")
        self.keys(*pressed)

    def focused(self) -> Any:
        return self.driver.switch_to.active_element

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until it is truthy; asked again where the page goes meanwhile, or lacks what is looked for."""

        def met(_: Any) -> Any:
            try:
                return condition()
            except WebDriverException as error:
                if not _of_a_page_that_goes(error):
                    raise
                return False

        ignored = (NoSuchElementException, ValueError)
        return WebDriverWait(self.driver, WAIT_S, 0.05, ignored).until(met)

    @contextmanager
    def another_page(self, path: str = "/") -> Iterator[None]:
        """What is done within leads to another page, also one of the same address; waits until it is there, all of it.

        path: what its path begins with.
        """
        self.run("document.left = true")
        try:
            yield
        except WebDriverException as error:
            if not _of_a_page_that_goes(error):
                raise  # else it was done, and went with its page; if it was not, no other page comes
        self.until(lambda: self.run("return !document.left && document.readyState === 'complete'"))
        self.until(lambda: self.path.startswith(path))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def look(self, *, width: int = 1280, height: int = 900, scheme: str = "light", scripts: bool = True) -> None:
        """What kind of screen and browser the next page finds."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        # Without motion, so that nothing is measured on its way.
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        media = {"features": [{"name": name, "value": value} for name, value in features.items()]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})

    def faint(self) -> list[str]:
        """Texts of the page whose contrast is below WCAG's AA."""
        return list(self.run(CONTRAST))

    def noticed(self) -> list[str]:
        """Console messages, and requests to other hosts, since it was asked last."""
        messages = [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                url = event["params"]["request"]["url"]
                if not url.startswith((f"{self.base}/", "data:", "blob:")):
                    messages.append(f"request: {url}")
        return messages


def _of_a_page_that_goes(error: WebDriverException) -> bool:
    said = (error.msg or "").lower()
    return isinstance(error, StaleElementReferenceException) or any(text in said for text in GONE)


def _started(options: ChromeOptions, service: str) -> Chrome:
    for _ in range(STARTS - 1):
        with suppress(SessionNotCreatedException):
            return Chrome(options=options, service=ChromeService(service))
    return Chrome(options=options, service=ChromeService(service))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a profile of its own. Skips where there is none."""
    binary, service = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or service is None:
        pytest.skip("chromium and chromedriver are not installed")
    with tempfile.TemporaryDirectory(prefix="memguard-chromium-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = binary
        for flag in (*FLAGS.split(), f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = _started(options, service)
        driver.set_page_load_timeout(WAIT_S)
        driver.set_script_timeout(WAIT_S)
        try:
            yield Browser(driver)
        finally:
            driver.quit()
