"""The first view in HTML: what it shows of a prediction, what it chooses, what it refuses and how."""

from __future__ import annotations

import ast
import html as html_module
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import page_toys as toys
import pytest
from pertcast_serve.access.caller import Caller
from pertcast_serve.config import AccessSettings, ServeConfig
from pertcast_serve.page.html import link, part
from pertcast_serve.page.pages import Pages
from pertcast_serve.page.views.asked import Asked, asked_for, candidates, types_for
from pertcast_serve.page.views.choices import MOST_CHIPS, chip_groups
from pertcast_serve.page.views.copies import predict_curl, predict_python
from pertcast_serve.page.views.pathways import plain_terms
from pertcast_serve.page.views.response import MOST_DRAWN, what_is_drawn
from pertcast_serve.schemas.models import Vocabulary
from pertcast_serve.schemas.predict import PredictHead
from pertcast_serve.services import PredictedProfiles

Call = Callable[..., Any]
KNOCK_OUT = {"pert": "GENE2", "type": "trt_xpr", "cell": "HT29"}
COMPOUND = {"pert": "drug-1", "type": "trt_cp", "cell": "HT29", "dose": 10.0, "time": 24.0}


@pytest.fixture(scope="module")
def page(client: Any, tiny_bundle: Path, call_api: Callable[..., Call], tmp_path_factory: Any) -> Call:
    sets = toys.write_sets(tmp_path_factory.mktemp("page") / "toy.gmt")
    config = ServeConfig(models={"default": tiny_bundle}, gene_sets={"toy": sets})
    return call_api(toys.page_api(client, config))


@pytest.fixture(scope="module")
def bare_page(client: Any, tiny_bundle: Path, call_api: Callable[..., Call]) -> Call:
    """Return a server without gene sets and libraries."""
    return call_api(toys.page_api(client, ServeConfig(models={"default": tiny_bundle})))


def seen(page: Call, address: str, status: int = 200) -> Any:
    answer = page("GET", address)
    assert answer.status_code == status, answer.text
    return toys.Seen.of(answer.text)


def figures_of(text: str) -> list[Any]:
    return [
        json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', text)
    ]


def vocabulary(**changes: Any) -> Vocabulary:
    known = {
        "genes": ["A1", "B1"],
        "cell_lines": ["HT29", "MCF7"],
        "pert_types": ["trt_cp", "trt_sh", "trt_xpr"],
        "compounds": ["drug"],
        "smiles": ["CCO"],
        "targets": ["B1", "TP53"],
        "doses": [0.1, 3.0, 11.0],
        "times": [6.0, 24.0, 96.0],
    }
    return Vocabulary(**(known | changes))


def test_without_parameters_it_shows_an_example_that_training_has_seen_and_says_so(page: Call) -> None:
    shown = seen(page, "/ui")
    assert "An example from the model's own vocabulary" in shown.text
    assert "seen in training" in shown.text
    assert re.search(r"GENE\d knock-out in (A375|HT29)", shown.text)


def test_the_title_names_the_condition_and_the_line_below_it_the_model(page: Call, client: Any) -> None:
    shown = seen(page, link("perturbation", **COMPOUND))
    assert "drug-1 10 uM in HT29" in shown.text
    assert f"bundle {client.service.bundle[:7]} · 24 genes · 24 h" in shown.text
    assert "An example" not in shown.text


def test_a_condition_unlike_the_training_says_that_it_extrapolates_and_how_far(page: Call) -> None:
    shown = seen(page, link("perturbation", pert="new", type="trt_cp", smiles="C1CCCCC1CCCCCCCl"))
    assert re.search(r"extrapolation, distance 0\.\d\d", shown.text)
    assert "The nearest perturbation of the training has distance" in shown.text


def test_chips_lead_to_the_same_condition_with_one_field_changed(page: Call) -> None:
    shown = seen(page, link("perturbation", **COMPOUND))
    chips = [a for a in shown.attributes("a") if a.get("class", "").startswith("chip")]
    chosen = [a["href"] for a in chips if a.get("aria-current") == "true"]
    assert set(chosen) == {link("perturbation", **COMPOUND)}
    assert link("perturbation", **COMPOUND | {"cell": "A375"}) in [a["href"] for a in chips]
    assert link("perturbation", **COMPOUND | {"dose": 1.0}) in [a["href"] for a in chips]


