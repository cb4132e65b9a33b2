"""The view of a model: its facts are the card's, its scores are those of the evaluation beside its bundle."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import page_toys as pages
import polars as pl
import pytest
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.trust.table import TrustFacts, evaluate
from pertcast_serve.config import Limits, PredictorSettings, ServeConfig
from pertcast_serve.page.views import model as model_view
from pertcast_serve.page.views.model_evaluation import evaluation_beside
from pertcast_serve.problems import Unavailable

Call = Callable[..., Any]
ATTACK = '"><script>alert(1)</script>'


def trust_json(bundle: str, title: str = "Response MLP") -> str:
    """Evaluate made-up predictions; the result says that they are those of a bundle."""
    random = np.random.default_rng(0)
    truth = random.normal(size=(24, 30)).astype(np.float32)
    rows = np.arange(24)
    held = HeldOut(
        conditions=pl.DataFrame({"condition_id": [f"c{row}" for row in rows], "cell_iname": ["A", "B"] * 12}),
        genes=tuple(f"G{gene}" for gene in range(30)),
        truth=truth,
        control=np.zeros_like(truth),
        train_perturbed_mean=np.zeros((1, 30), dtype=np.float32),
        train_mean_index=np.zeros(24, dtype=np.int64),
        pool=rows % 2,
        cluster=rows,
        own_gene=np.full((24, 1), -1),
    )
    guesses = {
        "mlp": truth + random.normal(size=truth.shape).astype(np.float32),
        "ridge": truth + 2 * random.normal(size=truth.shape).astype(np.float32),
        "no_change": np.zeros_like(truth),
    }
    facts = TrustFacts(
        model="mlp", title=title, bundle=bundle, split_kind="unseen_compound", folds=(0,), n_genes=30
    )
    titles = {"ridge": "Ridge <b>fitted</b>", "no_change": "No change"}
    return evaluate(held, guesses, model="mlp", facts=facts, titles=titles, n_draws=50).to_json()


@pytest.fixture
def run(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A run that was not evaluated."""
    shutil.copytree(tiny_bundle, tmp_path / "mlp run" / "bundle")
    return tmp_path / "mlp run"


@pytest.fixture
def serve(client: Any, call_api: Callable[..., Call]) -> Callable[..., Call]:
    def make(**options: Any) -> Call:
        config = ServeConfig(**options)
        found = type(client)(config, client.config.models["default"])
        call: Call = call_api(pages.page_api(found, config))
        return call

    return make


def write_evaluation(run: Path, text: str) -> None:
    (run / "evaluation").mkdir(exist_ok=True)
    (run / "evaluation" / "trust.json").write_text(text)


def text_of(answer: Any) -> str:
    said: str = pages.Seen.of(answer.text).text
    return said


def test_the_facts_are_those_of_the_card_and_the_metadata(serve: Callable[..., Call], run: Path) -> None:
    limits = Limits(conditions=77)
    call = serve(models={"main": run}, limits=limits, predictor=PredictorSettings(max_replicas=5))
    answer = call("GET", "/ui/model")
    card, metadata = call("GET", "/v1/models/main").json(), call("GET", "/v1/metadata").json()
    said = text_of(answer)
    assert answer.status_code == 200
    for name in ("bundle", "data_hash", "licence", "version", "title", "family"):
        assert str(card[name]) in said, name
    optimiser = card["config"].pop("optimiser")
    settings = card["config"] | {f"optimiser.{name}": value for name, value in optimiser.items()}
    for name, value in settings.items():
        assert f"{name} {value}" in said, name
    assert f"perturbations of the training {metadata['n_perturbations']}" in said
    assert "cell lines 2 A375, HT29" in said and "doses in uM 2 1, 10" in said and "times in h 1 24" in said
    assert f"gene space {metadata['gene_space']}" in said
    assert "conditions a request 77" in said and "1 to 5 by load, on cpu" in said
    assert "pearson_delta 0.250" in said and "undefined –" in said


def test_a_model_that_was_not_evaluated_says_so_and_with_which_command(
    serve: Callable[..., Call], run: Path
) -> None:
    said = text_of(serve(models={"main": run})("GET", "/ui/model"))
    assert "was not evaluated on held-out conditions" in said
    assert "pertcast evaluate mlp run" in said
    assert "What this model does not show" in said
    assert "Without baselines beside them they do not say whether the model is good" in said


