"""Several bundles that answer as one: means, spread, what is seen, what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from pertcast.ensemble import Ensemble, load_predictor
from pertcast.predictor import Predictor
from pertcast_data.errors import ConfigError, UnknownCompound

ASKED = pl.DataFrame(
    {
        "cell_iname": ["A375", "HT29", "A375"],
        "pert_type": ["trt_cp", "trt_cp", "trt_xpr"],
        "pert_id": ["drug-1", "drug-2", "GENE1"],
        "pert_dose": [1.0, 10.0, None],
        "pert_time": [24.0, 24.0, 24.0],
    }
)


def other(member: Predictor, seed: int) -> Predictor:
    """The same bundle with other weights."""
    model = copy.deepcopy(member.model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    summary = replace(member.bundle, content_hash=f"{seed:064d}")
    return Predictor(model, member.encoder, member.basal, bundle=summary)


@pytest.fixture(scope="module")
def members(tiny_bundle: Path) -> list[Predictor]:
    first = Predictor.from_bundle(tiny_bundle)
    return [first, other(first, 1), other(first, 2)]


def test_an_ensemble_predicts_the_mean_and_what_its_members_disagree_on(members: list[Predictor]) -> None:
    found = Ensemble(members).predict(ASKED, n_samples=2)
    alone = [member.predict(ASKED, n_samples=2) for member in members]
    means = np.stack([each.mean for each in alone])
    assert means.std(axis=0).max() > 1e-3
    np.testing.assert_allclose(found.mean, means.mean(axis=0), rtol=1e-6)
    variance = np.mean([np.square(each.sd) for each in alone if each.sd is not None], axis=0)
    assert found.sd is not None
    np.testing.assert_allclose(found.sd, np.sqrt(variance + means.var(axis=0)), rtol=1e-5)
    assert found.samples is not None and found.samples.shape == (3, 6, 24)
    assert found.table.columns == alone[0].table.columns


def test_a_condition_is_seen_where_every_member_has_seen_it(members: list[Predictor]) -> None:
    blind = copy.copy(members[1])
    blind.predict = lambda *args, **kwargs: (  # type: ignore[method-assign]
        lambda found: replace(
            found, table=found.table.with_columns(seen_pert=pl.lit(False), nn_train_dist=pl.lit(0.5))
        )
    )(members[1].predict(*args, **kwargs))
    table = Ensemble([members[0], blind]).predict(ASKED).table
    assert not table["seen_pert"].any()
    assert (table["nn_train_dist"] >= 0.5).all()
    assert table["seen_cell"].all()


def test_what_one_member_cannot_predict_is_refused_or_listed_and_left_out(members: list[Predictor]) -> None:
    ensemble = Ensemble(members[:2])
    wrong = ASKED.with_columns(pert_id=pl.Series(["drug-1", "drug-99", "GENE1"]))
    with pytest.raises(UnknownCompound, match="drug-99"):
        ensemble.predict(wrong)
    found = ensemble.predict(wrong, on_error="collect")
    assert found.rows.tolist() == [0, 2]
    assert [problem.row for problem in found.problems] == [1]
    np.testing.assert_allclose(found.mean, ensemble.predict(ASKED[[0, 2]]).mean, rtol=1e-5, atol=1e-7)


def test_an_ensemble_has_a_hash_of_its_own_and_none_of_its_members_metrics(members: list[Predictor]) -> None:
    one, two = Ensemble(members[:2]).bundle, Ensemble(members).bundle
    assert len({one.content_hash, two.content_hash, members[0].bundle.content_hash}) == 3
    assert one.model_name == "ensemble of 2 (response_mlp)"
    assert one.facts.metrics == {}
    assert Ensemble(members).hit_calibration is None


def test_members_that_predict_other_profiles_or_the_same_ones_are_refused(
    members: list[Predictor], tiny_bundle: Path
) -> None:
    with pytest.raises(ConfigError, match="twice"):
        load_predictor([tiny_bundle, tiny_bundle])
    with pytest.raises(ConfigError, match="at least two"):
        Ensemble(members[:1])
    facts = members[1].bundle.facts.model_copy(update={"normalisation": "z_score"})
    strange = copy.copy(members[1])
    strange._bundle = replace(members[1].bundle, facts=facts)
    with pytest.raises(ConfigError, match="do not have the same normalisation"):
        Ensemble([members[0], strange])
    assert load_predictor([tiny_bundle]).members[0].bundle.model_name == "response_mlp"


def test_an_ensemble_predicts_tables_only(members: list[Predictor]) -> None:
    conditions = members[0].encoder.encode(ASKED)
    with pytest.raises(ConfigError, match="use predict"):
        Ensemble(members).predict_encoded(conditions, np.zeros((3, 24), np.float32))
