"""Gene function: planted modules are found in measured profiles, and in nothing that does not hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.gene_sets import read_gmt
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.parts import CoMembership
from pertcast.evaluation.structure.co_membership import co_membership, held_out_function, single_genes
from pertcast.evaluation.structure.pair_ranking import GenePairs, rank_pairs
from pertcast.evaluation.structure.profile_similarity import (
    PerturbedRows,
    TypedRows,
    neighbour_similarity,
    profile_similarity,
)
from pertcast_data.errors import SchemaError
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from scipy.stats import mannwhitneyu

N_MODULES, SIZE, N_GENES = 12, 8, 300
PERTURBED = [f"M{module}_{member}" for module in range(N_MODULES) for member in range(SIZE)]
MODULE = np.repeat(np.arange(N_MODULES), SIZE)
GENES = (*PERTURBED, *(f"G{i}" for i in range(N_GENES - len(PERTURBED))))
SETS = {f"module {m}": [g for g, own in zip(PERTURBED, MODULE, strict=True) if own == m] for m in range(12)}


def planted(noise: float, seed: int = 0) -> NDArray[np.float64]:
    """Return responses: one shared by all, one a module, noise, and each gene's own fall."""
    random = np.random.default_rng(seed)
    shared, modules = random.normal(size=N_GENES), random.normal(size=(N_MODULES, N_GENES))
    values = 3 * shared + modules[MODULE] + random.normal(scale=noise, size=(len(PERTURBED), N_GENES))
    own = np.arange(len(PERTURBED))
    values[own, own] -= 20.0
    return values


@pytest.fixture(scope="module")
def found() -> CoMembership:
    random = np.random.default_rng(1)
    return co_membership(
        {
            "predicted": planted(4.0),
            "measured": planted(2.0),
            "mean": np.repeat(planted(0.0).mean(axis=0, keepdims=True), len(PERTURBED), axis=0),
        },
        PERTURBED,
        GENES,
        SETS,
        source="planted",
        features={"features": random.normal(size=(len(PERTURBED), 8))},
        seed=3,
    )


