"""Reports stand alone: no request leaves them, text is escaped, tables work without JavaScript."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser

import plotly.graph_objects as go
import polars as pl
import pytest
from pertcast.evaluation.text import text_table
from pertcast.report import theme
from pertcast.report.page import Section, figure_html, paragraph_html, render_page, table_html
from pertcast.report.tables import fixed, format_number

LOADING = {"src", "href", "data", "action", "poster", "srcset", "formaction", "xlink:href"}


class Document(HTMLParser):
    """Collects attributes that load something, style text, tags and shown text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inside = tag if tag in {"style", "script"} else self.inside
        for name, value in attrs:
            if name in LOADING and value:
                self.addresses.append(value)
            if name == "style" and value:
                self.styles.append(value)

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        {"style": self.styles, "script": self.scripts}.get(self.inside, self.text).append(data)


def external_references(html: str) -> list[str]:
    document = Document(html)
    in_styles = [found for css in document.styles for found in re.findall(r"url\(([^)]*)\)|@import", css)]
    found = [a for a in document.addresses if not a.startswith(("data:", "#"))]
    return found + in_styles + [tag for tag in document.tags if tag in {"link", "iframe", "object", "embed"}]


@pytest.fixture(scope="module")
def page() -> str:
    frame = pl.DataFrame({"name": ["<b>A & B</b>", None], "value": [0.41234, float("nan")], "n": [1234, 5]})
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3.0, 4.0], text=["</script><script>alert(1)</script>", "b"]))
    return render_page(
        title="A <report>",
        provenance="model m · data d",
        sections=[
            Section("Table", table_html(frame, download="a.csv"), subtitle="x & y", width="half"),
            Section("Figure", figure_html(figure, label="two points"), width="half", tone="care"),
            Section("Again", figure_html(go.Figure(go.Bar(y=[1, 2])))),
        ],
        footer="pertcast",
    )


def test_a_report_refers_to_nothing_outside_itself(page: str) -> None:
    assert external_references(page) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in unescape(policy[1]) and "connect-src 'none'" in unescape(policy[1])


@pytest.mark.parametrize(
    "planted",
    [
        '<img src="https://example.org/a.png">',
        '<link rel="stylesheet" href="//example.org/a.css">',
        "<style>body { background: url(http://example.org/a.png); }</style>",
    ],
)
def test_the_search_for_outside_references_finds_planted_ones(planted: str) -> None:
    html = render_page(title="t", provenance="p", sections=[Section("s", planted)])
    assert external_references(html)


def test_plotly_is_inlined_once_and_only_where_a_figure_is_shown(page: str) -> None:
    assert len(re.findall(r"plotly\.js v\d", page)) == 1
    bare = render_page(title="t", provenance="p", sections=[Section("s", paragraph_html("words"))])
    assert "<script" not in bare and len(bare) < 10_000


def test_text_is_escaped_and_figures_cannot_break_out_of_their_script(page: str) -> None:
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in page and "<title>A &lt;report&gt;</title>" in page
    specs = [text for text in Document(page).scripts if text.startswith('{"data"')]
    assert len(specs) == 2
    assert json.loads(specs[0])["data"][0]["text"][0] == "</script><script>alert(1)</script>"


def test_tables_read_without_scripts_with_three_digits_and_a_dash_for_undefined(page: str) -> None:
    shown = [text.strip() for text in Document(page).text]
    assert "0.412" in shown and "–" in shown and "1,234" in shown


def test_the_same_report_is_written_in_the_same_bytes() -> None:
    def build() -> str:
        return figure_html(go.Figure(go.Scatter(x=[1.0], y=[2.0])))

    assert build() == build()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.41234, "0.412"),
        (12.345, "12.3"),
        (123.4, "123"),
        (0.0123, "0.0123"),
        (1e-5, "1.00e-05"),
        (-0.5, "-0.500"),
        (12345.6, "12,346"),
        (0.0, "0"),
        (None, "–"),
        (float("nan"), "–"),
        (7, "7"),
        (10_000, "10,000"),
    ],
)
def test_numbers_have_three_significant_digits(value: float | None, shown: str) -> None:
    assert format_number(value) == shown


def test_terminal_tables_align_numbers_to_the_right() -> None:
    lines = text_table(("model", "r"), [("a", fixed(3)(0.5)), ("longer", fixed(3)(-0.25))])
    assert [line[-6:] for line in lines[2:]] == [" 0.500", "-0.250"]
    assert len({len(line) for line in lines}) == 1


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_text_colour_has_enough_contrast_on_its_ground() -> None:
    pairs = [
        (theme.INK, theme.WASH),
        (theme.MUTED, theme.WASH),
        (theme.MUTED, theme.WHITE),
        (theme.ACCENT, theme.WHITE),
    ]
    pairs += [(theme.TONE_TEXTS[tone], theme.TONE_GROUNDS[tone]) for tone in theme.TONE_COLOURS]
    assert {pair: _contrast(*pair) for pair in pairs if _contrast(*pair) < 4.5} == {}
