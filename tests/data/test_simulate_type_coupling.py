"""Coupling of types: how much a knock-out tells of the same gene's knock-down, asked for or as declared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError
from pertcast_data.simulate import (
    REGIMES,
    Atlas,
    AtlasConfig,
    atlas_config,
    generator_hash,
    gives_same_data,
    simulate_atlas,
    write_atlas,
)
from pertcast_data.simulate.genetics import GENETIC_KINDS, GeneticEffects
from pertcast_data.simulate.version import SAME_DATA

Floats = NDArray[np.float64]
SMALL = AtlasConfig(
    regime="network",
    n_genes=200,
    n_contexts=1,
    n_compounds=8,
    n_unprofiled=0,
    doses=(1.0,),
    times=(24.0,),
    n_plates=1,
    n_knockouts=6,
    n_pairs=2,
    n_cells=100,
    n_signature_genes=120,
    knockout_share=1.0,
    knockdown_share=1.0,
    overexpression_share=1.0,
)


def coupled(type_coupling: float | None, regime: str = "network") -> Atlas:
    return simulate_atlas(SMALL.model_copy(update={"type_coupling": type_coupling, "regime": regime}))


def true_responses(atlas: Atlas) -> dict[str, Floats]:
    """Return kind -> (genes, landmarks) true scores minus the kind's mean, own transcripts left out as 0."""
    place = {gene: column for column, gene in enumerate(atlas.world.network.gene_symbols)}
    scores = atlas.signatures_truth.response.astype(np.float64)
    for row, gene in enumerate(atlas.signatures["pert_id"]):
        scores[row, atlas.landmarks == place[gene]] = 0.0
    kinds = atlas.signatures["pert_type"].to_numpy()
    by_kind = {kind: scores[kinds == kind] for kind in GENETIC_KINDS}
    return {kind: found - found.mean(axis=0) for kind, found in by_kind.items()}


def agreement(first: Floats, second: Floats) -> float:
    """Return the mean correlation of the responses of the same genes."""
    found = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    return float(np.mean(found))


def test_uncoupled_types_say_nothing_of_one_another() -> None:
    knockout, knockdown, overexpression = true_responses(coupled(0.0)).values()
    assert abs(agreement(knockout, knockdown)) < 0.1
    assert abs(agreement(knockout, overexpression)) < 0.1
    assert abs(agreement(knockdown, overexpression)) < 0.1


def test_fully_coupled_types_differ_in_strength_and_saturation_alone() -> None:
    knockout, knockdown, overexpression = true_responses(coupled(1.0)).values()
    assert agreement(knockout, knockdown) > 0.95
    assert agreement(knockout, overexpression) < -0.8


@pytest.mark.parametrize("regime", sorted(set(REGIMES) - {"null"}))
def test_coupling_changes_knock_downs_and_over_expressions_and_nothing_else(regime: str) -> None:
    declared, apart = coupled(None, regime), coupled(0.0, regime)
    before, after = true_responses(declared), true_responses(apart)
    assert np.array_equal(before["trt_xpr"], after["trt_xpr"])
    for kind in ("trt_sh", "trt_oe"):
        assert not np.allclose(before[kind], after[kind])
    assert np.array_equal(declared.intensities, apart.intensities)
    assert (declared.counts != apart.counts).nnz == 0
    assert declared.signatures.drop("distil_cc_q75", "distil_ss", "tas").equals(
        apart.signatures.drop("distil_cc_q75", "distil_ss", "tas")
    )


def test_without_the_setting_a_regime_keeps_the_coupling_it_declares() -> None:
    effects = GeneticEffects()
    assert effects.coupled(None) is effects
    assert effects.coupled(0.3).coupling == (1.0, 0.3, 0.3)
    assert effects.coupled(0.3).strength == effects.strength
    knockout, knockdown, _ = true_responses(coupled(None)).values()
    assert agreement(knockout, knockdown) == pytest.approx(
        agreement(*list(true_responses(coupled(0.95)).values())[:2]), abs=1e-12
    )


def test_an_atlas_says_how_its_types_are_coupled(tmp_path: Path) -> None:
    config = atlas_config("small", ["type_coupling=0.5"], {"regime": "network"})
    files = write_atlas(simulate_atlas(config), tmp_path / "atlas")
    facts = json.loads(files.atlas.read_text())
    assert facts["config"]["type_coupling"] == 0.5
    with pytest.raises(ConfigError, match="type_coupling"):
        atlas_config("small", ["type_coupling=1.5"])


def test_figures_of_sources_that_simulate_the_same_bytes_stay_comparable() -> None:
    assert gives_same_data(generator_hash())
    assert all(gives_same_data(earlier) for earlier in SAME_DATA)
    assert generator_hash() not in SAME_DATA
    assert not gives_same_data("0" * 64) and not gives_same_data(None)