def test_the_strongest_genes_are_those_of_the_endpoint(page: Call) -> None:
    condition = {"pert_id": "GENE2", "pert_type": "trt_xpr", "cell_iname": "HT29", "pert_time": 24.0}
    answer = page("POST", "/v1/predict", json={"conditions": [condition]}).json()
    mean = np.array(answer["mean"])
    genes = page("GET", "/v1/metadata").json()["genes"]
    expected = [genes[index] for index in np.argsort(-np.abs(mean), kind="stable")[:20]]
    text = page("GET", link("perturbation", **KNOCK_OUT)).text
    table = text[text.index("Strongest genes as a table") :]
    assert re.findall(r'<td class="text">(?:<a [^>]*>)?(GENE\d+)', table)[:20] == expected


def test_the_figure_draws_every_gene_of_the_profile(page: Call) -> None:
    (drawn,) = figures_of(page("GET", part("perturbation/response", **KNOCK_OUT)).text)
    assert len(drawn["data"][0]["text"]) == 24
    assert "predicted response (log2 difference)" in json.dumps(drawn["layout"]["xaxis"])


def test_of_a_long_profile_the_strongest_are_drawn_and_the_rest_is_counted() -> None:
    mean = np.random.default_rng(0).standard_normal((1, 12_328)).astype(np.float32)
    head = PredictHead(
        model="m@1", bundle="b", rows_per_pass=1, gene_space="g", n_genes=12_328, items=[], errors=[]
    )
    found = PredictedProfiles(head, [f"G{i}" for i in range(12_328)], mean, mean**2)
    assert what_is_drawn(found).startswith(
        f"the {MOST_DRAWN // 2:,} strongest of 12,328 genes and one in 8 of"
    )


def test_an_unknown_name_is_refused_with_links_to_the_nearest(page: Call) -> None:
    shown = seen(page, link("perturbation", **KNOCK_OUT | {"pert": "GENE222"}), 422)
    assert "Did you mean" in shown.text
    assert link("perturbation", **KNOCK_OUT | {"pert": "GENE22", "time": 24.0}) in shown.addresses()


def test_an_unknown_cell_line_is_refused_with_links_to_the_nearest(page: Call) -> None:
    shown = seen(page, link("perturbation", **KNOCK_OUT | {"cell": "HT28"}), 422)
    assert link("perturbation", **KNOCK_OUT | {"time": 24.0}) in shown.addresses()


def test_a_new_compound_is_asked_for_its_structure_and_then_predicted(page: Call) -> None:
    shown = seen(page, link("perturbation", pert="aspirin", type="trt_cp"), 422)
    assert {"id": "smiles", "name": "smiles"}.items() <= shown.attributes("input")[-1].items()
    kept = {each["name"]: each["value"] for each in shown.attributes("input") if each.get("type") == "hidden"}
    predicted = seen(page, link("perturbation", **kept | {"smiles": "CC(=O)Oc1ccccc1C(=O)O"}))
    assert "aspirin 10 uM in" in predicted.text


@pytest.mark.parametrize("dose", ["much", "-1", "0", "nan", "inf", "1e400"])
def test_a_dose_that_is_no_dose_is_refused_with_the_remedy(page: Call, dose: str) -> None:
    shown = seen(page, link("perturbation", pert="drug-1", dose=dose), 422)
    assert "give a number of uM above 0, or leave it out" in shown.text


def test_an_unknown_model_or_version_is_told(page: Call) -> None:
    assert "There is no model" in seen(page, link("perturbation", model="other"), 404).text
    assert "Ask for default@" in seen(page, link("perturbation", model="default@000"), 404).text


def test_a_permalink_names_the_version_and_every_choice(page: Call, client: Any) -> None:
    shown = seen(page, "/ui")
    (address,) = [a["href"] for a in shown.attributes("a") if "model=default%40" in a["href"]]
    assert client.service.name.replace("@", "%40") in address
    again = seen(page, address)
    assert re.search(r"GENE\d knock-out in (A375|HT29)", again.text)
    assert "An example" not in again.text


