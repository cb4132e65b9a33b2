"""Screens in a real browser: started by keyboard alone, watched to their end, read, sorted, downloaded.

Screenshots go to $PERTCAST_SCREENSHOTS where it is set; docs/images holds two of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import browsing
import polars as pl
import pytest
import screen_page_toys as toys
from pertcast_serve.screens.process_jobs import ProcessJobs
from selenium.webdriver.common.alert import Alert
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

pytestmark = browsing.MARKS
SLOW = ("sh", "-c", 'sleep 3; exec env OMP_NUM_THREADS=1 "$0" -m pertcast_jobs "$@"', sys.executable)
"""`pertcast` that begins late: a running state can be seen, and cancelled."""
REFUSAL = "error: row 2: 'no-such-drug' is no compound of the model. Add canonical_smiles, or --skip-unknown."
ESTIMATES = (
    *(sys.executable, "-S", "-c"),
    "import sys\n"
    f"if any(word.endswith('library.parquet') for word in sys.argv): sys.exit({REFUSAL!r})\n"
    f"print({json.dumps(toys.ESTIMATE)!r})",
)
"""`pertcast screen --dry-run` that answers at once, and knows no compound of a list."""


class Page(browsing.Browser):  # type: ignore[misc]
    """A browser on the view of screens, and the folder of the server's screens."""

    def __init__(self, root: str, downloads: Path, screens: Path) -> None:
        super().__init__(root, downloads)
        self.screens = screens

    def sig_ids(self) -> list[str]:
        return [str(each.get_attribute("title")) for each in self.all("#hits td.name a")]

    def hits(self) -> pl.DataFrame:
        identifier = self.driver.current_url.split("id=")[1].split("&")[0]
        return pl.read_parquet(self.screens / identifier / "screen" / "hits.parquet").sort("rank")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "downloads").mkdir()
    jobs = ProcessJobs(folder / "jobs", SLOW)
    api, _ = toys.screen_server(tiny_bundle, folder / "screens", jobs, ESTIMATES, running_screens=2)
    with browsing.served(api) as root:
        found = Page(root, folder / "downloads", folder / "screens")
        yield found
        found.driver.quit()
        for place in (folder / "jobs").glob("*"):
            jobs.stop(place.name)


def test_a_scientist_starts_a_screen_by_keyboard_and_reads_its_hits(page: Page) -> None:
    page.open("/ui/screens")
    page.tab_to("a[href='/ui/screens/new']")
    page.press(Keys.ENTER)
    page.find("[data-screen-form] [name=kind]")
    _fill_by_keyboard(page)
    page.tab_to("[data-estimate-now]")
    page.press(Keys.ENTER)
    facts = page.until(lambda: page.text("[data-estimate] dl"))
    assert "perturbations\n12" in facts and "profiles\n48" in facts and "refused rows\n0" in facts
    page.shoot("page_screen_new.png")
    page.tab_to("#title")
    while not page.run("return document.activeElement.matches('form [type=submit]')"):
        page.press(Keys.TAB)
    page.press(Keys.ENTER, Keys.ENTER)
    page.until(lambda: "/ui/screens/one?id=" in page.driver.current_url)
    page.run("window.wasNotReloaded = true")
    assert page.ask("[data-cancel]", WebElement.is_displayed)
    page.until(lambda: page.all("#hits tbody tr"), 120)
    assert page.run("return window.wasNotReloaded") is True
    hits = page.hits()
    assert hits.height == 24 and set(hits["cell_iname"]) == {"HT29"}
    assert page.sig_ids() == hits["sig_id"].head(20).to_list()
    assert "Ranked, not tested" in page.text(".card .lead")
    assert len(list(page.screens.glob("*/request.json"))) == 1, "a double Enter started two"
    assert page.errors() == []


def _fill_by_keyboard(page: Page) -> None:
    page.tab_to("[name=kind]")
    page.tab_to("[name=cell_iname][value=HT29]")
    page.press(Keys.SPACE)
    page.tab_to("[name=pert_dose][value='1']")
    page.press(Keys.SPACE)
    page.tab_to("[name=pert_dose][value='10']")
    page.press(Keys.SPACE)
    page.tab_to("#title")
    page.press("All compounds in HT29")


def _wait_for_swap(page: Page, click: Callable[[], None]) -> None:
    old = page.find("#hits")
    click()
    page.until(lambda: not _same(old, page.find("#hits")))


def _same(old: WebElement, new: WebElement) -> bool:
    return bool(old.id == new.id)


