"""The trust report shows the verdict first, everything the table knows, and refers to nothing outside."""

from __future__ import annotations

import re
from html import escape
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.ceilings.ceiling import SplitHalves
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.trust.table import TrustFacts, TrustTable, evaluate
from pertcast.report.figures import interval_forest
from pertcast.report.labels import place_labels
from pertcast.report.trust_report import trust_report
from pertcast.report.trust_tables import plus_minus

N, G = 48, 40
FACTS = TrustFacts(model="m", title="Tiny <model>", split_kind="unseen_compound", folds=(0,), n_genes=G)


def trust_of(weight: float, seed: int = 0, facts: TrustFacts = FACTS) -> TrustTable:
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
        facts=facts,
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
    shown = re.sub(r"<[^>]*>", " ", body).replace("\u00a0", " ").replace("best value", "")
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


SIZE = (460.0, 250.0)


@pytest.mark.parametrize("shape", ["crowd", "line", "one point"])
@pytest.mark.parametrize("seed", range(3))
def test_labels_are_few_and_overlap_neither_one_another_nor_points(shape: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.random((2, 120)) * np.array(SIZE)[:, None]
    if shape == "line":
        y = 200 - 0.2 * x
    if shape == "one point":
        x, y = np.full(120, 200.0), np.full(120, 100.0)
    labels = place_labels(x, y, [f"compound {i}" for i in range(120)], range(120), SIZE)
    assert 1 <= len(labels) <= 10
    for number, label in enumerate(labels):
        left, bottom, right, top = label.box
        assert left >= 0 and bottom >= 0 and right <= SIZE[0] and top <= SIZE[1]
        others = np.arange(120) != label.index
        assert not (others & (x > left) & (x < right) & (y > bottom) & (y < top)).any()
        for other in labels[:number]:
            apart = right <= other.box[0] or other.box[2] <= left
            assert apart or top <= other.box[1] or other.box[3] <= bottom


def test_a_text_is_written_once_and_points_without_room_stay_without() -> None:
    x = np.linspace(50, 400, 8)
    same = place_labels(x, np.full(8, 100.0), ["drug 1 uM"] * 8, range(8), SIZE)
    assert [label.index for label in same] == [0]
    assert place_labels(x, np.full(8, 100.0), ["far too long " * 9] * 8, range(8), SIZE) == []


def test_the_interval_is_written_as_half_its_width() -> None:
    assert plus_minus(Estimate(0.6371, 0.575, 0.702, 10, 0, 0.0)) == "0.637 ± .064"
    assert plus_minus(Estimate(float("nan"), float("nan"), float("nan"), 0, 10, 1.0)) == "–"


def test_conditions_that_cannot_be_predicted_are_counted_and_named(report: str) -> None:
    facts = TrustFacts(model="m", title="M", left_out=("FOXL2 activation, K562", "TBX3 activation, K562"))
    trust = trust_of(0.6, facts=facts)
    said = "2 of 50 held-out conditions (FOXL2 activation, K562; TBX3 activation, K562)"
    assert any(note.startswith(f"{said} cannot be predicted") for note in trust.notes)
    assert f"Nothing is said about {said}: they cannot be predicted." in trust.not_shown
    assert "cannot be predicted" not in body_of(report)
