"""Planted kinds of interaction of a simulated screen are recovered; where pairs add up few are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.epistasis import (
    PairMembers,
    ReplicateBlocks,
    interactions_of_responses,
    pair_interactions,
)
from pertcast.analysis.epistasis.replicates import noise_vectors
from pertcast_data.simulate import AtlasConfig, simulate_atlas
from pertcast_data.simulate.atlas import Atlas
from pertcast_data.simulate.interplay import INTERPLAY_KINDS
from pertcast_data.simulate.regimes.epistatic import STRENGTH, loss_in_a_process, process_activity

PLANTED = tuple({"neomorphic": "neomorphism"}.get(kind, kind) for kind in INTERPLAY_KINDS)
N_BLOCKS = 20
SCREEN = {"seed": 1, "n_genes": 200, "n_knockouts": 30, "n_pairs": 100, "n_cells": 16_000, "noise": 0.5}


@dataclass(frozen=True)
class PairScreen:
    """A simulated screen: its atlas, the pairs among its conditions, and what was planted in each pair."""

    atlas: Atlas
    pairs: PairMembers
    perturbations: tuple[str, ...]

    def planted(self) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
        """Return the planted kind of each pair, and how clearly it is planted (0 to 1).

        Genes hit several processes: the kind is the one with the largest sum of a_p b_q over the processes
        p, q that the two activities meet in, and its clarity that sum less those of the other kinds.
        """
        world, genes = self.atlas.world, self.pairs.own_genes
        in_the_line = STRENGTH * 10.0 ** (-world.contexts.sensitivity[0])
        first, second = (
            process_activity(world, in_the_line * loss_in_a_process(world, genes[:, place]))
            for place in (0, 1)
        )
        met = first[:, :, None] * second[:, None, :]
        of_kind = world.interplay.kind == np.arange(len(PLANTED))[:, None, None]
        weight = np.einsum("npq,kpq->nk", met, of_kind)
        return np.array(PLANTED)[weight.argmax(axis=1)], 2 * weight.max(axis=1) - weight.sum(axis=1)

    def blocks(self, seed: int = 0) -> ReplicateBlocks:
        """Return the cells in blocks, against the controls of their batch."""
        counts = self.atlas.counts.toarray()
        profiles = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
        table, generator = self.atlas.cells, np.random.default_rng(seed)
        batch, of_cell = table["batch"].to_numpy(), table["pert_id"].to_numpy()
        is_control = table["pert_type"].to_numpy() == "ctl_vector"
        batches = np.unique(batch)
        noise = np.zeros((N_BLOCKS, len(batches), profiles.shape[1]))
        basal = {}
        for number, name in enumerate(batches):
            rows = generator.permutation(np.flatnonzero(is_control & (batch == name)))
            means, shares = _blocks(profiles[rows])
            basal[name] = profiles[rows].mean(axis=0)
            noise[: len(means), number] = noise_vectors(means, shares)
        parts, of_batch, sizes = [], [], []
        for name in self.perturbations:
            rows = generator.permutation(np.flatnonzero(of_cell == name))
            parts.append(_blocks(profiles[rows] - np.stack([basal[each] for each in batch[rows]])))
            of_batch.append([(batch[rows] == each).mean() for each in batches])
            sizes.append(len(rows))
        means_of, shares_of = zip(*parts, strict=True)
        return ReplicateBlocks(means_of, shares_of, noise, np.array(of_batch), np.array(sizes))


def _blocks(profiles: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    parts = np.array_split(np.arange(len(profiles)), min(N_BLOCKS, len(profiles)))
    means = np.stack([profiles[part].mean(axis=0) for part in parts])
    return means, np.array([len(part) for part in parts]) / len(profiles)


def pair_screen(regime: str, **settings: Any) -> PairScreen:
    """Simulate a screen of pairs of knock-outs in one cell line."""
    config = AtlasConfig(
        regime=regime, n_contexts=1, n_compounds=8, n_unprofiled=0, doses=(1.0,), times=(24.0,), n_plates=1,
        n_signature_genes=1, **settings,
    )  # fmt: skip
    atlas = simulate_atlas(config)
    genes = {gene: number for number, gene in enumerate(atlas.world.network.gene_symbols)}
    ids = atlas.cells_truth.condition_ids
    names = tuple(next(part for part in name.split("|") if part.split("+")[0] in genes) for name in ids)
    place = {name: number for number, name in enumerate(names)}
    both = np.array([number for number, name in enumerate(names) if "+" in name], dtype=np.int64)
    members = [names[number].split("+") for number in both]
    table = pl.DataFrame(
        {
            "condition_id": [ids[number] for number in both],
            "first": [first for first, _ in members],
            "second": [second for _, second in members],
            "cell_iname": [config.regime] * len(both),
            "pert_type": ["trt_xpr"] * len(both),
        }
    )
    pairs = PairMembers(
        table=table,
        both=both,
        first=np.array([place[first] for first, _ in members], dtype=np.int64),
        second=np.array([place[second] for _, second in members], dtype=np.int64),
        own_genes=np.array([[genes[one] for one in pair] for pair in members], dtype=np.int64),
    )
    return PairScreen(atlas, pairs, names)


@pytest.fixture(scope="module")
def epistatic() -> PairScreen:
    return pair_screen(
        "epistatic", seed=1, n_genes=200, n_knockouts=30, n_pairs=100, n_cells=16_000, noise=0.5
    )


def test_planted_kinds_of_the_epistatic_atlas_are_recovered_far_above_chance(epistatic: PairScreen) -> None:
    kind, clarity = epistatic.planted()
    is_clear = clarity >= 0.4
    truth = np.array(interactions_of_responses(epistatic.pairs, epistatic.atlas.cells_truth.response).kinds)
    found = np.array(pair_interactions(epistatic.pairs, epistatic.blocks()).kinds)
    commonest = max((kind[is_clear] == each).mean() for each in PLANTED)
    assert is_clear.sum() >= 70 and commonest < 0.45
    assert (truth == kind)[is_clear].mean() >= 0.9
    assert (found == kind)[is_clear].mean() >= 0.8
    for each in PLANTED:
        assert (found == kind)[is_clear & (kind == each)].mean() >= 0.7, each


@pytest.mark.parametrize("regime", ["linear", "null"])
def test_where_pairs_add_up_at_most_one_in_twenty_is_called_interacting(regime: str) -> None:
    screen = pair_screen(regime, **SCREEN)
    found = pair_interactions(screen.pairs, screen.blocks())
    assert sum(kind != "additive" for kind in found.kinds) <= 5