def test_pathways_draw_the_scores_of_the_endpoint_and_say_what_was_dropped(page: Call) -> None:
    text = page("GET", part("perturbation/enrichment", **KNOCK_OUT)).text
    (drawn,) = figures_of(text)
    condition = {"pert_id": "GENE2", "pert_type": "trt_xpr", "cell_iname": "HT29", "pert_time": 24.0}
    answer = page("POST", "/v1/enrichment", json={"condition": condition, "gene_sets": "toy"}).json()
    expected = sorted((row["nes"] for row in answer["rows"]), reverse=True)
    assert [float(each) for each in drawn["data"][0]["text"]] == pytest.approx(expected, abs=0.006)
    assert "Background: the 24 predicted genes. 1 of 3 sets dropped (fewer than 5 genes)." in text
    assert all(
        address.startswith("/ui/part/perturbation/running-sum?") for address in drawn["data"][0]["customdata"]
    )


def test_the_table_of_gene_sets_leads_to_the_running_sum_of_each(page: Call) -> None:
    shown = seen(page, part("perturbation/gene-sets", **KNOCK_OUT))
    rows = [a for a in shown.attributes("a") if "term=" in a["href"]]
    assert {re.search(r"term=(\w+)", a["href"]).group(1) for a in rows} == {"TOY_EARLY", "TOY_LATE"}  # type: ignore[union-attr]
    assert all(a["href"] == a["hx-get"].replace("/ui/part/", "/ui/") for a in rows)
    assert "TOY_SMALL" in shown.text
    sums = page("GET", rows[0]["hx-get"]).text
    (drawn,) = figures_of(sums)
    assert len(drawn["data"]) == 2
    assert "leading edge" in sums


def test_a_running_sum_without_a_name_or_of_a_dropped_set_says_what_to_do(page: Call) -> None:
    assert "Name a gene set" in seen(page, part("perturbation/running-sum", **KNOCK_OUT), 422).text
    dropped = part("perturbation/running-sum", **KNOCK_OUT, term="TOY_SMALL")
    assert "fewer than 5 genes" in seen(page, dropped, 422).text
    unknown = part("perturbation/running-sum", **KNOCK_OUT, term="TOY_EARLI")
    assert "TOY_EARLY" in seen(page, unknown, 404).text


def test_without_gene_sets_it_says_how_to_add_them(bare_page: Call) -> None:
    shown = seen(bare_page, part("perturbation/enrichment", **KNOCK_OUT))
    assert "gene_sets: {hallmark: hallmark.gmt}" in shown.text


def test_that_no_gene_set_fits_the_genes_is_an_answer(
    client: Any, tiny_bundle: Path, call_api: Callable[..., Call], tmp_path: Path
) -> None:
    sets = tmp_path / "other.gmt"
    sets.write_text("OTHER\t\tX1\tX2\tX3\tX4\tX5\tX6\n")
    config = ServeConfig(models={"default": tiny_bundle}, gene_sets={"other": sets})
    page = call_api(toys.page_api(client, config))
    shown = seen(page, part("perturbation/enrichment", **KNOCK_OUT))
    assert "No gene set was scored" in shown.text


def test_neighbours_lead_to_their_own_views(page: Call) -> None:
    shown = seen(page, part("perturbation/neighbors", **COMPOUND))
    rows = [a["href"] for a in shown.attributes("a") if a["href"].startswith("/ui/perturbation?")]
    assert len(rows) >= 8
    assert all("cell=HT29" in address and "type=trt_cp" in address for address in rows)
    assert "Nearest perturbations" in shown.text
    assert "Opposite perturbations" in shown.text
    assert seen(page, rows[0]).text


def test_the_effect_in_every_cell_line_is_that_of_the_endpoint(page: Call) -> None:
    text = page("GET", part("perturbation/lines", **COMPOUND)).text
    conditions = [
        {"pert_id": "drug-1", "pert_dose": 10.0, "pert_time": 24.0, "cell_iname": line}
        for line in ("A375", "HT29")
    ]
    answer = page("POST", "/v1/predict", json={"conditions": conditions}).json()
    effects = np.sqrt(np.square(np.array(answer["mean"]).reshape(2, -1)).mean(axis=1))
    shown = re.findall(r'cell=(A375|HT29)[^>]*>\1</a></td><td class="number">([\d.]+)', text)
    assert {line: float(effect) for line, effect in shown} == pytest.approx(
        dict(zip(("A375", "HT29"), effects, strict=True)), rel=0.01
    )