def test_scores_stand_beside_those_of_all_baselines_as_the_evaluation_has_them(
    serve: Callable[..., Call], run: Path, tiny_bundle: Path
) -> None:
    version = serve(models={"main": run})("GET", "/v1/models/main").json()["version"]
    text = trust_json(version)
    write_evaluation(run, text)
    answer = serve(models={"main": run})("GET", "/ui/model")
    found, said = json.loads(text), text_of(answer)
    assert found["verdict"]["text"] in said
    for contender in found["table"]:
        row = re.search(
            rf"<tr[^>]*><td[^>]*>{re.escape(html.escape(contender['title']))}</td>(.*?)</tr>", answer.text
        )
        assert row is not None, contender["title"]
        shown = re.findall(r">([^<>]*)</td>", row[1])
        primary = contender["metrics"][found["primary_metric"]]
        assert shown[0].split(" ±")[0] == ("–" if primary["mean"] is None else f"{primary['mean']:.3f}")
        perturbed = contender["metrics"]["pearson_delta_pert"]["mean"]
        assert shown[1] == ("–" if perturbed is None else f"{perturbed:.3f}")
    for stratum in found["strata"]:
        assert f"{stratum['name']} {stratum['n_conditions']} {stratum['gain']['mean']:.3f}" in said
    assert all(each in said for each in [*found["not_shown"], *found["notes"]])
    assert "not evaluated" not in said
    # The bundle's own folder, named by itself, has its evaluation too.
    assert found["verdict"]["text"] in text_of(serve(models={"main": run / "bundle"})("GET", "/ui/model"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"schema_version": 1}', "cannot be read"),
        ('{"schema_version": 2, "table": 3}', "cannot be read"),
        ("other", "one of another bundle (0123456)"),
    ],
)
def test_an_evaluation_that_is_damaged_or_of_another_bundle_is_not_shown(
    run: Path, text: str, said: str
) -> None:
    write_evaluation(run, trust_json("0123456789ab") if text == "other" else text)
    found = evaluation_beside(run, "abcdefabcdef")
    assert found.evaluation is None and said in found.said


def test_all_served_models_are_listed_and_lead_to_their_cards(serve: Callable[..., Call], run: Path) -> None:
    call = serve(models={"main": run, "other": run})
    seen = pages.Seen.of(call("GET", "/ui/model?model=other").text)
    assert {"/ui/model?model=main", "/ui/model?model=other"} <= set(seen.addresses())
    assert "the default" in seen.text
    for address in seen.addresses():
        if address.startswith("/ui/model"):
            assert call("GET", address).status_code == 200
    assert {"/docs", "/metrics", "/openapi.json"} <= set(seen.addresses())


@pytest.mark.parametrize("name", ["nothing", ATTACK, "main@000000000000", "../..", "x" * 5000])
def test_a_model_that_is_not_served_is_refused_with_what_to_ask_for(
    serve: Callable[..., Call], run: Path, name: str
) -> None:
    answer = serve(models={"main": run})("GET", "/ui/model", params={"model": name})
    assert answer.status_code == 404
    assert "<script>alert" not in answer.text
    assert "/v1/models lists all" in answer.text or "Ask for main@" in answer.text


def test_names_of_an_evaluation_are_escaped(serve: Callable[..., Call], run: Path) -> None:
    call = serve(models={"main": run})
    version = call("GET", "/v1/models/main").json()["version"]
    write_evaluation(run, trust_json(version).replace("Ridge <b>", f"Ridge {ATTACK}".replace('"', "'")))
    text = call("GET", "/ui/model").text
    assert "Ridge" in text and "<script>alert" not in text and "<b>fitted" not in text


def test_health_is_ready_only_when_a_predictor_says_so(
    client: Any, call_api: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = call_api(pages.page_api(client, client.config))
    assert "ready" in call("GET", "/ui/part/model/health").text
    assert "not ready" not in call("GET", "/ui/part/model/health").text

    async def busy(self: Any) -> None:
        raise Unavailable("All replicas are busy.")

    async def silent(self: Any) -> None:
        import anyio

        await anyio.sleep(5)

    monkeypatch.setattr(type(client), "check", busy)
    assert "All replicas are busy" in call("GET", "/ui/part/model/health").text
    monkeypatch.setattr(type(client), "check", silent)
    monkeypatch.setattr(model_view, "_CHECK_S", 0.01)
    assert "not ready" in call("GET", "/ui/part/model/health").text