def test_measured_profiles_recover_planted_modules_and_noisier_ones_recover_less(found: CoMembership) -> None:
    assert found.rows["measured"].mean > 0.95
    assert found.rows["measured"].low > found.rows["predicted"].high
    assert 0.6 < found.rows["predicted"].low <= found.rows["predicted"].mean <= found.rows["predicted"].high
    assert found.precision["measured"].mean > 5 * found.share_positive
    assert (found.n_genes, found.n_pairs) == (96, 96 * 95 // 2)
    assert found.share_positive == pytest.approx(7 / 95)


def test_what_holds_no_modules_is_at_chance(found: CoMembership) -> None:
    for row in ("degree", "shuffled", "features", "mean"):
        assert found.rows[row].low <= 0.5 <= found.rows[row].high, row
        assert found.precision[row].mean < 1.5 * found.share_positive, row
    assert found.rows["mean"].mean == found.rows["degree"].mean == 0.5


def test_random_sets_are_recovered_by_nobody() -> None:
    random = np.random.default_rng(5)
    inside, trials = 0, 20
    for _ in range(trials):
        dealt = random.permutation(PERTURBED).reshape(N_MODULES, SIZE)
        sets = {str(number): list(members) for number, members in enumerate(dealt)}
        row = co_membership({"measured": planted(2.0)}, PERTURBED, GENES, sets, n_draws=100).rows["measured"]
        inside += row.low <= 0.5 <= row.high
    assert inside >= trials * 0.8


def test_what_is_known_of_a_gene_alone_shows_as_degree() -> None:
    """One large set among small ones: being in the large set foretells pairs without any biology."""
    sets = {"large": PERTURBED[:40], **{f"small {i}": PERTURBED[40 + 2 * i : 42 + 2 * i] for i in range(28)}}
    noise = np.random.default_rng(0).normal(size=(len(PERTURBED), N_GENES))
    found = co_membership({"noise": noise}, PERTURBED, GENES, sets, n_draws=50)
    assert found.rows["degree"].mean > 0.9
    assert found.rows["noise"].low <= 0.5 <= found.rows["noise"].high


def test_own_targets_are_left_out_of_both_profiles() -> None:
    """Genes of a pair that fall only by their own knock-down, and by each other's, look like any others."""
    random = np.random.default_rng(2)
    values = random.normal(size=(len(PERTURBED), N_GENES))
    rows = PerturbedRows.of(PERTURBED)
    before = profile_similarity(values, rows, GENES)
    name = {gene: index for index, gene in enumerate(rows.genes)}
    first, second = 0, 1
    changed = values.copy()
    changed[[first, second], [first, second]] = -50.0
    after = profile_similarity(changed, rows, GENES)
    assert np.allclose(before, after)
    pair = name[PERTURBED[first]], name[PERTURBED[second]]
    assert abs(after[pair]) < 0.3


def test_similarity_is_pearson_of_centred_means_without_the_pairs_own_genes() -> None:
    random = np.random.default_rng(3)
    genes = [f"G{i}" for i in range(30)]
    perturbed = ["G3", "G7", "ELSEWHERE", "G3", "G20", "G7"]
    pool = np.array([0, 0, 0, 1, 1, 1])
    values = random.normal(size=(6, 30)) + 10 * pool[:, None]
    plain = values.copy()
    for row, gene in enumerate(perturbed):
        if gene in genes:
            plain[row, genes.index(gene)] = np.nan
    for each in (0, 1):
        plain[pool == each] -= np.nanmean(plain[pool == each], axis=0)
    rows = PerturbedRows.of(perturbed, pool)
    means = {
        gene: np.mean([plain[r] for r in range(6) if perturbed[r] == gene], axis=0) for gene in rows.genes
    }
    found = profile_similarity(values, rows, genes)
    for i, first in enumerate(rows.genes):
        for j, second in enumerate(rows.genes):
            if i == j:
                continue
            kept = [g for g, name in enumerate(genes) if name not in (first, second)]
            golden = np.corrcoef(means[first][kept], means[second][kept])[0, 1]
            assert found[i, j] == pytest.approx(golden)


def test_areas_are_those_of_the_rank_test_and_of_the_definition_also_with_ties() -> None:
    random = np.random.default_rng(4)
    together = np.triu(random.random((40, 40)) < 0.1, 1)
    pairs = GenePairs.of(together | together.T)
    noisy = np.round(random.normal(size=(40, 40)) + together, 1)
    similarity = noisy + noisy.T
    area, precision = rank_pairs(pairs, similarity, 50, 0)
    scores, hit = pairs.scores(similarity), pairs.is_together
    assert len(np.unique(scores)) < len(scores)
    won = mannwhitneyu(scores[hit], scores[~hit]).statistic
    assert area.mean == pytest.approx(won / (hit.sum() * (~hit).sum()))
    assert precision.mean == pytest.approx(np.mean([hit[scores >= own].mean() for own in scores[hit]]))
    assert area.low < area.mean < area.high


def test_neighbours_in_a_network_overlap() -> None:
    found = neighbour_similarity(["A", "B", "C"], ["A", "A", "B"], ["B", "D", "D"])
    assert found[0, 1] == 1.0
    assert found[0, 2] == 0.0
    assert np.allclose(found, found.T)


def test_too_few_annotated_genes_are_refused_with_names_of_both_sides() -> None:
    values = planted(1.0)
    with pytest.raises(
        SchemaError, match=r"0 of the 96 perturbed genes .* names like ENSG1.* perturbed are M0_0"
    ):
        co_membership({"predicted": values}, PERTURBED, GENES, {"other": ["ENSG1", "ENSG2"]})
    with pytest.raises(SchemaError, match=r"pairs .* share a set and 0 do not"):
        co_membership({"predicted": values}, PERTURBED, GENES, {"everything": PERTURBED})


def held_out(kinds: list[str], names: list[str], truth: NDArray[Any]) -> HeldOut:
    count = len(names)
    return HeldOut(
        conditions=pl.DataFrame(
            {"condition_id": map(str, range(count)), "pert_type": kinds, "cluster": names}
        ),
        genes=GENES,
        truth=truth,
        control=np.zeros_like(truth),
        train_perturbed_mean=np.zeros((1, N_GENES)),
        train_mean_index=np.zeros(count, np.int64),
        pool=np.zeros(count, np.int64),
        cluster=np.arange(count),
        own_gene=np.full((count, 1), -1),
    )


def test_of_held_out_conditions_those_that_perturb_one_gene_are_judged() -> None:
    names = [*PERTURBED, "drug-1", "M0_0+M1_0"]
    truth = np.concatenate([planted(2.0), np.random.default_rng(0).normal(size=(2, N_GENES))])
    held = held_out(["trt_xpr"] * 96 + ["trt_cp", "trt_xpr"], names, truth)
    assert single_genes(held) == tuple(sorted(PERTURBED))
    found = held_out_function(held, {"predicted": np.zeros_like(truth)}, SETS, n_draws=50)
    assert found.n_genes == 96
    assert found.rows["measured"].mean > 0.95
    assert found.rows["predicted"].mean == 0.5
    compounds = held_out(["trt_cp"] * 98, names, truth)
    with pytest.raises(SchemaError, match="None of the 98 conditions perturbs a single gene"):
        held_out_function(compounds, {}, SETS)


def simulated_signatures(regime: str, folder: Path) -> CoMembership:
    """Rank all knock-outs of a small atlas in two cell lines by its own modules."""
    config = AtlasConfig(
        regime=regime, n_genes=150, n_contexts=2, n_compounds=8, n_unprofiled=0, doses=(1.0,), times=(24.0,),
        n_plates=1, n_knockouts=2, n_pairs=0, n_cells=100, n_signature_genes=150, n_signature_contexts=2,
        knockout_share=1.0, knockdown_share=0.0, overexpression_share=0.0, n_landmarks=150,
    )  # fmt: skip
    files = write_atlas(simulate_atlas(config), folder / regime)
    signatures = anndata.read_h5ad(files.signatures)
    return co_membership(
        {"measured": np.asarray(signatures.X)},
        signatures.obs["pert_id"].astype(str).tolist(),
        signatures.var["gene_symbol"].astype(str).tolist(),
        read_gmt(files.gene_sets).members,
        pool=np.unique(signatures.obs["cell_iname"], return_inverse=True)[1],
        n_draws=100,
    )


def test_knock_outs_of_the_atlas_tell_its_modules_where_perturbations_do_something(tmp_path: Path) -> None:
    """Also in the null regime a knock-out silences its own gene: that alone must tell nothing."""
    linear = simulated_signatures("linear", tmp_path).rows["measured"]
    null = simulated_signatures("null", tmp_path).rows["measured"]
    assert linear.low > 0.5
    assert null.low <= 0.5 <= null.high
    assert linear.low > null.high


def test_opposite_types_of_a_gene_do_not_cancel_and_count_as_one_gene() -> None:
    forward = planted(1.0)
    values = np.concatenate([forward, -planted(1.0, seed=0)])
    kinds = ["trt_xpr"] * len(PERTURBED) + ["trt_oe"] * len(PERTURBED)
    both = PERTURBED * 2
    typed = co_membership({"measured": values}, both, GENES, SETS, kinds=kinds, n_draws=50)
    alone = co_membership({"measured": forward}, PERTURBED, GENES, SETS, n_draws=50)
    mixed = co_membership({"measured": values}, both, GENES, SETS, n_draws=50)
    assert (typed.n_genes, typed.n_pairs) == (alone.n_genes, alone.n_pairs)
    assert typed.rows["measured"].mean == pytest.approx(alone.rows["measured"].mean, abs=0.02)
    assert mixed.rows["measured"].mean < 0.6 < typed.rows["measured"].mean


def test_a_pair_is_compared_over_the_types_that_both_genes_have_and_left_out_without_one() -> None:
    values, half = planted(1.0), len(PERTURBED) // 2
    kinds = ["trt_xpr"] * half + ["trt_oe"] * (len(PERTURBED) - half)
    typed = TypedRows.of(PERTURBED, kinds)
    order = {gene: row for row, gene in enumerate(sorted(PERTURBED))}
    first = [order[gene] for gene in PERTURBED[:half]]
    second = [order[gene] for gene in PERTURBED[half:]]
    assert typed.comparable[np.ix_(first, first)].all() and not typed.comparable[np.ix_(first, second)].any()
    rows = PerturbedRows.of(PERTURBED[:half])
    expected = profile_similarity(values[:half], rows, GENES)
    place = [order[gene] for gene in rows.genes]
    np.testing.assert_allclose(typed.similarity(values, GENES)[np.ix_(place, place)], expected)
    found = co_membership({"measured": values}, PERTURBED, GENES, SETS, kinds=kinds, n_draws=20)
    assert found.n_pairs == 2 * (half * (half - 1) // 2)
