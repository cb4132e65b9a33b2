"""Signatures and models in a real browser: pasted by keyboard alone, read, kept as a permalink, downloaded.

Screenshots go to $PERTCAST_SCREENSHOTS where it is set; docs/images holds two of a larger server.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest
import uvicorn
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

sys.path.append(str(Path(__file__).resolve().parents[1] / "serve"))
toys: Any = importlib.import_module("analysis_toys")
pages: Any = importlib.import_module("page_toys")
LocalPredictor: Any = importlib.import_module("local_predictor").LocalPredictor

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no browser is installed"
    ),
]
UP, DOWN = toys.SETS["up"], toys.SETS["down"]


class Page:
    """A browser on the page of a server.

    Attributes
    ----------
    root
        Address of the server.
    folder
        Where files for upload are written, and where the browser saves downloads.
    """

    def __init__(self, root: str, folder: Path) -> None:
        self.root, self.folder = root, folder
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.browser = webdriver.Chrome(options=options, service=service)

    def open(self, path: str) -> None:
        self.browser.get(self.root + path)

    def find(self, selector: str) -> WebElement:
        found: WebElement = self.until(lambda: self.browser.find_element(By.CSS_SELECTOR, selector))
        return found

    def until(self, found: Callable[[], Any], seconds: float = 60) -> Any:
        def calm(_: Any) -> Any:
            try:
                return found()
            except (NoSuchElementException, StaleElementReferenceException):
                return False

        return WebDriverWait(self.browser, seconds, poll_frequency=0.05).until(calm)

    def press(self, *keys: str) -> None:
        for key in keys:
            webdriver.ActionChains(self.browser).send_keys(key).perform()

    def tab_to(self, selector: str) -> None:
        """Reach an element by the tabulator alone, as someone without a mouse does."""
        for _ in range(60):
            if self.browser.execute_script("return document.activeElement.matches(arguments[0])", selector):
                return
            self.press(Keys.TAB)
        raise AssertionError(f"the tabulator does not reach {selector}")

    def tail(self, title: str) -> list[list[str]]:
        """Return the cells of a tail's table, once it is there."""
        cards = self.browser.find_elements(By.CSS_SELECTOR, "#signature-answer .card")
        card = next((card for card in cards if card.text.startswith(title)), None)
        rows = [] if card is None else card.find_elements(By.CSS_SELECTOR, "tbody tr")
        return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]

    def errors(self) -> list[Any]:
        browser: Any = self.browser
        return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]

    def hosts(self) -> set[str]:
        """Return whom the browser has sent requests since the last call."""
        browser: Any = self.browser
        sent = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
        urls = [
            each["params"]["request"]["url"] for each in sent if each["method"] == "Network.requestWillBeSent"
        ]
        return {f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" for url in urls} - {"data://", "blob://"}

    def shoot(self, name: str) -> None:
        if folder := os.environ.get("PERTCAST_SCREENSHOTS"):
            time.sleep(0.8)
            self.browser.save_screenshot(str(Path(folder) / name))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    config = toys.config_of(toys.write_files(tmp_path_factory.mktemp("libraries")), tiny_bundle)
    api = pages.page_api(LocalPredictor(config, tiny_bundle), config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.05)
    found = Page(f"http://127.0.0.1:{port}", folder)
    yield found
    found.browser.quit()
    server.should_exit = True
    thread.join(10)


def test_a_signature_is_pasted_by_keyboard_read_kept_and_downloaded(page: Page) -> None:
    page.open("/ui/signature")
    # The example is of a model whose genes the toy library does not hold: it is refused, in words.
    assert page.until(lambda: page.find("#signature-answer .notice").text).startswith("Question cannot be")
    page.errors()
    page.tab_to("#up")
    page.press(" ".join(UP))
    page.tab_to("#down")
    page.press(", ".join(DOWN))
    page.tab_to("#library")
    page.press("l1000")
    page.tab_to("[data-signature-form] .primary")
    page.press(Keys.ENTER)
    page.until(lambda: "up=G0" in page.browser.current_url)
    assert "values=" not in page.browser.current_url, "empty boxes stay out of the address"
    mimickers = page.until(lambda: page.tail("Mimickers"))
    assert len(mimickers) == 12 and mimickers[0][0].startswith("drug10")
    assert page.tail("Reversers")[0][:2] == ["drug18, 10 uM", "MCF7"]
    answer = page.find("#signature-answer").text
    assert "measured" in answer and "known, not measured here\n1: G999" in answer
    page.until(lambda: page.find("[data-figure]").get_dom_attribute("data-drawn") == "yes")
    page.shoot("page_signature_toy.png")

    _download(page)
    saved = pl.read_csv(page.folder / "connectivity.csv").filter(pl.col("word") == "mimics")
    assert [f"{value:.3f}" for value in saved["raw_cs"]] == [row[-4] for row in mimickers]

    page.tab_to("#signature-answer summary")
    permalink = page.find("#signature-answer .menu a[href^='/ui/signature']").get_dom_attribute("href")
    page.open(str(permalink))
    page.until(lambda: page.tail("Mimickers") == mimickers)
    assert page.find("#up").get_property("value") == "\n".join(UP)
    assert page.errors() == []
    assert page.hosts() == {page.root}


def _download(page: Page) -> None:
    page.browser.execute_script("document.querySelectorAll('#signature-answer .menu summary')[1].focus()")
    page.press(Keys.ENTER)
    page.tab_to("[data-file='connectivity.csv']")
    page.press(Keys.ENTER)
    page.until(lambda: (page.folder / "connectivity.csv").is_file())


def test_a_long_list_is_kept_as_a_short_permalink_and_a_huge_one_is_answered_without(page: Page) -> None:
    page.open("/ui/signature")
    script = "document.getElementById(arguments[0]).value = arguments[1]"
    many = "\n".join([*UP[:6], *(f"LONGNAME{number}" for number in range(600))])
    page.browser.execute_script(script, "up", many)
    page.browser.execute_script(script, "down", "\n".join(DOWN))
    page.find("[data-signature-form] .primary").click()
    page.until(lambda: "/ui/signature?s=" in page.browser.current_url)
    assert len(page.browser.current_url) < 6_200 and len(many) > 6_200
    assert page.until(lambda: page.tail("Mimickers"))
    assert page.find("#up").get_property("value") == many


def test_files_are_read_in_the_browser_into_their_boxes(page: Page) -> None:
    both = page.folder / "both.gmt"
    both.write_text(f"drug_UP\tna\t{chr(9).join(UP[:6])}\ndrug_DN\tna\t{chr(9).join(DOWN)}\n")
    values = page.folder / "de.csv"
    values.write_text(
        "gene,log2FoldChange\n" + "\n".join(f"{gene},{10 - place}" for place, gene in enumerate(UP + DOWN))
    )
    page.open("/ui/signature")
    page.find("[data-into=up]").send_keys(str(both))
    page.until(lambda: page.find("#down").get_property("value") == "\n".join(DOWN))
    assert page.find("#up").get_property("value") == "\n".join(UP[:6])
    page.find(".values summary").click()
    page.find("[data-into=values]").send_keys(str(values))
    page.until(lambda: "log2FoldChange" in str(page.find("#values").get_property("value")))
    page.find("[data-signature-form] .primary").click()
    refusal = page.find("[data-signature-form] .notice.tone-bad").text
    assert "Keep one of them" in refusal
    assert "log2FoldChange" in str(page.find("#values").get_property("value")), "nothing typed is lost"


def test_the_card_of_a_model_is_read_without_an_error(page: Page) -> None:
    page.open("/ui/model")
    page.errors()
    page.hosts()
    page.open("/ui/model")
    page.until(lambda: page.find("#health .badge").text == "ready")
    assert "not evaluated" in page.find("main").text
    page.shoot("page_model_toy.png")
    assert page.errors() == []
    assert page.hosts() == {page.root}
