"""A real browser on a server of this process: Debian's chromium without a window.

Screenshots go to $PERTCAST_SCREENSHOTS where it is set.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

MARKS = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no browser is installed"
    ),
]


@contextmanager
def served(api: FastAPI) -> Iterator[str]:
    """Serve an interface on a socket for the length of the block; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


class Browser:
    """A browser on the page of a server.

    Attributes
    ----------
    root
        Address of the server.
    downloads
        Where the browser saves files.
    driver
        Selenium's.
    """

    def __init__(self, root: str, downloads: Path) -> None:
        self.root, self.downloads = root, downloads
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver: Any = webdriver.Chrome(options=options, service=service)
        self._requests: list[str] = []
        self.resize(1280, 900)

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, path: str) -> None:
        self.driver.get(self.root + path)

    def run(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(script, *given)

    def find(self, selector: str) -> WebElement:
        found: WebElement = self.ask(selector, lambda element: element)
        return found

    def all(self, selector: str) -> list[WebElement]:
        found: list[WebElement] = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return found

    def ask(self, selector: str, question: Callable[[WebElement], Any]) -> Any:
        """Return what an element answers; where it is replaced meanwhile, its successor is asked."""
        answers = self.until(lambda: [question(self.driver.find_element(By.CSS_SELECTOR, selector))])
        return answers[0]

    def text(self, selector: str) -> str:
        return str(self.ask(selector, lambda element: element.text))

    def value(self, selector: str) -> str:
        return str(self.ask(selector, lambda element: element.get_property("value")))

    def click(self, selector: str) -> None:
        self.ask(selector, lambda element: element.click())

    def until(self, found: Callable[[], Any], seconds: float = 60) -> Any:
        """Return what is found as soon as it is there; what is being changed is looked for again."""
        missing = (NoSuchElementException, StaleElementReferenceException)
        wait = WebDriverWait(self.driver, seconds, poll_frequency=0.05, ignored_exceptions=missing)
        return wait.until(lambda _: found())

    def press(self, *keys: str) -> None:
        for key in keys:
            webdriver.ActionChains(self.driver).send_keys(key).perform()

    def tab_to(self, selector: str) -> None:
        """Reach an element by the tabulator alone, as someone without a mouse does."""
        for _ in range(80):
            if self.run("return document.activeElement.matches(arguments[0])", selector):
                return
            self.press(Keys.TAB)
        raise AssertionError(f"the tabulator does not reach {selector}")

    def errors(self, *levels: str) -> list[dict[str, Any]]:
        """Return what the console has said since the last call, at the levels given (SEVERE)."""
        wanted = levels or ("SEVERE",)
        return [entry for entry in self.driver.get_log("browser") if entry["level"] in wanted]

    def requests(self) -> list[str]:
        """Return the addresses of all requests so far."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
        return self._requests

    def strangers(self) -> list[str]:
        """Return the addresses of requests to anyone but the server."""
        own = (self.root, "data:", "blob:", "chrome:", "about:")
        return [address for address in self.requests() if not address.startswith(own)]

    def shoot(self, name: str) -> None:
        if folder := os.environ.get("PERTCAST_SCREENSHOTS"):
            time.sleep(0.8)
            self.driver.save_screenshot(str(Path(folder) / name))