def test_hits_are_sorted_filtered_and_paged_and_the_address_is_a_permalink(page: Page) -> None:
    _open_first(page)
    hits = page.hits()
    _wait_for_swap(page, lambda: page.click("#sort-effect_size"))
    _wait_for_swap(page, lambda: page.click("#sort-effect_size"))
    assert page.sig_ids() == hits.sort("effect_size", "rank")["sig_id"].head(20).to_list()
    assert page.run("return document.activeElement.id") == "sort-effect_size"
    page.find("#hits-text").send_keys("drug-1")
    _wait_for_swap(page, lambda: page.find("#hits-text").send_keys(Keys.ENTER))
    wanted = hits.filter(pl.col("cmap_name").str.contains("drug-1")).sort("effect_size", "rank")
    assert page.sig_ids() == wanted["sig_id"].to_list() != []
    permalink = page.driver.current_url
    assert "/ui/screens/one?" in permalink and "q=drug-1" in permalink and "sort=effect_size" in permalink
    page.open("/ui/screens")
    page.driver.get(permalink)
    page.find("#hits tbody tr")
    assert page.sig_ids() == wanted["sig_id"].to_list()
    _wait_for_swap(page, lambda: page.click("#hits-clear"))
    _wait_for_swap(page, lambda: page.click("#hits-next"))
    assert page.sig_ids() == hits.sort("effect_size", "rank")["sig_id"].to_list()[20:]
    page.driver.back()
    page.until(lambda: page.sig_ids() == hits.sort("effect_size", "rank")["sig_id"].head(20).to_list())
    assert page.errors() == []


def _open_first(page: Page) -> None:
    page.open("/ui/screens")
    page.click("td a[href*='/ui/screens/one?id=']")
    page.find("#hits tbody tr")


def test_figures_are_drawn_and_a_point_leads_to_its_profile(page: Page) -> None:
    _open_first(page)
    page.shoot("page_screen_hits.png")
    for name in ("rank", "responses", "likeness", "map"):
        page.until(partial(page.all, f"#{name} [data-drawn=yes] svg"))
    assert not page.all(".skeleton")
    follow = "arguments[1].emit('plotly_click', {points: [{customdata: arguments[0]}]})"
    first = page.hits()["sig_id"][0]
    address = page.run(
        "return document.querySelector('#rank [data-figure]').data.flatMap(trace => trace.customdata)"
        ".find(each => each.includes(encodeURIComponent(arguments[0])))",
        first,
    )
    page.run(follow, address, page.find("#rank [data-figure]"))
    page.until(lambda: "/ui/screens/profile" in page.driver.current_url)
    assert page.text(".provenance").startswith(first)
    page.until(lambda: page.all("[data-drawn=yes] svg"))
    assert page.errors() == []


def test_every_table_comes_down_as_it_lies_on_the_server(page: Page) -> None:
    _open_first(page)
    identifier = page.driver.current_url.split("id=")[1]
    page.click("#files a[href$='hits.parquet']")
    saved = page.downloads / "hits.parquet"
    page.until(lambda: saved.is_file() and not list(page.downloads.glob("*.crdownload")))
    assert saved.read_bytes() == (page.screens / identifier / "screen" / "hits.parquet").read_bytes()
    assert page.errors() == []


def test_a_refused_list_says_why_and_keeps_what_was_typed(page: Page) -> None:
    page.open("/ui/screens/new?kind=compounds&cell_iname=HT29")
    page.click("[name=library][value=list]")
    typed = "pert_id,canonical_smiles\ndrug-1,\nno-such-drug,\n"
    page.find("#list").send_keys(typed)
    page.click("[data-screen-form] [type=submit]")
    refusal = page.until(lambda: page.text("[data-refusal]"))
    assert "no-such-drug" in refusal
    assert page.value("#list") == typed
    assert page.ask("[name=cell_iname][value=HT29]", WebElement.is_selected)
    assert page.run("return document.activeElement.matches('[data-refusal]')")
    page.find("#list").clear()
    page.find("#list").send_keys("dose,pert_id\n1,drug-1\n")
    page.click("[data-screen-form] [type=submit]")
    page.until(lambda: "column dose" in page.text("[data-refusal]"))
    page.errors()  # A 422 is told by the browser too; it is no error of the page.


def test_a_running_screen_is_cancelled_after_a_question(page: Page) -> None:
    page.open("/ui/screens/new?kind=compounds&title=To+be+cancelled")
    page.click("[data-screen-form] [type=submit]")
    page.until(lambda: "/ui/screens/one?id=" in page.driver.current_url)
    page.click("[data-cancel]")
    Alert(page.driver).dismiss()
    assert page.ask("[data-cancel]", WebElement.is_displayed)
    page.click("[data-cancel]")
    Alert(page.driver).accept()
    page.until(lambda: page.text(".badge") == "cancelled", 20)
    assert not page.all("[data-cancel]")
    assert page.errors() == []


def test_the_list_keeps_itself_fresh_while_a_screen_runs(page: Page) -> None:
    page.open("/ui/screens/new?kind=compounds&cell_iname=A375&pert_dose=1&title=Watched+from+the+list")
    page.click("[data-screen-form] [type=submit]")
    page.until(lambda: "/ui/screens/one?id=" in page.driver.current_url)
    page.open("/ui/screens")
    page.run("window.wasNotReloaded = true")
    state = "tbody tr:first-child .badge"
    assert page.text(state) in ("queued", "running")
    page.shoot("page_screens.png")
    page.until(lambda: page.text(state) == "finished", 120)
    assert page.run("return window.wasNotReloaded") is True
    assert page.errors() == []


def test_no_request_left_the_server(page: Page) -> None:
    assert any("plotly.min.js" in each for each in page.requests())
    assert page.strangers() == []
