"""The page's view of screens over a real small screen: list, form, hits as on disk, hostile addresses."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import anyio
import httpx
import polars as pl
import pytest
import screen_page_toys as toys
from pertcast_serve.access.caller import LOCAL, Caller
from pertcast_serve.page.view import PageContext
from pertcast_serve.page.views.screen_form import example_of
from pertcast_serve.page.views.screen_one import progress_part
from pertcast_serve.page.views.screen_words import shown_screen
from pertcast_serve.page.views.screens import list_view, table_part
from pertcast_serve.problems import Refused
from pertcast_serve.schemas.models import Vocabulary
from pertcast_serve.schemas.screens import Screen, ScreenList, ScreenRequest
from pertcast_serve.screens.service import ScreenService

Call = Callable[..., httpx.Response]
TITLE = "Reverse <b>fibrosis</b> & more"
HOSTILE = "\"><script>alert(1)</script>'{{7*7}}"


@dataclass(frozen=True)
class Served:
    """A server with one finished screen."""

    call: Call
    service: ScreenService
    folder: Path
    screen: Screen

    @property
    def out(self) -> Path:
        return self.folder / self.screen.id / "screen"

    def html(self, path: str, **parameters: Any) -> str:
        answer = self.call("GET", f"/ui/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.text

    def names(self, **parameters: Any) -> list[str]:
        """The sig_ids of the rows of the hits table, as the page shows them."""
        html = self.html("screens/one", id=self.screen.id, **parameters)
        found = re.findall(r'<td class="text name"><a href="[^"]*" title="([^"]*)">', html)
        return [unescape(each) for each in found]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, call_api: Any) -> Served:
    folder = tmp_path_factory.mktemp("page_screens")
    api, service = toys.screen_server(tiny_bundle, folder, toys.JobsHere())
    request = ScreenRequest(kind="compounds", title=TITLE, pert_dose=[1.0, 10.0])
    screen = anyio.run(partial(service.submit, request, LOCAL))
    assert isinstance(screen, Screen) and screen.state == "finished", screen
    return Served(call_api(api), service, folder, screen)


@pytest.fixture(scope="module")
def hits(served: Served) -> pl.DataFrame:
    return pl.read_parquet(served.out / "hits.parquet")


def screen(**changes: Any) -> Screen:
    fields: dict[str, Any] = {
        "id": "s1",
        "title": "",
        "kind": "compounds",
        "model": "default@1",
        "state": "running",
        "submitted_at": "2026-11-28T20:00:00+00:00",
        "submitted_by": "ana",
        "n_done": 250,
        "n_profiles": 1000,
        "profiles_per_s": 50.0,
        "eta_s": 15.0,
        "message": "",
    }
    return Screen(**(fields | changes))


class FixedScreens:
    """Screens whose states the test says."""

    is_on = True

    def __init__(self, *screens: Screen) -> None:
        self.screens = list(screens)

    async def list(self, caller: Caller, offset: int = 0, limit: int = 50) -> ScreenList:
        return ScreenList(screens=self.screens[offset : offset + limit], n_screens=len(self.screens))

    async def get(self, identifier: str, caller: Caller) -> Screen:
        return self.screens[0]


def context_of(screens: Any, user: Caller = LOCAL) -> PageContext:
    return PageContext(predictor=None, analysis=None, screens=screens, config=None, caller=user)  # type: ignore[arg-type]


def test_the_list_shows_a_screen_with_its_state_and_leads_to_it(served: Served) -> None:
    html = served.html("screens")
    assert f'href="/ui/screens/one?id={served.screen.id}"' in html
    assert "finished" in html and "compounds" in html and served.screen.model in html
    assert "every 2s" not in html


def test_what_people_write_is_shown_as_text(served: Served) -> None:
    for path in ("screens", "screens/one"):
        html = served.html(path, id=served.screen.id)
        assert "<b>fibrosis</b>" not in html
        assert "Reverse &lt;b&gt;fibrosis&lt;/b&gt; &amp; more" in html


def test_pages_of_the_table_hold_every_hit_once_in_the_order_of_the_file(
    served: Served, hits: pl.DataFrame
) -> None:
    shown: list[str] = []
    for page in range(1, hits.height // 20 + 2):
        shown += served.names(page=page)
    assert hits.height > 40
    assert shown == hits.sort("rank")["sig_id"].to_list()


def test_a_page_beyond_the_last_shows_the_last(served: Served, hits: pl.DataFrame) -> None:
    assert served.names(page=999) == hits.sort("rank")["sig_id"].to_list()[(hits.height - 1) // 20 * 20 :]


def test_sorting_and_filters_of_the_address_are_those_of_the_file(served: Served, hits: pl.DataFrame) -> None:
    rising = hits.sort("effect_size", "rank")
    assert served.names(sort="effect_size") == rising["sig_id"].head(20).to_list()
    one_line = hits.filter(cell_iname="HT29").sort("rank")
    assert served.names(cell="HT29") == one_line["sig_id"].head(20).to_list()
    named = hits.filter(pl.col("cmap_name").str.contains("drug-7")).sort("rank")
    assert served.names(q="DRUG-7") == named["sig_id"].to_list() != []
    both = hits.filter(pl.col("cmap_name").str.contains("drug-1"), cell_iname="A375").sort(
        "pert_dose", "rank"
    )
    assert served.names(q="drug-1", cell="A375", sort="pert_dose") == both["sig_id"].to_list()


def test_headings_turn_the_order_over_and_keep_the_filter(served: Served) -> None:
    html = served.html("screens/one", id=served.screen.id, sort="effect_size", order="down", cell="HT29")
    heading = re.search(
        r'<th[^>]*aria-sort="descending"><a class="sort" id="sort-effect_size" href="([^"]*)"', html
    )
    assert heading is not None
    address = httpx.URL(unescape(heading[1]))
    assert dict(address.params) == {"id": served.screen.id, "sort": "effect_size", "cell": "HT29"}


@pytest.mark.parametrize(
    "parameters",
    [
        {"sort": HOSTILE, "order": HOSTILE, "page": HOSTILE, "fdr": HOSTILE},
        {"q": HOSTILE, "cell": HOSTILE, "type": HOSTILE},
        {"q": "%_\\*.[(" * 40, "page": "-3"},
        {"page": "9" * 40, "sort": "__class__"},
        {"page": "²", "q": "\x00\u202e\ud7ff"},
    ],
)
def test_hostile_addresses_are_answered_calmly_and_come_back_as_text(
    served: Served, parameters: dict[str, str]
) -> None:
    html = served.html("screens/one", id=served.screen.id, **parameters)
    assert "<script>alert" not in html
    assert 'id="hits"' in html


@pytest.mark.parametrize("identifier", ["", "../../etc", "%2e%2e/x", HOSTILE, "a" * 5000, "\x00"])
def test_a_screen_that_is_not_there_is_a_404_with_the_remedy(served: Served, identifier: str) -> None:
    for path in ("screens/one", "screens/progress", "part/screens/figure", "screens/profile"):
        answer = served.call("GET", f"/ui/{path}", params={"id": identifier, "name": "rank", "sig": "x"})
        assert answer.status_code == 404
        assert "<script>alert" not in answer.text
        assert "/v1/screens" in answer.text


def test_the_verdict_comes_before_the_hits_and_says_why_there_is_no_rate(served: Served) -> None:
    html = served.html("screens/one", id=served.screen.id)
    assert "Ranked, not tested" in html
    assert html.index("Ranked, not tested") < html.index('id="hits"') < html.index('id="rank"')
    assert ">FDR<" not in html


@pytest.mark.parametrize("name", ["rank", "effect", "responses", "likeness", "map"])
def test_each_figure_is_a_part_that_draws_what_it_names(served: Served, name: str) -> None:
    html = served.html("part/screens/figure", id=served.screen.id, name=name)
    assert "<h2>" in html and "<html" not in html
    spec = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    if spec is None:
        assert "predicts no spread" in html and name == "effect"
    else:
        assert json.loads(spec[1])["data"]


def test_points_of_the_rank_plot_lead_to_their_profiles(served: Served, hits: pl.DataFrame) -> None:
    html = served.html("part/screens/figure", id=served.screen.id, name="rank")
    spec = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert spec is not None
    addresses = [each for trace in json.loads(spec[1])["data"] for each in trace["customdata"]]
    named = {httpx.URL(each).params["sig"] for each in addresses}
    assert named == set(hits["sig_id"])


def test_a_figure_that_does_not_exist_is_a_404_that_names_the_others(served: Served) -> None:
    answer = served.call("GET", "/ui/part/screens/figure", params={"id": served.screen.id, "name": HOSTILE})
    assert answer.status_code == 404
    assert "likeness" in answer.text


def test_a_hit_leads_to_its_perturbation_and_to_its_stored_profile(
    served: Served, hits: pl.DataFrame
) -> None:
    first = hits.sort("rank").row(0, named=True)
    html = unescape(served.html("screens/one", id=served.screen.id))
    address = re.search(r'<td class="text name"><a href="([^"]*)"', html)
    assert address is not None
    asked = dict(httpx.URL(address[1]).params)
    assert asked["pert"] == first["cmap_name"] and asked["cell"] == first["cell_iname"]
    assert float(asked["dose"]) == first["pert_dose"] and asked["type"] == "trt_cp"
    profile = served.html("screens/profile", id=served.screen.id, sig=first["sig_id"])
    assert f"1 of {hits.height}" in profile and "24 of 24 genes" in profile


def test_every_file_is_listed_with_its_size_and_can_be_downloaded(served: Served) -> None:
    html = served.html("screens/one", id=served.screen.id)
    names = {path.name for path in served.out.iterdir() if path.is_file()}
    for name in names:
        address = f"/v1/screens/{served.screen.id}/artifacts/{name}"
        assert f'href="{address}"' in html
        assert served.call("GET", address).content == (served.out / name).read_bytes()
    assert "profiles.zarr: " in html


def test_the_form_offers_the_names_of_the_model_and_keeps_what_its_address_chose(served: Served) -> None:
    html = served.html(
        "screens/new", kind="pairs", cell_iname="HT29", pert_dose="10", title=HOSTILE, up="GENE1"
    )
    assert re.search(r'value="HT29" checked', html) and re.search(r'value="A375">', html)
    assert re.search(r'name="pert_dose" value="10" checked', html)
    assert re.search(r'value="pairs" checked', html)
    assert "<details open>" in html
    assert "<script>alert" not in html


def test_the_form_says_which_models_there_are_where_one_is_unknown(served: Served) -> None:
    answer = served.call("GET", "/ui/screens/new", params={"model": "nobody"})
    assert answer.status_code == 404
    assert "nobody" in answer.text


def test_the_page_has_no_inline_script_and_asks_no_other_server(served: Served) -> None:
    for path in ("screens", "screens/new", "screens/one"):
        html = served.html(path, id=served.screen.id)
        assert not re.search(r"<script(?![^>]*(src=|application/json))", html)
        assert not re.search(r"\son\w+=", html)
        assert not re.search(r'(src|href|action|hx-get)="(https?:)?//', html)


def test_without_screens_an_example_starts_one_and_the_page_says_what_a_screen_is(
    tiny_bundle: Path, tmp_path: Path, call_api: Any
) -> None:
    call = call_api(toys.screen_server(tiny_bundle, tmp_path, toys.JobsHere())[0])
    html = call("GET", "/ui/screens").text
    assert "No screen yet" in html and "Start this example" in html
    assert 'name="kind" value="compounds"' in html and 'name="cell_iname" value="A375"' in html


def test_a_server_without_a_folder_says_how_to_keep_screens(tiny_bundle: Path, call_api: Any) -> None:
    call = call_api(toys.screen_server(tiny_bundle, None, toys.JobsHere())[0])
    assert "screens: folder" in call("GET", "/ui/screens").text
    assert call("GET", "/ui/screens/new").status_code == 404


def test_an_example_is_made_of_what_the_model_knows() -> None:
    empty: dict[str, Any] = {"genes": [], "pert_types": [], "smiles": [], "doses": [], "times": []}
    genetic = Vocabulary(cell_lines=["A375"], compounds=[], targets=["TP53"], **empty)
    found = example_of(genetic, "default")
    assert found is not None and ("kind", "genes") in found.fields
    assert example_of(Vocabulary(cell_lines=["A375"], compounds=[], targets=[], **empty), "default") is None


def test_the_list_asks_again_only_while_something_runs() -> None:
    running = context_of(FixedScreens(screen(), screen(id="s2", state="finished")))
    assert "every 2s" in anyio.run(list_view, running, {}).body
    assert anyio.run(table_part, running, {}).status == 200
    ended = context_of(FixedScreens(screen(state="failed"), screen(id="s2", state="cancelled")))
    assert "every 2s" not in anyio.run(list_view, ended, {}).body
    assert anyio.run(table_part, ended, {}).status == 286


def test_progress_tells_share_rate_and_time_left_until_the_screen_ends() -> None:
    found = anyio.run(progress_part, context_of(FixedScreens(screen())), {"id": "s1"})
    assert found.status == 200
    assert 'aria-valuenow="25"' in found.body and 'data-cancel="s1"' in found.body
    assert "250 of 1,000 profiles · 50 profiles/s · about 15 s left" in found.body
    failed = screen(state="failed", message="rows, row 3: 'TP35' is <no> gene.")
    ended = anyio.run(progress_part, context_of(FixedScreens(failed)), {"id": "s1"})
    assert ended.status == 286
    assert "&lt;no&gt; gene" in ended.body and "data-cancel" not in ended.body


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "queued", "n_done": 0, "n_profiles": None}, "waiting for a worker"),
        ({"n_done": 0, "n_profiles": None}, "checking the library"),
        ({"n_done": 1000}, "writing tables and report"),
        ({"eta_s": None, "profiles_per_s": None}, "250 of 1,000 profiles"),
        ({"state": "cancelled"}, "250 profiles written"),
        ({"eta_s": 7200.0}, "250 of 1,000 profiles · 50 profiles/s · about 2.0 h left"),
    ],
)
def test_words_say_how_far_a_screen_is(changes: dict[str, Any], words: str) -> None:
    assert shown_screen(screen(**changes)).words == words


def test_who_may_only_predict_sees_screens_but_gets_no_form() -> None:
    reader = Caller("k1", "Rita", frozenset({"predict"}))
    views = importlib.import_module("pertcast_serve.page.views.screens").VIEWS
    assert "screens/one" in anyio.run(list_view, context_of(FixedScreens(screen()), reader), {}).body
    with pytest.raises(Refused, match="scope 'screen'"):
        anyio.run(views["screens/new"], context_of(FixedScreens(screen()), reader), {})
    nobody = Caller("k2", "Nora", frozenset())
    with pytest.raises(Refused, match="scope 'predict'"):
        anyio.run(list_view, context_of(FixedScreens(screen()), nobody), {})
