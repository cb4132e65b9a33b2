"""Signatures and models in a real browser: pasted by keyboard alone, read, kept as a permalink, downloaded.

Screenshots go to $PERTCAST_SCREENSHOTS where it is set; docs/images holds two of a larger server.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import analysis_toys as toys
import browsing
import page_toys as pages
import polars as pl
import pytest
from local_predictor import LocalPredictor
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = browsing.MARKS
UP, DOWN = toys.SETS["up"], toys.SETS["down"]


class Page(browsing.Browser):  # type: ignore[misc]
    """A browser on the view of signatures."""

    def tail(self, title: str) -> list[list[str]]:
        """Return the cells of a tail's table, once it is there."""
        cards = self.all("#signature-answer .card")
        card = next((card for card in cards if card.text.startswith(title)), None)
        rows = [] if card is None else card.find_elements(By.CSS_SELECTOR, "tbody tr")
        return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[Page]:
    config = toys.config_of(toys.write_files(tmp_path_factory.mktemp("libraries")), tiny_bundle)
    api = pages.page_api(LocalPredictor(config, tiny_bundle), config)
    with browsing.served(api) as root:
        found = Page(root, tmp_path_factory.mktemp("browser"))
        yield found
        found.driver.quit()


def test_a_signature_is_pasted_by_keyboard_read_kept_and_downloaded(page: Page) -> None:
    page.open("/ui/signature")
    # The example is of a model whose genes the toy library does not hold: it is refused, in words.
    assert page.until(lambda: page.text("#signature-answer .notice")).startswith("Question cannot be")
    page.errors()
    page.tab_to("#up")
    page.press(" ".join(UP))
    page.tab_to("#down")
    page.press(", ".join(DOWN))
    page.tab_to("#library")
    page.press("l1000")
    page.tab_to("[data-signature-form] .primary")
    page.press(Keys.ENTER)
    page.until(lambda: "up=G0" in page.driver.current_url)
    assert "values=" not in page.driver.current_url, "empty boxes stay out of the address"
    mimickers = page.until(lambda: page.tail("Mimickers"))
    assert len(mimickers) == 12 and mimickers[0][0].startswith("drug10")
    assert page.tail("Reversers")[0][:2] == ["drug18, 10 uM", "MCF7"]
    answer = page.text("#signature-answer")
    assert "measured" in answer and "known, not measured here\n1: G999" in answer
    page.until(lambda: page.find("[data-figure]").get_dom_attribute("data-drawn") == "yes")
    page.shoot("page_signature_toy.png")

    _download(page)
    saved = pl.read_csv(page.downloads / "connectivity.csv").filter(pl.col("word") == "mimics")
    assert [f"{value:.3f}" for value in saved["raw_cs"]] == [row[-4] for row in mimickers]

    page.tab_to("#signature-answer summary")
    permalink = page.find("#signature-answer .menu a[href^='/ui/signature']").get_dom_attribute("href")
    page.open(str(permalink))
    page.until(lambda: page.tail("Mimickers") == mimickers)
    assert page.value("#up") == "\n".join(UP)
    assert page.errors() == []
    assert page.strangers() == []


def _download(page: Page) -> None:
    page.run("document.querySelectorAll('#signature-answer .menu summary')[1].focus()")
    page.press(Keys.ENTER)
    page.tab_to("[data-file='connectivity.csv']")
    page.press(Keys.ENTER)
    page.until(lambda: (page.downloads / "connectivity.csv").is_file())


def test_a_long_list_is_kept_as_a_short_permalink_and_a_huge_one_is_answered_without(page: Page) -> None:
    page.open("/ui/signature")
    script = "document.getElementById(arguments[0]).value = arguments[1]"
    many = "\n".join([*UP[:6], *(f"LONGNAME{number}" for number in range(600))])
    page.run(script, "up", many)
    page.run(script, "down", "\n".join(DOWN))
    page.click("[data-signature-form] .primary")
    page.until(lambda: "/ui/signature?s=" in page.driver.current_url)
    assert len(page.driver.current_url) < 6_200 and len(many) > 6_200
    assert page.until(lambda: page.tail("Mimickers"))
    assert page.value("#up") == many


def test_files_are_read_in_the_browser_into_their_boxes(page: Page) -> None:
    both = page.downloads / "both.gmt"
    both.write_text(f"drug_UP\tna\t{chr(9).join(UP[:6])}\ndrug_DN\tna\t{chr(9).join(DOWN)}\n")
    values = page.downloads / "de.csv"
    values.write_text(
        "gene,log2FoldChange\n" + "\n".join(f"{gene},{10 - place}" for place, gene in enumerate(UP + DOWN))
    )
    page.open("/ui/signature")
    page.find("[data-into=up]").send_keys(str(both))
    page.until(lambda: page.value("#down") == "\n".join(DOWN))
    assert page.value("#up") == "\n".join(UP[:6])
    page.click(".values summary")
    page.find("[data-into=values]").send_keys(str(values))
    page.until(lambda: "log2FoldChange" in page.value("#values"))
    page.click("[data-signature-form] .primary")
    # The form holds a hidden notice of its own before the answer comes.
    page.until(lambda: "Keep one of them" in page.text("[data-signature-form] .notice.tone-bad"))
    assert "log2FoldChange" in page.value("#values"), "nothing typed is lost"


def test_the_card_of_a_model_is_read_without_an_error(page: Page) -> None:
    page.open("/ui/model")
    page.errors()
    page.open("/ui/model")
    page.until(lambda: page.text("#health .badge") == "ready")
    assert "not evaluated" in page.text("main")
    page.shoot("page_model_toy.png")
    assert page.errors() == []
    assert page.strangers() == []
