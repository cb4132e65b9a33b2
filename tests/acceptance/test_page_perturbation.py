"""The first view in a real browser: keyboard alone, figures, downloads, permalinks, nothing from elsewhere.

A server of this process over a socket, Debian's chromium without a window.
"""

from __future__ import annotations

import importlib
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
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
toys: Any = importlib.import_module("page_toys")
LocalPredictor: Any = importlib.import_module("local_predictor").LocalPredictor

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no browser is installed"
    ),
]
COMPOUND = "/ui/perturbation?pert=drug-1&type=trt_cp&cell=HT29&dose=10&time=24"
BUSY = '[aria-busy], [data-figure]:not([data-drawn="yes"])'


class Browser:
    """A browser on the page of a server.

    Attributes
    ----------
    root
        Address of the server.
    downloads
        Where the browser saves files.
    """

    def __init__(self, root: str, downloads: Path) -> None:
        self.root, self.downloads = root, downloads
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.resize(1280, 900)

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, path: str) -> None:
        """Open a view and wait until all of its parts are there and all figures are drawn."""
        self.driver.get(self.root + path)
        self.settle()

    def settle(self) -> None:
        self.until(lambda: not self.run(f"return document.querySelectorAll('{BUSY}').length"))

    def run(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(script, *given)

    def find(self, selector: str) -> WebElement:
        found: WebElement = self.until(lambda: self.driver.find_element(By.CSS_SELECTOR, selector))
        return found

    def until(self, found: Callable[[], Any], seconds: float = 30) -> Any:
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

    def errors(self) -> list[Any]:
        return [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def asked(self) -> list[str]:
        """Return the addresses of all that the page has fetched."""
        names: list[str] = self.run("return performance.getEntriesByType('resource').map(each => each.name)")
        return names

    @property
    def title(self) -> str:
        return self.find("h1").text


@pytest.fixture(scope="module")
def root(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from pertcast_serve.config import ServeConfig

    sets = toys.write_sets(tmp_path_factory.mktemp("sets") / "toy.gmt")
    config = ServeConfig(models={"default": tiny_bundle}, gene_sets={"toy": sets})
    api = toys.page_api(LocalPredictor(config, tiny_bundle), config)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture(scope="module")
def opened(root: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(root, tmp_path_factory.mktemp("downloads"))
    try:
        yield found
    finally:
        found.driver.quit()


@pytest.fixture
def browser(opened: Browser) -> Browser:
    opened.resize(1280, 900)
    opened.errors()
    return opened


def test_a_gene_is_found_by_keyboard_alone_and_its_figures_are_drawn(browser: Browser) -> None:
    browser.open("/ui")
    browser.press("/", "g", "e", "n", "e", "4")
    browser.until(lambda: "GENE4" in browser.find("#search-results .option").text)
    assert browser.find("#search").get_attribute("aria-expanded") == "true"
    browser.press(Keys.ARROW_DOWN)
    chosen = browser.find("#search").get_attribute("aria-activedescendant")
    assert browser.find("#search-results .option.active").get_attribute("id") == chosen
    browser.press(Keys.ENTER)
    browser.until(lambda: "GENE4" in browser.title)
    browser.settle()
    points = browser.run("return document.querySelectorAll('.card.wide .scatterlayer .points path').length")
    assert points == 24
    assert "knock-out in" in browser.title
    assert browser.errors() == []


def test_a_running_sum_opens_by_keyboard_and_by_a_click_on_its_bar(browser: Browser) -> None:
    browser.open(COMPOUND)
    browser.tab_to("a.more")
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.run("return document.activeElement.id") == "gene-set-table")
    browser.tab_to("#gene-set-table td a")
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.run("return document.activeElement.id") == "running-sum-card")
    browser.settle()
    by_keyboard = browser.find("#running-sum-card h2").text
    assert (
        browser.run("return document.querySelectorAll('#running-sum-card .scatterlayer .js-line').length")
        == 1
    )
    browser.run("document.querySelector('#running-sum').replaceChildren(); window.scrollTo(0, 0)")
    bars = browser.driver.find_elements(By.CSS_SELECTOR, "#pathways .barlayer .point path")
    assert len(bars) == 2
    webdriver.ActionChains(browser.driver).move_to_element(bars[0]).click().perform()
    by_click = browser.find("#running-sum-card h2").text
    browser.settle()
    assert by_click.startswith("Running sum of ")
    assert by_keyboard.startswith("Running sum of ")
    assert browser.errors() == []


def test_a_click_on_a_cell_line_leads_to_its_view(browser: Browser) -> None:
    browser.open(COMPOUND)
    browser.find("#lines").location_once_scrolled_into_view  # noqa: B018
    dots = browser.driver.find_elements(By.CSS_SELECTOR, "#lines .scatterlayer .points path")
    assert len(dots) == 2
    for dot in dots:
        webdriver.ActionChains(browser.driver).move_to_element(dot).click().perform()
        time.sleep(0.5)
        if "cell=A375" in browser.driver.current_url:
            break
    browser.until(lambda: browser.title == "drug-1 10 uM in A375")


def test_a_permalink_shows_the_same_condition_of_the_same_version(browser: Browser) -> None:
    browser.open(COMPOUND)
    title = browser.title
    for summary in browser.driver.find_elements(By.CSS_SELECTOR, ".view-actions summary"):
        if summary.text == "Copy":
            summary.click()
    browser.driver.find_element(By.LINK_TEXT, "Open permalink").click()
    browser.until(lambda: "model=default%40" in browser.driver.current_url)
    browser.settle()
    assert browser.title == title
    assert browser.errors() == []


def test_commands_are_copied_with_the_servers_address(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"origin": browser.root, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    browser.open(COMPOUND)
    browser.find(".view-actions .menu summary").click()
    button = browser.find('[data-copy^="curl"]')
    button.click()
    browser.until(lambda: button.text == "Copied")
    copied = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.startswith(f"curl -s {browser.root}/v1/predict")
    browser.until(lambda: button.text == "Copy as curl")


def test_a_profile_is_downloaded_as_the_table_that_the_endpoint_gives(browser: Browser) -> None:
    browser.open(COMPOUND)
    browser.find(".view-actions .menu:last-of-type summary").click()
    browser.find('[data-accept="text/csv"]').click()
    saved = browser.until(lambda: next(iter(browser.downloads.glob("*.csv")), None))
    body = browser.find('[data-accept="text/csv"]').get_attribute("data-body")
    headers = {"Accept": "text/csv", "Content-Type": "application/json"}
    answer = httpx.post(f"{browser.root}/v1/predict", content=body, headers=headers)
    assert saved.read_bytes() == answer.content
    assert pl.read_csv(saved).height > 0


def test_the_first_view_can_be_used_in_less_than_two_seconds_before_plotly_is_there(browser: Browser) -> None:
    times = []
    for _ in range(3):
        browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        browser.open("/ui")
        ready, plotly = browser.run(
            "const page = performance.getEntriesByType('navigation')[0];"
            "const all = performance.getEntriesByType('resource');"
            "const plotly = all.find(each => each.name.includes('plotly'));"
            "return [page.domContentLoadedEventEnd, plotly.responseEnd]"
        )
        assert ready < plotly
        times.append(ready)
    # What else the machine does at this moment is not the page's.
    assert min(times) < 2000


def test_nothing_comes_from_another_server_and_nothing_is_said_in_the_console(browser: Browser) -> None:
    for path in ("/ui", COMPOUND, "/ui/search?q=gene", "/ui/login"):
        browser.open(path)
        assert browser.asked()
        assert all(address.startswith(browser.root) for address in browser.asked())
    assert browser.errors() == []


def test_the_policy_of_the_page_stops_inline_scripts(browser: Browser) -> None:
    browser.open("/ui")
    browser.run(
        "const script = document.createElement('script');"
        "script.textContent = 'window.ranInline = true'; document.body.append(script)"
    )
    assert browser.run("return window.ranInline === undefined")


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_the_page_fits_screens_of_every_width(browser: Browser, width: int) -> None:
    browser.resize(width, 800)
    browser.open(COMPOUND)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    outside = browser.run(
        "return [...document.querySelectorAll('main a, main button, h1, h2, .badge, .chip')]"
        ".filter(each => !each.closest('.table-box, details:not([open])'))"
        ".filter(each => each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML)"
    )
    assert outside == []


def test_where_the_keyboard_is_can_be_seen(browser: Browser) -> None:
    browser.open(COMPOUND)
    places = set()
    for _ in range(25):
        browser.press(Keys.TAB)
        style, width, place = browser.run(
            "const own = getComputedStyle(document.activeElement);"
            "return [own.outlineStyle, parseFloat(own.outlineWidth), document.activeElement.outerHTML]"
        )
        assert style != "none", place
        assert width >= 1, place
        places.add(place)
    assert len(places) >= 20


def test_nothing_moves_for_those_who_want_no_motion(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    )
    browser.open("/ui")
    name = browser.run(
        "const box = document.createElement('div'); box.className = 'skeleton';"
        "box.append(document.createElement('span')); document.body.append(box);"
        "return getComputedStyle(box.firstChild).animationName"
    )
    assert name == "none"
