"""The page's frame: addresses, escaping, static files, errors as boxes."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import page_toys as toys
import plotly.graph_objects as go
import pytest
from pertcast.errors import ConfigError
from pertcast.report.theme import ACCENT, DOWN, INK, MUTED, TONE_GROUNDS, TONE_TEXTS, UP, WASH, WHITE
from pertcast_data.errors import CorruptStore
from pertcast_serve.config import ScreenSettings, ServeConfig
from pertcast_serve.page import pages as pages_module
from pertcast_serve.page.assets import asset, asset_address, asset_names
from pertcast_serve.page.figures import figure
from pertcast_serve.page.html import link, part
from pertcast_serve.page.pages import Pages
from pertcast_serve.page.view import Html, PageContext
from pertcast_serve.problems import Unavailable
from plotly.offline import get_plotlyjs

Call = Callable[..., Any]
ATTACK = '"><script>alert(1)</script>'


def test_what_cannot_be_shown_is_told_without_where_it_lies(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ServeConfig(
        models={"default": tiny_bundle},
        libraries={"one": tmp_path / "lab", "two": tmp_path / "lab2"},
        screens=ScreenSettings(folder=tmp_path / "kept"),
    )
    damaged = f"{tmp_path}/lab2/a.zarr, {tmp_path}/lab/b and {tmp_path}/kept/c/hits.csv are damaged."

    async def fails(context: PageContext, parameters: Any) -> Html:
        raise CorruptStore(damaged)

    monkeypatch.setattr(pages_module, "_views", lambda: {"fails": fails})
    pages = Pages(None, None, None, config)  # type: ignore[arg-type]
    status, html = anyio.run(pages.render, "part/fails", {}, "local")
    assert status == 422 and str(tmp_path) not in html
    assert "library two/a.zarr, library one/b and screens/c/hits.csv are damaged." in html


@pytest.fixture(scope="module")
def page(client: Any, tiny_bundle: Path, call_api: Callable[..., Call], tmp_path_factory: Any) -> Call:
    sets = toys.write_sets(tmp_path_factory.mktemp("page") / "toy.gmt")
    config = ServeConfig(models={"default": tiny_bundle}, gene_sets={"toy": sets})
    return call_api(toys.page_api(client, config))


def shown(page: Call, address: str, **options: Any) -> Any:
    answer = page("GET", address, **options)
    assert answer.headers["content-type"] == "text/html; charset=utf-8", address
    return toys.Seen.of(answer.text)


def test_the_address_of_the_server_leads_to_the_page(page: Call) -> None:
    answer = page("GET", "/")
    assert answer.status_code == 307
    assert answer.headers["location"] == "/ui"
    assert page("GET", "/ui").status_code == 200


def test_every_link_part_and_file_that_the_first_view_names_is_answered(page: Call) -> None:
    todo, asked = ["/ui"], {}
    for address in todo:
        answer = page("GET", address)
        asked[address] = answer.status_code
        # From a whole page its parts are followed, and from parts what they lead to; links of links are not.
        if address == "/ui" or address.startswith("/ui/part/"):
            todo += [new for new in toys.Seen.of(answer.text).addresses() if new not in todo]
    kinds = {address.split("?")[0] for address in asked}
    assert {"/ui/part/perturbation/enrichment", "/ui/part/perturbation/running-sum"} <= kinds
    assert {"/ui/part/perturbation/neighbors", "/ui/perturbation", "/ui/search"} <= kinds
    own = {address: status for address, status in asked.items() if not _belongs_to_others(address)}
    assert set(own.values()) == {200}, {a: s for a, s in own.items() if s != 200}


def _belongs_to_others(address: str) -> bool:
    """Screens are off in this server, which their view tells in its own way."""
    return address.startswith(("/ui/screens", "/ui/signature", "/ui/model"))


@pytest.mark.parametrize(
    "address",
    ["/ui", "/ui/login", "/ui/search?q=gene", "/ui/perturbation?pert=nothing", "/ui/no-view"]
    + [f"/ui/part/perturbation/{name}" for name in ("response", "enrichment", "neighbors", "lines", "doses")],
)
def test_nothing_needs_an_inline_script_an_evaluation_or_another_server(page: Call, address: str) -> None:
    seen = shown(page, address)
    for tag, attributes in seen.tags:
        assert not [name for name in attributes if name.startswith(("on", "hx-on"))], (tag, attributes)
        if tag == "script":
            assert (
                attributes.get("src", "").startswith("/ui/static/")
                or attributes["type"] == "application/json"
            )
    assert seen.tags
    assert all(address.startswith("/") and not address.startswith("//") for address in seen.addresses())


def test_htmx_is_told_not_to_evaluate_and_not_to_ask_others(page: Call) -> None:
    (config,) = [
        meta["content"] for meta in shown(page, "/ui").attributes("meta") if meta.get("name") == "htmx-config"
    ]
    assert '"allowEval":false' in config
    assert '"selfRequestsOnly":true' in config
    assert '"includeIndicatorStyles":false' in config


@pytest.mark.parametrize(
    "address",
    [
        link("perturbation", pert=ATTACK),
        link("perturbation", pert=ATTACK, type="trt_cp", smiles="C<script>"),
        link("perturbation", pert="GENE1", cell=ATTACK),
        link("perturbation", pert="GENE1", type=ATTACK),
        link("perturbation", pert="GENE1", dose=ATTACK, type="trt_cp"),
        link("perturbation", model=ATTACK),
        link("perturbation/running-sum", term=ATTACK),
        link("perturbation/enrichment", sets=ATTACK),
        link("search", q=ATTACK),
        link("search", q="gene", model=ATTACK),
        link("login", next=ATTACK),
        link(f"{ATTACK}/x"),
    ],
)
def test_what_the_address_holds_is_shown_and_never_run(page: Call, address: str) -> None:
    answer = page("GET", address)
    assert answer.status_code in (200, 404, 422)
    scripts = [each for each in toys.Seen.of(answer.text).attributes("script") if each.get("src") is None]
    assert all(each == {"type": "application/json"} for each in scripts)
    assert "<script>alert" not in answer.text
    assert "C<script" not in answer.text


def test_a_figure_cannot_end_its_script() -> None:
    drawn = go.Figure(go.Scatter(x=[1], y=[2], text=["</script><script>alert(1)</script>"]))
    html = str(figure(drawn, ATTACK, 300))
    seen = toys.Seen.of(html)
    assert [name for name, _ in seen.tags] == ["div", "script", "noscript"]
    assert seen.attributes("div")[0]["aria-label"] == ATTACK


def test_a_part_has_no_frame_and_the_same_address_a_whole_page(page: Call) -> None:
    part_html = page("GET", part("search", q="gene")).text
    by_htmx = page("GET", link("search", q="gene"), headers={"HX-Request": "true"})
    whole = page("GET", link("search", q="gene"))
    assert part_html == by_htmx.text
    assert "<html" not in part_html
    assert part_html.strip() in whole.text
    assert "HX-Request" in by_htmx.headers["vary"]
    restored = {"HX-Request": "true", "HX-History-Restore-Request": "true"}
    assert "<html" in page("GET", link("search", q="gene"), headers=restored).text


def test_the_page_is_no_part_of_the_documented_interface(page: Call) -> None:
    assert not [path for path in page("GET", "/openapi.json").json()["paths"] if path.startswith("/ui")]


def test_the_view_that_is_shown_is_marked_in_the_navigation(page: Call) -> None:
    marked = [a["href"] for a in shown(page, "/ui").attributes("a") if a.get("aria-current") == "page"]
    assert marked == ["/ui/perturbation"]


def test_signing_in_sends_the_key_in_a_body_and_remembers_where_one_came_from(page: Call) -> None:
    seen = shown(page, "/ui/login?next=/ui/perturbation%3Fpert%3DGENE1")
    (form,) = seen.attributes("form")
    assert (form["method"], form["action"]) == ("post", "/v1/session")
    assert {"name": "next", "value": "/ui/perturbation?pert=GENE1", "type": "hidden"} in seen.attributes(
        "input"
    )


def test_a_proxys_prefix_stands_before_every_address(
    client: Any, tiny_bundle: Path, call_api: Callable[..., Call]
) -> None:
    config = ServeConfig(models={"default": tiny_bundle}, root_path="/tools/pertcast")
    call = call_api(toys.page_api(client, config))
    seen = shown(call, "/ui")
    assert seen.addresses()
    assert all(address.startswith("/tools/pertcast/") for address in seen.addresses())
    assert seen.attributes("html")[0]["data-root"] == "/tools/pertcast/ui"
    assert seen.attributes("body")[0]["data-plotly"].startswith("/tools/pertcast/ui/static/plotly")
    assert call("GET", "/").headers["location"] == "/tools/pertcast/ui"


def _failing(error: Exception) -> Any:
    async def view(context: PageContext, parameters: Mapping[str, str]) -> Html:
        raise error

    return view


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Unavailable("All replicas are busy."), 503, "All replicas are busy. Try again"),
        (ConfigError("No such thing. Name another."), 422, "No such thing. Name another."),
    ],
)
def test_what_goes_wrong_is_a_box_with_the_remedy(
    client: Any,
    tiny_bundle: Path,
    call_api: Callable[..., Call],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    words: str,
) -> None:
    monkeypatch.setattr(pages_module, "_views", lambda: {"perturbation": _failing(error)})
    call = call_api(toys.page_api(client, ServeConfig(models={"default": tiny_bundle})))
    answer = call("GET", "/ui")
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)
    seen = toys.Seen.of(answer.text)
    assert words in seen.text
    assert "/ui/signature" in seen.addresses()


def test_an_unknown_view_is_told_with_a_way_out(page: Call) -> None:
    answer = page("GET", "/ui/volcanoes")
    assert answer.status_code == 404
    assert "There is no such view" in answer.text
    assert "/ui/perturbation" in toys.Seen.of(answer.text).addresses()


@pytest.mark.parametrize(
    "name", ["..%2fpages.py", "%2e%2e/pages.py", "pages.py", "style", "htmx.min.js.map", "."]
)
def test_only_known_files_are_served(page: Call, name: str) -> None:
    answer = page("GET", f"/ui/static/{name}")
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_a_file_is_kept_for_good_under_the_address_of_its_content_and_asked_again_under_any_other(
    page: Call,
) -> None:
    for name in asset_names():
        answer = page("GET", asset_address(name))
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = page("GET", f"/ui/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert not again.content
        assert again.headers["cache-control"] == "no-cache"


def test_plotly_is_that_of_the_package_and_travels_compressed(page: Call) -> None:
    assert gzip.decompress(asset("plotly.min.js").compressed).decode() == get_plotlyjs()
    answer = page("GET", asset_address("plotly.min.js"), headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < 2_000_000
    plain = page("GET", asset_address("plotly.min.js"), headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == answer.text == get_plotlyjs()
    assert plain.headers["etag"] != answer.headers["etag"]


def test_htmx_is_the_file_that_its_note_names() -> None:
    note = asset("htmx.LICENSE.txt").content.decode()
    assert hashlib.sha256(asset("htmx.min.js").content).hexdigest() in note
    assert "Zero-Clause BSD" in note


@pytest.mark.parametrize("name", ["style.css", "page.js"])
def test_own_files_ask_no_other_server(name: str) -> None:
    text = asset(name).content.decode()
    assert not re.findall(r"https?://|@import|\beval\(|new Function", text)


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_every_colour_that_carries_text_can_be_read_on_its_ground() -> None:
    style = asset("style.css").content.decode()
    grounds = [WHITE, WASH, "#e4f0f4", "#fafbfc"]
    assert all(ground in style for ground in grounds[2:])
    pairs = [(text, ground) for text in (INK, MUTED, ACCENT) for ground in grounds]
    pairs += [(TONE_TEXTS[tone], TONE_GROUNDS[tone]) for tone in TONE_TEXTS]
    pairs += [(WHITE, ACCENT), (UP, WHITE), (DOWN, WHITE)]
    weak = {pair: contrast(*pair) for pair in pairs if contrast(*pair) < 4.5}
    assert not weak


def test_every_input_has_a_name_for_those_who_do_not_see_it(page: Call) -> None:
    for address in ("/ui", "/ui/login", "/ui/perturbation?pert=new&type=trt_cp"):
        seen = shown(page, address)
        labelled = {label.get("for") for label in seen.attributes("label")}
        for each in seen.attributes("input"):
            is_hidden = each.get("type") == "hidden" or "hidden" in each
            assert is_hidden or "aria-label" in each or each.get("id") in labelled, each


def test_pages_answers_what_the_services_protocol_asks(client: Any, serve_config: ServeConfig) -> None:
    analysis: Any = None
    pages = Pages(client, analysis, None, serve_config)
    status, html = anyio.run(pages.render, "login", {"next": "/ui"})
    assert status == 200
    assert html.startswith("<!doctype html>")
