"""The first view in a real browser: keyboard alone, figures, downloads, permalinks, nothing from elsewhere.

A server of this process over a socket, Debian's chromium without a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import browsing
import httpx
import page_toys as toys
import polars as pl
import pytest
from local_predictor import LocalPredictor
from pertcast_serve.config import ServeConfig
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = browsing.MARKS
COMPOUND = "/ui/perturbation?pert=drug-1&type=trt_cp&cell=HT29&dose=10&time=24"
BUSY = '[aria-busy], [data-figure]:not([data-drawn="yes"])'


class Browser(browsing.Browser):  # type: ignore[misc]
    """A browser on the first view, which waits until all of it is there."""

    def open(self, path: str) -> None:
        """Open a view and wait until all of its parts are there and all figures are drawn."""
        super().open(path)
        self.settle()

    def settle(self) -> None:
        self.until(lambda: not self.run(f"return document.querySelectorAll('{BUSY}').length"))

    def complaints(self) -> list[Any]:
        """Return all that the console has said since the last call."""
        found: list[Any] = self.errors("SEVERE", "WARNING")
        return found

    @property
    def title(self) -> str:
        return str(self.text("h1"))


@pytest.fixture(scope="module")
def opened(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    sets = toys.write_sets(tmp_path_factory.mktemp("sets") / "toy.gmt")
    config = ServeConfig(models={"default": tiny_bundle}, gene_sets={"toy": sets})
    with browsing.served(toys.page_api(LocalPredictor(config, tiny_bundle), config)) as root:
        found = Browser(root, tmp_path_factory.mktemp("downloads"))
        yield found
        found.driver.quit()


@pytest.fixture
def browser(opened: Browser) -> Browser:
    opened.resize(1280, 900)
    opened.complaints()
    return opened


def test_a_gene_is_found_by_keyboard_alone_and_its_figures_are_drawn(browser: Browser) -> None:
    browser.open("/ui")
    browser.press("/", "g", "e", "n", "e", "4")
    browser.until(lambda: "GENE4" in browser.text("#search-results .option"))
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
    assert browser.complaints() == []


def test_a_running_sum_opens_by_keyboard_and_by_a_click_on_its_bar(browser: Browser) -> None:
    browser.open(COMPOUND)
    browser.tab_to("a.more")
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.run("return document.activeElement.id") == "gene-set-table")
    browser.tab_to("#gene-set-table td a")
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.run("return document.activeElement.id") == "running-sum-card")
    browser.settle()
    by_keyboard = browser.text("#running-sum-card h2")
    assert (
        browser.run("return document.querySelectorAll('#running-sum-card .scatterlayer .js-line').length")
        == 1
    )
    browser.run("document.querySelector('#running-sum').replaceChildren(); window.scrollTo(0, 0)")
    bars = browser.all("#pathways .barlayer .point path")
    assert len(bars) == 2
    webdriver.ActionChains(browser.driver).move_to_element(bars[0]).click().perform()
    by_click = browser.text("#running-sum-card h2")
    browser.settle()
    assert by_click.startswith("Running sum of ")
    assert by_keyboard.startswith("Running sum of ")
    assert browser.complaints() == []


def test_a_click_on_a_cell_line_leads_to_its_view(browser: Browser) -> None:
    browser.open(COMPOUND)
    browser.run("document.querySelector('#lines').scrollIntoView({block: 'end', behavior: 'instant'})")
    dots = browser.all("#lines .scatterlayer .points path")
    leads_to = [str(browser.run("return arguments[0].__data__.data", dot)) for dot in dots]
    assert len(dots) == 2
    other = dots[["cell=A375" in address for address in leads_to].index(True)]

    def has_led() -> bool:
        # Plotly takes a click for one on a dot once it has noticed the mouse there, which takes it a moment.
        with suppress(StaleElementReferenceException):
            webdriver.ActionChains(browser.driver).move_to_element(other).pause(0.3).click().perform()
        return "cell=A375" in browser.driver.current_url

    browser.until(has_led)
    browser.until(lambda: browser.title == "drug-1 10 uM in A375")


def test_a_permalink_shows_the_same_condition_of_the_same_version(browser: Browser) -> None:
    browser.open(COMPOUND)
    title = browser.title
    for summary in browser.all(".view-actions summary"):
        if summary.text == "Copy":
            summary.click()
    browser.driver.find_element(By.LINK_TEXT, "Open permalink").click()
    browser.until(lambda: "model=default%40" in browser.driver.current_url)
    browser.settle()
    assert browser.title == title
    assert browser.complaints() == []


def test_commands_are_copied_with_the_servers_address(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"origin": browser.root, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    browser.open(COMPOUND)
    browser.click(".view-actions .menu summary")
    button = browser.find('[data-copy^="curl"]')
    button.click()
    browser.until(lambda: button.text == "Copied")
    copied = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.startswith(f"curl -s {browser.root}/v1/predict")
    browser.until(lambda: button.text == "Copy as curl")


def test_a_profile_is_downloaded_as_the_table_that_the_endpoint_gives(browser: Browser) -> None:
    browser.open(COMPOUND)
    browser.click(".view-actions .menu:last-of-type summary")
    browser.click('[data-accept="text/csv"]')
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
        assert browser.requests()
    assert browser.strangers() == []
    assert browser.complaints() == []


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