def test_a_compound_with_doses_has_a_curve_and_a_knock_out_has_none(page: Call) -> None:
    assert "Across doses" in seen(page, link("perturbation", **COMPOUND)).text
    assert "Across doses" not in seen(page, link("perturbation", **KNOCK_OUT)).text
    text = page("GET", part("perturbation/doses", **COMPOUND)).text
    (drawn,) = figures_of(text)
    assert drawn["layout"]["xaxis"]["type"] == "log"
    assert [float(dose) for dose in re.findall(r">([\d.]+) uM</a>", text)] == [1.0, 10.0]


def test_a_part_of_a_condition_that_is_refused_says_why(page: Call) -> None:
    for name in ("lines", "doses"):
        shown = seen(page, part(f"perturbation/{name}", pert="none", type="trt_cp"))
        assert "Nothing to compare" in shown.text
        assert "none" in shown.text


@pytest.mark.parametrize(
    ("typed", "first"),
    [("gene1", "GENE1"), ("GENE2", "GENE2"), ("drug-11", "drug-11"), ("rug-3", "drug-3"), ("ENE7", "GENE7")],
)
def test_search_finds_names_exactly_by_their_beginning_and_by_a_part(
    page: Call, typed: str, first: str
) -> None:
    shown = seen(page, part("search", q=typed))
    options = [a for a in shown.attributes("a") if a.get("role") == "option"]
    assert f"pert={first}" in options[0]["href"]
    assert len({a["id"] for a in options}) == len(options)


def test_search_offers_close_spellings_and_says_that_they_are(page: Call) -> None:
    shown = seen(page, part("search", q="dgur-3"))
    assert "Did you mean" in shown.text
    assert any("pert=drug-" in address for address in shown.addresses())
    nothing = seen(page, part("search", q="zzzzzzzzzz"))
    assert "24 genes and 12 compounds are known" in nothing.text


def test_search_offers_to_predict_a_structure(page: Call) -> None:
    shown = seen(page, part("search", q="CC(=O)Oc1ccccc1"))
    (address,) = [address for address in shown.addresses() if "smiles=" in address]
    assert "structure 10 uM in" in seen(page, address).text


def test_what_is_copied_as_curl_asks_for_the_same_prediction(page: Call) -> None:
    shown = seen(page, link("perturbation", **COMPOUND))
    copied = {button["data-copy"] for button in shown.attributes("button") if "data-copy" in button}
    (curl,) = [text for text in copied if text.startswith("curl")]
    words = shlex.split(curl)
    body = json.loads(words[words.index("-d") + 1])
    assert words[2] == "{origin}/v1/predict"
    assert page("POST", "/v1/predict", json=body).json()["items"][0]["sig_id"]
    downloads = [json.loads(b["data-body"]) for b in shown.attributes("button") if "data-body" in b]
    assert downloads == [body] * 3


def test_copied_commands_survive_a_shell_and_carry_a_key_only_where_one_is_needed() -> None:
    asked = Asked(None, "it's $(x) `y`", "trt_xpr", "HT29", None, None)
    words = shlex.split(predict_curl(asked, is_open=True))
    assert json.loads(words[-1])["conditions"][0]["pert_id"] == asked.pert
    assert "Authorization" not in predict_curl(asked, is_open=True)
    assert '-H "Authorization: Bearer $PERTCAST_KEY"' in predict_curl(asked, is_open=False)


def test_copied_python_is_python_that_asks_for_the_same_condition() -> None:
    asked = Asked("other@1", "a'b\"c", "trt_cp", "HT29", 10.0, 24.0)
    for is_open in (True, False):
        tree = ast.parse(predict_python(asked, is_open))
        call = next(
            n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "client.predict"
        )
        (condition,) = ast.literal_eval(call.args[0])
        assert condition == {
            "pert_id": "a'b\"c",
            "pert_type": "trt_cp",
            "cell_iname": "HT29",
            "pert_dose": 10.0,
            "pert_time": 24.0,
        }
        assert ("PERTCAST_KEY" in predict_python(asked, is_open)) == (not is_open)


