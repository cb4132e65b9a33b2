"""Every part of a trust report is drawn where it is there, and leaves no trace where it is not."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import numpy as np
import polars as pl
import pytest
from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.parts import (
    Calibration,
    CoMembership,
    ControlHits,
    Coverage,
    ErrorCurve,
    GeneCorrelation,
    HeldOutCounts,
    RiskCoverage,
    SeedSpread,
    ShownCondition,
    Skill,
    TrustParts,
)
from pertcast.evaluation.trust.table import TrustFacts, TrustTable, evaluate
from pertcast.report.trust_figures import correlation_heatmaps, coverage_figure, error_curve_figure
from pertcast.report.trust_report import trust_report

N, G = 12, 6
NOWHERE = Estimate(np.nan, np.nan, np.nan, 0, 3, np.nan)


def about(mean: float, half: float = 0.02) -> Estimate:
    return Estimate(mean, mean - half, mean + half, 40, 0, 0.01)


def parts() -> TrustParts:
    generator = np.random.default_rng(0)
    profile = generator.normal(size=(3, G))
    square = np.corrcoef(generator.normal(size=(4, 9)))
    return TrustParts(
        skill={"pearson_delta": Skill(0.26, 0.21, 0.31, "train_mean", "perfect")},
        calibration=Calibration(
            coverage=tuple(Coverage(level, NOWHERE, about(level)) for level in (0.5, 0.8, 0.95)),
            risk_coverage=RiskCoverage(np.linspace(1, 0.1, 5), np.arange(5.0), np.arange(5.0) / 2, "sd"),
            n_calibration=31,
            n_test=40,
            exchangeable=False,
            remark="Told <so>.",
        ),
        error_curve=ErrorCurve(
            np.array([0.0, 0.3, 0.6, 1.0]),
            (about(0.6), NOWHERE, about(0.2)),
            (about(0.5), NOWHERE, about(0.3)),
            (7, 0, 5),
            about(0.4, 0.1),
        ),
        correlation=GeneCorrelation(
            ("a", "b", "c", "d"), {"truth": square, "model": square}, {"model": about(0.7)}, 12, 6
        ),
        function=CoMembership(
            "modules.gmt",
            {"predicted": about(0.8), "degree": about(0.5)},
            {"predicted": about(0.3)},
            9,
            36,
            0.1,
        ),
        genes=tuple(f"g{i}" for i in range(G)),
        shown=(ShownCondition("id", "drug <A>", "best", *profile, {"model": 0.9, "Train mean": 0.1}),),
        control_hits=ControlHits("moderated t", 600, 3),
        held_out=HeldOutCounts(
            {"test": {"profiles": 48, "conditions": 12}}, ("BRD-1",), {"pairs": 5, "doses": 0}
        ),
        seeds=SeedSpread((0, 1), {"model": np.array([0.41, 0.43])}),
    )


@pytest.fixture(scope="module")
def trust() -> TrustTable:
    generator = np.random.default_rng(1)
    truth = generator.normal(size=(N, G))
    held = HeldOut(
        conditions=pl.DataFrame({"condition_id": [f"c{i}" for i in range(N)]}),
        genes=tuple(f"g{i}" for i in range(G)),
        truth=truth,
        control=np.zeros((N, G)),
        train_perturbed_mean=np.zeros((1, G)),
        train_mean_index=np.zeros(N, dtype=np.int64),
        pool=np.zeros(N, dtype=np.int64),
        cluster=np.arange(N),
        own_gene=np.full((N, 1), -1),
    )
    noisy = truth + generator.normal(size=truth.shape)
    found = evaluate(
        held,
        {"model": noisy, "train_mean": generator.normal(size=truth.shape)},
        model="model",
        facts=TrustFacts(model="model", title="Model", n_genes=G),
        titles={"train_mean": "Train mean"},
        n_draws=100,
    )
    return replace(found, parts=TrustParts())


def words_of(html: str) -> str:
    body = re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.DOTALL)
    return unescape(re.sub(r"<[^>]*>", " ", body)).replace("\u00a0", " ")


TITLES = (
    "Are its intervals true?",
    "Refusing what is uncertain",
    "Error against similarity to training",
    "Which genes move together",
    "Gene function",
    "Gene by gene",
    "Controls as if they were perturbed",
    "What was held out",
    "From seed to seed",
)


def test_every_part_has_its_place_and_its_figures(trust: TrustTable) -> None:
    page = trust_report(replace(trust, parts=parts()))
    shown = words_of(page)
    for title in TITLES:
        assert title in shown, title
    for told in (
        "it takes 0.26 (95 % interval 0.21 to 0.31)",
        "not exchangeable",
        "Told <so>.",
        "the distance does tell where the model errs",
        "3 of 600 genes called",
        "5 with new pairs",
        "36 pairs of 9 perturbed genes",
    ):
        assert told in shown, told
    assert "drug &lt;A&gt;" in page and "drug <A>" not in page
    assert trust_report(replace(trust, parts=parts())) == page


def test_what_was_not_computed_is_not_spoken_of(trust: TrustTable) -> None:
    shown = words_of(trust_report(trust))
    for title in TITLES:
        assert title not in shown, title
    assert "skill" in shown


def test_undefined_skill_is_explained(trust: TrustTable) -> None:
    skill = Skill(np.nan, np.nan, np.nan, "train_mean", "perfect", "the ceiling is below the baseline")
    shown = words_of(trust_report(replace(trust, parts=TrustParts(skill={"pearson_delta": skill}))))
    assert "Skill is undefined: the ceiling is below the baseline." in shown


def test_coverage_draws_only_what_is_defined_and_is_hollow_where_it_holds_its_level() -> None:
    found = parts().calibration
    assert found is not None
    figure = coverage_figure(found)
    assert [trace.name for trace in figure.data[1:]] == ["calibrated on the validation part"]
    assert set(figure.data[1].marker.color) == {"#ffffff"}


def test_empty_bins_are_left_out_of_the_error_curve() -> None:
    curve = parts().error_curve
    assert curve is not None
    figure = error_curve_figure(curve, "pearson_delta", "Model", "Mean")
    assert [len(trace.x) for trace in figure.data] == [2, 2]


def test_all_correlation_matrices_share_one_scale() -> None:
    found = parts().correlation
    assert found is not None
    figure = correlation_heatmaps(found, {"truth": "Measured"})
    assert {(trace.zmin, trace.zmax) for trace in figure.data} == {(-1, 1)}
    assert figure.layout.annotations[0].text == "Measured"
