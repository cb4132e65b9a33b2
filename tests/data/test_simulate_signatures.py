"""Signatures, networks and sensitivities: true to one regulatory network, and wrong exactly as declared."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast_data.errors import FormatError, UnknownGene
from pertcast_data.simulate import Atlas, AtlasConfig, AtlasFiles, load_truth, simulate_atlas, write_atlas
from pertcast_data.simulate.genetics import GENETIC_KINDS, KNOCKDOWN, KNOCKOUT
from pertcast_data.simulate.genome import Network, build_network
from pertcast_data.simulate.interactions import LAYERS
from pertcast_data.simulate.networks import ERRORS, list_networks
from pertcast_data.simulate.sensitivity import DOSES, area_under_curve
from pertcast_data.simulate.signatures import measure_signatures, moderated_z, plan_signatures
from pertcast_data.simulate.streams import stream
from pertcast_data.simulate.world import build_world
from scipy import integrate, stats

Floats = NDArray[np.float64]
CONFIG = AtlasConfig(
    regime="saturating",
    n_genes=200,
    n_compounds=30,
    n_unprofiled=50,
    n_contexts=2,
    doses=(1.0, 10.0),
    times=(24.0,),
    n_plates=2,
    n_knockouts=8,
    n_pairs=2,
    n_cells=200,
    n_signature_genes=120,
    n_landmarks=150,
)


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return simulate_atlas(CONFIG)


@pytest.fixture(scope="module")
def files(atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> AtlasFiles:
    return write_atlas(atlas, tmp_path_factory.mktemp("atlas") / "signatures")


@pytest.fixture(scope="module")
def genome() -> Network:
    return build_network(300, stream(0, "network"))


def test_genes_have_some_kinds_of_signature_in_the_declared_shares(atlas: Atlas) -> None:
    kinds = atlas.signatures.group_by("pert_id").agg(pl.col("pert_type").n_unique())["pert_type"]
    assert len(kinds) == 120 and kinds.min() == 1 and kinds.max() == 3 and 1.8 < float(kinds.mean()) < 2.3
    counts = dict(atlas.signatures.group_by("pert_type").len().iter_rows())
    shares = {"trt_xpr": 0.8, "trt_sh": 0.7, "trt_oe": 0.55}
    for kind, share in shares.items():
        assert counts[kind] / 120 == pytest.approx(share, abs=0.12)
    assert atlas.scores.shape == (atlas.signatures.height, 150)
    assert atlas.signatures["sig_id"].is_unique().all()
    assert set(atlas.signatures["distil_nsample"]) == {2, 3, 4, 5}
    assert float(np.abs(atlas.scores).max()) <= 10


def test_moderated_z_is_the_published_weighting() -> None:
    random = np.random.default_rng(0)
    signal = 2 * random.standard_normal(400)
    replicates = signal + random.standard_normal((3, 400))
    replicates[2] = random.standard_normal(400)
    pooled, upper_quartile = moderated_z(replicates)
    between = stats.spearmanr(replicates.T).statistic
    weight = np.clip(between.sum(axis=1) - 1, 0.01, None)
    assert np.allclose(pooled, (weight / weight.sum()) @ replicates, atol=1e-12)
    assert upper_quartile == pytest.approx(np.quantile(between[np.triu_indices(3, k=1)], 0.75))
    assert np.corrcoef(pooled, signal)[0, 1] > np.corrcoef(replicates.mean(axis=0), signal)[0, 1]


def test_without_noise_signatures_are_the_truth_and_replicates_agree() -> None:
    atlas = simulate_atlas(CONFIG.model_copy(update={"noise": 0.0}))
    assert np.allclose(atlas.scores, atlas.signatures_truth.response, atol=1e-4)
    assert atlas.signatures["distil_cc_q75"].min() == pytest.approx(1.0)
    assert atlas.signatures_truth.explainable_share == pytest.approx(1.0, abs=1e-3)


def test_better_signatures_are_told_by_their_quality_columns(atlas: Atlas) -> None:
    left = ((atlas.scores - atlas.signatures_truth.response) ** 2).mean(axis=1)
    signal = (atlas.signatures_truth.response**2).mean(axis=1)
    assert stats.spearmanr(atlas.signatures["distil_nsample"], left).statistic < -0.4
    assert stats.spearmanr(atlas.signatures["tas"], signal).statistic > 0.6


def test_a_perturbed_landmark_shows_itself(atlas: Atlas) -> None:
    symbols = [atlas.world.network.gene_symbols[gene] for gene in atlas.landmarks]
    own: dict[str, list[float]] = {kind: [] for kind in GENETIC_KINDS}
    for row, (gene, kind) in enumerate(atlas.signatures.select("pert_id", "pert_type").iter_rows()):
        if gene in symbols:
            own[kind].append(float(atlas.scores[row, symbols.index(gene)]))
    means = {kind: float(np.mean(values)) for kind, values in own.items()}
    assert means["trt_xpr"] < means["trt_sh"] < -2 < 1 < means["trt_oe"]


def test_hairpins_of_one_seed_err_alike_whatever_gene_they_are_meant_for() -> None:
    world = build_world(
        0, n_genes=200, n_contexts=1, n_compounds=8, n_unprofiled=0, doses=(1.0,), times=(24.0,)
    )
    plan = plan_signatures(CONFIG, world)
    nothing = np.zeros((len(plan.conditions), 150), dtype=np.float32)

    def shared(kind: int) -> float:
        """Return the share of the variance that the five strongest common patterns explain."""
        same = replace(plan.conditions, kind=np.full(len(plan.conditions), kind))
        errors = measure_signatures(CONFIG, world, replace(plan, conditions=same), nothing, lambda *_: None).z
        sizes = np.linalg.svd(errors - errors.mean(axis=0), compute_uv=False) ** 2
        return float(sizes[:5].sum() / sizes.sum())

    assert shared(KNOCKDOWN) > 1.5 * shared(KNOCKOUT)


def listed_pairs(path: Path) -> list[tuple[str, str, float]]:
    """Read an edge list as its layout asks for, and return the names and weights of its rows."""
    has_header = not path.name.startswith("protein")
    table = pl.read_csv(path, separator="\t", has_header=has_header)
    return [(row[0], row[1], float(row[-1])) for row in table.iter_rows()]


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_a_network_file_hides_and_errs_as_declared_and_the_truth_file_tells_where(
    name: str, files: AtlasFiles
) -> None:
    with np.load(files.truth) as truth:
        symbols = truth["genes"].tolist()
        edges, is_listed, wrong = (
            truth[f"network_{name}_{part}"] for part in ("edges", "is_listed", "wrong")
        )
    named = [(symbols[first], symbols[second]) for first, second in edges]
    errors = [(symbols[first], symbols[second]) for first, second in wrong]
    rows = listed_pairs(files.networks / f"{name}.tsv")
    on_file = {(first, second) for first, second, _ in rows}
    both_ways = {(second, first) for first, second in on_file}
    expected = {pair for pair, listed in zip(named, is_listed, strict=True) if listed} | set(errors)
    assert len(on_file) == len(rows)
    assert (on_file == both_ways) == (name == "coexpression")
    assert {tuple(sorted(pair)) for pair in on_file} == {tuple(sorted(pair)) for pair in expected}
    assert not set(errors) & set(named)
    assert 1 - is_listed.mean() == pytest.approx(ERRORS[name].hidden, abs=0.01)
    assert len(wrong) / (is_listed.sum() + len(wrong)) == pytest.approx(ERRORS[name].wrong, abs=0.01)
    facts = json.loads(files.atlas.read_text())["networks"][name]
    assert facts["n_listed"] == len(expected) and facts["n_true"] == len(named)


def test_networks_have_the_layouts_of_real_edge_lists(files: AtlasFiles) -> None:
    first = (files.networks / "protein_interactions.tsv").read_text().splitlines()[0].split("\t")
    assert re.fullmatch(r"SIM(G|TF)\d{5}", first[0]) and 0 < float(first[2]) <= 1
    string = pl.read_csv(files.networks / "coexpression.tsv", separator="\t")
    assert string.columns[:4] == ["#node1", "node2", "node1_string_id", "node2_string_id"]
    assert string["combined_score"].is_between(0, 1).all()
    signs = pl.read_csv(files.networks / "regulation.tsv", separator="\t")
    assert signs.columns == ["source", "target", "weight"] and set(signs["weight"]) == {-1, 1}
    assert signs["source"].str.starts_with("SIMTF").all()
    loops = [
        first == second for first, second, _ in listed_pairs(files.networks / "protein_interactions.tsv")
    ]
    assert any(loops)


@pytest.mark.parametrize("name", sorted(set(LAYERS) - {"neighbourhood"}))
def test_listed_edges_reveal_the_truth_far_better_than_chance(name: str, genome: Network) -> None:
    listed = {network.name: network for network in list_networks(AtlasConfig(), genome)}[name]
    possible = genome.n_genes * (genome.n_genes - 1) / 2
    if name == "regulation":
        possible = genome.n_regulators * (genome.n_genes - 1)
    chance = len(listed.truth.edges) / possible
    precision = listed.is_listed.sum() / len(listed.edges)
    assert precision > min(3 * chance, 0.7) and precision > 1.5 * chance


def test_wrong_interactions_score_lower_yet_overlap(genome: Network) -> None:
    listed = list_networks(AtlasConfig(), genome)[0]
    of_true, of_wrong = listed.true_score[listed.is_listed], listed.wrong_score
    above = stats.mannwhitneyu(of_true, of_wrong).statistic / (len(of_true) * len(of_wrong))
    assert 0.6 < above < 0.9


def test_much_studied_genes_gather_edges_where_a_bias_is_declared(genome: Network) -> None:
    attention = stream(0, "attention").lognormal(0.0, 0.8, size=genome.n_genes)
    found = {}
    for listed in list_networks(AtlasConfig(), genome):
        popularity = attention[listed.truth.edges].prod(axis=1)
        gap = stats.mannwhitneyu(popularity[listed.is_listed], popularity[~listed.is_listed])
        found[listed.name] = gap.statistic / (listed.is_listed.sum() * (~listed.is_listed).sum())
    biased = {name for name, errors in ERRORS.items() if errors.hub_bias > 0}
    assert min(found[name] for name in biased) > 0.55 and abs(found["neighbourhood"] - 0.5) < 0.1


def test_without_noise_the_files_list_the_whole_truth(genome: Network) -> None:
    for listed in list_networks(AtlasConfig(noise=0.0), genome):
        assert listed.is_listed.all() and len(listed.wrong) == 0


def test_coexpressed_and_coregulated_genes_move_together_and_neighbours_do_not(atlas: Atlas) -> None:
    response = atlas.wells_truth.response
    centred = response - response.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=0), 1e-6)
    together = centred.T @ centred
    everywhere = float(together[np.triu_indices(len(together), k=1)].mean())
    mean = {listed.name: float(together[tuple(listed.edges.T)].mean()) for listed in atlas.networks}
    assert mean["coexpression"] > everywhere + 0.3
    assert mean["neighbourhood"] == pytest.approx(everywhere, abs=0.08)


@pytest.mark.parametrize(("regime", "are_alike"), [("network", True), ("linear", False)])
def test_members_of_a_complex_answer_alike_where_the_regime_says_so(regime: str, are_alike: bool) -> None:
    atlas = simulate_atlas(CONFIG.model_copy(update={"regime": regime, "n_signature_genes": 200}))
    is_knockout = (atlas.signatures["pert_type"] == "trt_xpr").to_numpy()
    symbols = atlas.signatures.filter(pl.Series(is_knockout))["pert_id"].to_list()
    response = atlas.signatures_truth.response[is_knockout]
    alike = np.corrcoef(response - response.mean(axis=0))
    place = {atlas.world.network.gene_symbols.index(symbol): row for row, symbol in enumerate(symbols)}
    listed = {network.name: network for network in atlas.networks}["complexes"]
    pairs = [(place[i], place[j]) for i, j in listed.edges if i in place and j in place]
    assert len(pairs) > 20
    assert (float(np.mean([alike[pair] for pair in pairs])) > 0.3) == are_alike


def test_ic50_follows_the_named_pathway_and_no_other_as_closely(files: AtlasFiles) -> None:
    named = json.loads(files.atlas.read_text())["sensitivity"]["pathway"]
    sets = {line.split("\t")[0]: line.split("\t")[2:] for line in files.gene_sets.read_text().splitlines()}
    table = pl.read_csv(files.sensitivity)
    with np.load(files.truth) as truth:
        place = {gene: number for number, gene in enumerate(truth["genes"].tolist())}
        rows = {tuple(name.split("|")[:3:2]): row for row, name in enumerate(truth["library_condition_id"])}
        response = truth["library_response"]
        activity, exact = truth["sensitivity_pathway_activity"], truth["sensitivity_ln_ic50"]
        assert table["pert_id"].to_list() == truth["sensitivity_pert_id"].tolist()
    shown = response[[rows[pair] for pair in table.select("cell_iname", "pert_id").iter_rows()]]
    closeness = {}
    for name, genes in sets.items():
        _, _, axis = np.linalg.svd(shown[:, [place[gene] for gene in genes]], full_matrices=False)
        scores = shown[:, [place[gene] for gene in genes]] @ axis[0]
        closeness[name] = abs(np.corrcoef(scores, table["ln_ic50"])[0, 1])
    assert np.corrcoef(activity, table["ln_ic50"])[0, 1] > 0.7
    assert closeness[named] > 0.6 and closeness[named] >= 0.98 * max(closeness.values())
    assert np.corrcoef(exact, table["ln_ic50"])[0, 1] > 0.9


def test_where_perturbations_do_nothing_ic50_says_nothing_of_a_pathway() -> None:
    sensitivity = simulate_atlas(CONFIG.model_copy(update={"regime": "null"})).sensitivity
    assert not sensitivity.activity.any() and sensitivity.ln_ic50.std() < 1.5


def test_the_sensitivity_table_is_a_screen_with_gaps(files: AtlasFiles, atlas: Atlas) -> None:
    table = pl.read_csv(files.sensitivity)
    assert table.columns == [
        "pert_id", "cmap_name", "cell_iname", "ln_ic50", "auc", "min_conc", "max_conc",
    ]  # fmt: skip
    assert (
        table.height == round(0.81 * 2 * 80)
        and not table.select("pert_id", "cell_iname").is_duplicated().any()
    )
    assert table["auc"].is_between(0, 1).all()
    assert stats.spearmanr(table["ln_ic50"], table["auc"]).statistic > 0.9
    assert set(table["pert_id"]) <= set(atlas.world.library.pert_ids)


def test_the_area_under_the_curve_is_the_mean_viability_over_log_dose() -> None:
    for ln_ic50, slope in ((0.0, 1.0), (-3.0, 0.7), (4.0, 2.0)):
        low, high = np.log(DOSES)

        def viability(log_dose: float, middle: float = ln_ic50, steepness: float = slope) -> float:
            return float(1 / (1 + np.exp(steepness * (log_dose - middle))))

        area = integrate.quad(viability, low, high)[0] / (high - low)
        assert area_under_curve(np.array([ln_ic50]), np.array([slope]))[0] == pytest.approx(area, abs=1e-6)


def test_no_name_in_any_table_is_that_of_a_real_gene_compound_or_line(
    files: AtlasFiles, atlas: Atlas
) -> None:
    gene = re.compile(r"SIM(G|TF)\d{5}")
    names = {name for path in files.networks.iterdir() for row in listed_pairs(path) for name in row[:2]}
    assert all(gene.fullmatch(name) for name in names | set(atlas.signatures["pert_id"]))
    assert atlas.signatures["cell_iname"].str.contains(r"^SIMLINE\d\d$").all()
    assert atlas.sensitivity.table["pert_id"].str.contains(r"^SIM-CP\d{5}$").all()


def test_the_oracle_gives_the_truth_by_condition_for_the_genes_asked_for(
    files: AtlasFiles, atlas: Atlas
) -> None:
    oracles = load_truth(files.truth)
    truths = {"wells": atlas.wells_truth, "cells": atlas.cells_truth, "signatures": atlas.signatures_truth}
    assert set(oracles) == set(truths)
    for measured, truth in truths.items():
        oracle = oracles[measured]  # type: ignore[index]
        assert list(oracle.responses) == list(truth.condition_ids)
        assert np.array_equal(np.stack(list(oracle.responses.values())), truth.response)
        assert oracle.explainable_share == pytest.approx(truth.explainable_share)
    two = (oracles["wells"].genes[7], oracles["wells"].genes[3])
    name = atlas.wells_truth.condition_ids[0]
    assert np.array_equal(oracles["wells"].for_genes(two)[name], atlas.wells_truth.response[0, [7, 3]])
    with pytest.raises(UnknownGene, match="TP53"):
        oracles["wells"].for_genes(("TP53",))
    with pytest.raises(FormatError, match="truth"):
        load_truth(files.wells)
    with pytest.raises(FormatError, match="truth"):
        load_truth(files.directory / "absent.npz")