def test_downloads_name_tables_that_the_endpoint_gives(page: Call) -> None:
    shown = seen(page, link("perturbation", **COMPOUND))
    buttons = [b for b in shown.attributes("button") if "data-download" in b]
    assert [b["data-file"].rsplit(".", 1)[1] for b in buttons] == ["csv", "parquet", "json"]
    for button in buttons:
        headers = {"Accept": button["data-accept"], "Content-Type": "application/json"}
        answer = page("POST", button["data-download"], content=button["data-body"], headers=headers)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(button["data-accept"])


def test_where_keys_are_needed_the_page_names_the_caller_and_the_copied_command_a_key(
    client: Any, tiny_bundle: Path
) -> None:
    config = ServeConfig(models={"default": tiny_bundle}, access=AccessSettings(keys=Path("keys.json")))
    analysis: Any = None
    alice = Caller("alice", "<alice>", frozenset(("predict",)))
    _, html = anyio.run(Pages(client, analysis, None, config).render, "perturbation", {}, alice)
    assert "PERTCAST_KEY" in html
    assert "&lt;alice&gt;" in html
    assert "Sign out" in html


def test_choices_that_an_address_leaves_out_are_usual_ones() -> None:
    asked = asked_for({}, vocabulary())
    assert (asked.pert, asked.pert_type, asked.cell, asked.dose, asked.time) == (
        "TP53",
        "trt_xpr",
        "MCF7",
        None,
        96.0,
    )
    compound = asked_for({"pert": "drug"}, vocabulary())
    assert (compound.pert_type, compound.dose, compound.time) == ("trt_cp", 11.0, 24.0)
    assert asked_for({"pert": "drug"}, vocabulary(doses=[], times=[])).dose is None


def test_an_address_that_names_all_means_one_condition() -> None:
    assert len(candidates(KNOCK_OUT, vocabulary())) == 1
    assert {each.pert_type for each in candidates({"pert": "B1"}, vocabulary())} == {
        "trt_cp",
        "trt_sh",
        "trt_xpr",
    }
    assert {each.pert for each in candidates({}, vocabulary())} == {"TP53", "B1"}


def test_a_gene_is_offered_genetic_types_and_a_compound_its_own() -> None:
    known = vocabulary()
    assert types_for(asked_for({"pert": "B1"}, known), known) == ["trt_sh", "trt_xpr"]
    assert types_for(asked_for({"pert": "drug"}, known), known) == ["trt_cp"]


def test_many_cell_lines_are_a_menu_with_the_chosen_one_in_sight() -> None:
    known = vocabulary(cell_lines=[f"L{number:02}" for number in range(40)])
    asked = asked_for({"pert": "B1", "cell": "L33"}, known)
    (group,) = [each for each in chip_groups(asked, known) if each.label == "Cell line"]
    assert len(group.shown) == MOST_CHIPS
    assert [text for text, _, is_on in group.shown if is_on] == ["L33"]
    assert group.all_text == "all 40 lines"
    assert len(group.every) == 40


def test_terms_lose_the_prefix_that_all_share() -> None:
    assert plain_terms(["HALLMARK_P53_PATHWAY", "HALLMARK_APOPTOSIS"]) == {
        "HALLMARK_P53_PATHWAY": "P53 PATHWAY",
        "HALLMARK_APOPTOSIS": "APOPTOSIS",
    }
    assert plain_terms(["A_B", "C_D"]) == {"A_B": "A B", "C_D": "C D"}
    assert plain_terms(["ONE_SET"]) == {"ONE_SET": "ONE SET"}


def test_a_permalink_written_by_people_has_plain_numbers() -> None:
    assert link("perturbation", pert="A+B", dose=10.0, time=0.5, cell=None, model="") == (
        "/ui/perturbation?pert=A%2BB&dose=10&time=0.5"
    )
    assert html_module.unescape(part("search", q="a&b")) == "/ui/part/search?q=a%26b"
