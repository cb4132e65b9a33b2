"""The trust report shows the verdict first, everything the table knows, and refers to nothing outside."""

from __future__ import annotations

import re
from html import escape
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.ceiling import SplitHalves
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.trust import TrustFacts, TrustTable, evaluate
from pertcast.report.figures import interval_forest, place_labels
from pertcast.report.trust_report import trust_report

N, G = 48, 40


def trust_of(weight: float, seed: int = 0) -> TrustTable:
    generator = np.random.default_rng(seed)
    shared, own = generator.normal(0, 1, G), generator.normal(0, 1, (N, G))
    truth = shared + own
    held = HeldOut(
        conditions=pl.DataFrame(
            {
                "condition_id": [f"A549|trt_cp|<BRD-{i:02d}>|10|6" for i in range(N)],
                "cluster": [f"BRD-{i:02d}" for i in range(N)],
                "nn_train_dist": generator.random(N),
                "n_rows": np.full(N, 4),
            }
        ),
        genes=tuple(f"g{i}" for i in range(G)),
        truth=truth,
        control=np.zeros((N, G)),
        train_perturbed_mean=shared[None],
        train_mean_index=np.zeros(N, dtype=np.int64),
        pool=np.zeros(N, dtype=np.int64),
        cluster=np.arange(N),
        own_gene=np.full((N, 1), -1),
    )
    mean: NDArray[Any] = np.tile(shared, (N, 1))
    noisy = [truth + generator.normal(0, 0.5, truth.shape) for _ in range(2)]
    return evaluate(
        held,
        {"model": shared + weight * own, "train_mean": mean, "no_change": 0 * mean},
        model="model",
        facts=TrustFacts(
            model="m", title="Tiny <model>", split_kind="unseen_compound", folds=(0,), n_genes=G
        ),
        titles={"train_mean": "Train mean", "no_change": "No change"},
        halves=SplitHalves(np.arange(N), *noisy),
        n_draws=300,
    )


@pytest.fixture(scope="module")
def report() -> str:
    return trust_report(trust_of(0.6), command="pertcast evaluate RUN")


def body_of(report: str) -> str:
    return re.sub(r"<script.*?</script>|<style.*?</style>", "", report, flags=re.DOTALL)


def test_the_verdict_comes_before_every_table_and_figure(report: str) -> None:
    body = body_of(report)
    verdict = body.index("better than every baseline")
    assert verdict < body.index("<table") and verdict < body.index('class="figure"')
    assert "card full tone-good marked" in body


@pytest.mark.parametrize(
    ("weight", "tone", "words"), [(0.0, "care", "not distinguishable"), (-0.6, "bad", "worse than")]
)
def test_a_model_that_does_not_win_is_told_so_and_never_called_best(
    weight: float, tone: str, words: str
) -> None:
    body = body_of(trust_report(trust_of(weight)))
    assert f"card full tone-{tone} marked" in body and words in body
    shown = re.sub(r"<[^>]*>", " ", body).replace("best value", "")
    assert not re.search(r"\bbest\b", shown, flags=re.IGNORECASE)


def test_every_contender_metric_and_limit_is_on_the_page(report: str) -> None:
    trust = trust_of(0.6)
    body = body_of(report)
    for contender in trust.order:
        assert escape(contender.title) in body
    for metric in trust.board.metrics:
        assert escape(metric.formula) in body, metric.name
    assert "What this does not show" in body and "No external store" in body
    assert "pertcast evaluate RUN" in body and "Dynamic range fraction" in body


def test_the_report_is_self_contained_and_the_same_every_time(report: str) -> None:
    assert trust_report(trust_of(0.6), command="pertcast evaluate RUN") == report
    loading = re.findall(r'(?:src|href|srcset)="([^"]*)"', body_of(report))
    assert loading and all(address.startswith("data:") for address in loading)
    assert "url(" not in "".join(re.findall(r"<style.*?</style>", report, flags=re.DOTALL))
    assert len(re.findall(r"plotly\.js v\d", report)) == 1


def test_interval_points_are_hollow_exactly_where_they_hold_the_reference() -> None:
    means = np.array([0.1, 0.1, -0.2])
    figure = interval_forest(["a", "b", "c"], means, means - [0.05, 0.2, 0.1], means + 0.1, axis_title="gain")
    colours = figure.data[0].marker.color
    assert [colour == "#ffffff" for colour in colours] == [False, True, False]
    assert figure.layout.xaxis.title.text == "gain"


def test_labels_are_few_and_never_overlap() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 60)) * 0.01
    crowded = place_labels(x, y, [f"compound {i}" for i in range(60)], range(60))
    assert 1 <= len(crowded) <= 10
    same = place_labels(np.zeros(5), np.zeros(5), ["label"] * 5, range(5))
    assert len(same) == len(set(same.values()))
