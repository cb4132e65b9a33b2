"""Several types of perturbation: each is measured against its own mean, and shown beside the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.encoding import ConditionEncoder, EncoderSpec, make_training_data
from pertcast.evaluation.from_store.contenders import SharedSums, fit_baselines, forecast
from pertcast.evaluation.from_store.held_out_part import HeldOutPart, held_out_part
from pertcast.evaluation.from_store.training_facts import mean_rows, mean_training_responses
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard, score_conditions
from pertcast.evaluation.trust.table import TrustFacts, TrustTable, make_board, trust_table
from pertcast.evaluation.trust.type_strata import by_type, type_groups
from pertcast.report.trust_report import trust_report
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore, create_store

Array = NDArray[Any]
TYPES = ("trt_oe", "trt_sh", "trt_xpr")
SIGN = {"trt_oe": -0.8, "trt_sh": 0.7, "trt_xpr": 1.0}
N_PERTURBED, N_GENES = 40, 60


def signatures(path: Path, types: tuple[str, ...] = TYPES) -> ExpressionStore:
    """Signatures of genes by several types: mean of the type + sign x effect of the gene + noise."""
    generator = np.random.default_rng(0)
    means = dict(zip(TYPES, generator.normal(0, 1.5, (3, N_GENES)), strict=True))
    effects = generator.normal(0, 1, (N_PERTURBED, N_GENES))
    names = [(gene, kind) for gene in range(N_PERTURBED) for kind in types]
    values = np.stack([means[kind] + SIGN[kind] * effects[gene] for gene, kind in names])
    values += generator.normal(0, 0.3, values.shape)
    obs = pl.DataFrame(
        {
            "sig_id": [f"s{i}" for i in range(len(names))],
            "cell_iname": ["A"] * len(names),
            "pert_type": [kind for _, kind in names],
            "pert_id": [f"G{gene}" for gene, _ in names],
            "targets": [f"G{gene}" for gene, _ in names],
        }
    )
    return create_store(
        path,
        obs=obs,
        var=pl.DataFrame({"gene_symbol": [f"G{i}" for i in range(N_GENES)]}),
        batches=[values.astype(np.float32)],
        measure="response",
        normalisation="z_score",
    )


class Fold:
    """A fold of a random split, encoded and measured."""

    def __init__(self, store: ExpressionStore) -> None:
        self.store, reader = store, store.reader()
        self.split = make_split(store, "random")
        self.train_rows = self.split.rows(store, 0, "train")
        self.encoder = ConditionEncoder.fit(store, self.train_rows, EncoderSpec(), reader=reader)
        data = make_training_data(store, self.split, 0, self.encoder, batch_size=64, reader=reader)
        self.sums = SharedSums(data.statistics)
        self.statistics = self.sums.statistics(self.encoder.space)
        rows = self.split.rows(store, 0, "test")
        self.part: HeldOutPart = held_out_part(store, reader, rows, self.encoder, self.statistics)


@pytest.fixture(scope="module")
def fold(tmp_path_factory: pytest.TempPathFactory) -> Fold:
    return Fold(signatures(tmp_path_factory.mktemp("types") / "store"))


def test_a_response_is_measured_against_the_mean_training_response_of_its_type(fold: Fold) -> None:
    values = fold.store.reader().dense(fold.train_rows)
    kinds = fold.store.obs["pert_type"].to_numpy()[fold.train_rows]
    held = fold.part.held
    expected = np.stack([values[kinds == kind].mean(axis=0) for kind in held.conditions["pert_type"]])
    np.testing.assert_allclose(held.train_means(slice(None)), expected, rtol=1e-4, atol=1e-5)


def test_conditions_are_told_apart_within_their_type(fold: Fold) -> None:
    held = fold.part.held
    assert len(np.unique(held.pool)) == 3
    for pool in np.unique(held.pool):
        assert held.conditions.filter(pl.Series(held.pool == pool))["pert_type"].n_unique() == 1


def test_other_types_are_counted_that_training_measured(fold: Fold) -> None:
    obs = fold.store.obs[fold.train_rows]
    table = fold.part.held.conditions
    for gene, kind, found in table.select("pert_id", "pert_type", "n_other_types").iter_rows():
        others = obs.filter((pl.col("pert_id") == gene) & (pl.col("pert_type") != kind))
        assert found == others["pert_type"].n_unique()
    assert table["n_other_types"].n_unique() > 1


def test_a_store_of_one_type_is_judged_as_before(tmp_path: Path) -> None:
    one = Fold(signatures(tmp_path / "one", ("trt_xpr",)))
    held = one.part.held
    assert "n_other_types" not in held.conditions.columns
    context = one.encoder.training_conditions.context
    means = one.statistics.context_means(context, 1).numpy().astype(np.float32)
    np.testing.assert_array_equal(held.train_means(slice(None)), means[[0] * held.n_conditions])
    assert not held.pool.any()


def test_means_by_context_alone_count_for_all_types(fold: Fold) -> None:
    means = mean_training_responses(fold.statistics, fold.encoder)
    by_context = means[:, -1]
    rows = mean_rows(by_context, fold.encoder.space)
    assert rows.shape == mean_rows(means, fold.encoder.space).shape
    np.testing.assert_array_equal(rows.reshape(means.shape), np.repeat(by_context[:, None], 4, axis=1))


def test_baselines_that_know_types_are_far_stronger_and_the_mean_of_the_type_is_the_zero(fold: Fold) -> None:
    space, trained = fold.encoder.space, fold.encoder.training_conditions
    scores = {}
    for each in fit_baselines(space, trained, fold.sums):
        found = forecast(each.model, fold.part.inputs.conditions, fold.part.inputs).mean
        scores[each.contender.name] = score_conditions(found, fold.part.held, each.contender.name)
    mean = {name: each["pearson_delta"].mean() for name, each in scores.items()}
    assert mean["type_mean"] > mean["train_mean"] + 0.2
    assert mean["transferred_types"] > mean["type_mean"] + 0.05
    assert scores["type_mean"]["r2_train_mean_pooled"].mean() == pytest.approx(0.0, abs=1e-5)
    assert np.isnan(scores["type_mean"]["retrieval_rank"]).all()
    told = fold.part.held.conditions["n_other_types"].to_numpy() > 0
    rank = scores["transferred_types"]["retrieval_rank"]
    assert np.nanmean(rank[told]) < 0.1
    assert np.isnan(rank[~told]).all(), "all that is left is the mean and the own gene, which is left out"


def board(kinds: list[str], others: list[int] | None = None, seed: int = 0) -> ScoreBoard:
    """The model knows knock-outs well and over-expression not at all."""
    random = np.random.default_rng(seed)
    n = len(kinds)
    truth = random.normal(0, 1, (n, N_GENES))
    noise = np.array([{"trt_oe": 8.0, "trt_sh": 1.0, "trt_xpr": 0.2}[kind] for kind in kinds])
    columns: dict[str, Any] = {
        "condition_id": [f"condition {i}" for i in range(n)],
        "cluster": [f"P{i:03d}" for i in range(n)],
        "pert_type": kinds,
    }
    held = HeldOut(
        conditions=pl.DataFrame(columns | ({} if others is None else {"n_other_types": others})),
        genes=tuple(f"g{i}" for i in range(N_GENES)),
        truth=truth.astype(np.float32),
        control=np.zeros((n, N_GENES), np.float32),
        train_perturbed_mean=np.ones((1, N_GENES), np.float32),
        train_mean_index=np.zeros(n, np.int64),
        pool=np.unique(kinds, return_inverse=True)[1].astype(np.int64),
        cluster=np.arange(n),
        own_gene=np.full((n, 1), -1),
    )
    said = {
        "model": truth + random.normal(0, 1, truth.shape) * noise[:, None],
        "weak": 0.5 * truth + random.normal(0, 1, truth.shape),
    }
    contenders = [Contender("model", "Model", "model"), Contender("weak", "Weak", "baseline")]
    return make_board(held, said, contenders)


KINDS = ["trt_oe"] * 6 + ["trt_sh"] * 7 + ["trt_xpr"] * 8
OTHERS = [0, 1, 2] * 7


def judged(made: ScoreBoard) -> TrustTable:
    return trust_table(made, TrustFacts(model="model", title="Model"), n_draws=200)


def test_strata_say_in_which_type_the_advantage_lies() -> None:
    gains = {stratum.name: stratum for stratum in judged(board(KINDS, OTHERS)).strata}
    assert gains["knockout"].gain.low > 0 and gains["overexpression"].gain.high < 0
    assert gains["knockout"].n_conditions == 8 and gains["1 other type in training"].n_conditions == 7
    assert gains["knockout"].group == "perturbation type"
    assert gains["no other type in training"].group == "other types measured"


def test_every_stratum_of_types_has_the_means_of_its_own_conditions() -> None:
    made = board(KINDS, OTHERS)
    found = {stratum.name: stratum for stratum in by_type(made, 50, 0)}
    assert list(found) == [
        *("overexpression", "knockdown", "knockout"),
        *("no other type in training", "1 other type in training", "2 other types in training"),
    ]
    own = np.array(KINDS) == "trt_sh"
    for who in ("model", "weak"):
        expected = made.scores[who]["pearson_delta"][own].mean()
        assert found["knockdown"].scores[who]["pearson_delta"].mean == pytest.approx(expected)
    assert found["knockdown"].n_perturbations == 7


def test_what_is_alike_everywhere_or_not_told_is_no_stratum() -> None:
    assert list(type_groups(board(["trt_sh"] * 8, [1] * 8).conditions)) == []
    names = [name for _, name, _ in type_groups(board(KINDS).conditions)]
    assert names == ["overexpression", "knockdown", "knockout"]
    few = by_type(board(["trt_sh"] * 8 + ["trt_oe"] * 3), 10, 0)
    assert [stratum.name for stratum in few] == ["knockdown"]


def test_the_terminal_the_page_and_the_json_show_types() -> None:
    trust = judged(board(KINDS, OTHERS))
    lines = "\n".join(trust.lines())
    table = lines[lines.index("by perturbation type") :]
    assert table.index("overexpression") < table.index("knockout") < table.index("2 other types in training")
    assert max(len(line) for line in table.splitlines()[:20]) <= 110
    strata = json.loads(trust.to_json())["by_type"]
    assert [each["n_conditions"] for each in strata] == [6, 7, 8, 7, 7, 7]
    assert set(strata[0]["scores"]) == {"model", "weak"}
    page = trust_report(trust)
    assert "By perturbation type" in page and "knockdown" in page
    one = judged(board(["trt_sh"] * 12))
    assert "by perturbation type" not in "\n".join(one.lines()) and one.by_type == ()
