"""Gene modules: planted networks and gene sets are found and chance is not; drawn is what was measured."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import gseapy
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.association import pearson
from pertcast.analysis.compared import ComparedResponses
from pertcast.analysis.enrichment import enrichment_scores
from pertcast.analysis.gene_modules import (
    GeneModuleResult,
    GeneModules,
    ModuleKnowledge,
    analyse_gene_modules,
    module_connections,
    module_names,
    module_responses,
)
from pertcast.analysis.gene_modules.analyse import NO_NETWORK, NO_SETS
from pertcast.analysis.gene_modules.modules import gmt_text
from pertcast.analysis.gene_modules.responses import clustered_order, gene_units, row_correlations
from pertcast.analysis.gene_sets import GeneSets, index_sets, read_gmt
from pertcast.report.biology import Biology, biology_sections
from pertcast.report.gene_module_figures import module_heatmaps
from pertcast.report.gene_module_sections import gene_module_sections
from pertcast.report.page import render_page
from pertcast_data.errors import ConfigError, SchemaError

SIZES = (40, 30, 20, 20, 10)
N_GENES, N_MODULES, N_CONDITIONS = sum(SIZES), len(SIZES), 24
GENES = tuple(f"Gene{i}" for i in range(N_GENES))
LABELS = np.random.default_rng(7).permutation(np.repeat(np.arange(N_MODULES), SIZES))
Array = NDArray[np.float64]


def modules() -> GeneModules:
    return GeneModules.from_labels(GENES, LABELS)


def planted_edges(seed: int = 0) -> NDArray[np.int64]:
    """Return all pairs of genes, connected with 30 % within a module and 2 % between modules."""
    first, second = np.triu_indices(N_GENES, 1)
    chance = np.where(LABELS[first] == LABELS[second], 0.3, 0.02)
    chosen = np.random.default_rng(seed).random(len(first)) < chance
    return np.stack([first, second], axis=1)[chosen]


def planted_sets() -> GeneSets:
    """Return a set for each of the first three modules: most of its genes, and two others."""
    found = {}
    for module in range(3):
        inside, outside = np.flatnonzero(module == LABELS), np.flatnonzero(module != LABELS)
        found[f"SET_OF_{module}"] = tuple(GENES[i] for i in (*inside[: SIZES[module] * 3 // 4], *outside[:2]))
    found["TOO_SMALL"] = GENES[:3]
    found["SCATTERED"] = GENES[::5]
    return GeneSets(found, source="planted.gmt")


def conditions() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "condition_id": [f"c{i}" for i in range(N_CONDITIONS)],
            "cell_iname": "A375",
            "pert_type": "trt_cp",
            "pert_id": [f"drug-{i // 3}" for i in range(N_CONDITIONS)],
            "cmap_name": [f"drug-{i // 3}" for i in range(N_CONDITIONS)],
            "pert_dose": [(0.1, 1.0, 10.0)[i % 3] for i in range(N_CONDITIONS)],
            "pert_time": 24.0,
        }
    )


def planted_responses(seed: int = 0) -> Array:
    """Return responses in which each condition moves each module by its own amount, over a little noise."""
    random = np.random.default_rng(seed)
    strength = np.linspace(2.0, 0.3, N_CONDITIONS)[:, None] * random.normal(size=(N_CONDITIONS, N_MODULES))
    values: Array = strength[:, LABELS] + random.normal(0.0, 0.1, (N_CONDITIONS, N_GENES))
    return values


def analysed(knowledge: ModuleKnowledge | None = None, most_conditions: int = 10) -> GeneModuleResult:
    truth = planted_responses()
    shuffled = truth[np.random.default_rng(3).permutation(N_CONDITIONS)]
    generated = {"perfect": truth, "shuffled": shuffled, "silent": np.zeros_like(truth)}
    data = ComparedResponses(conditions(), GENES, truth, generated, np.zeros_like(truth))
    noisy = truth + np.random.default_rng(1).normal(0.0, 1.0, truth.shape)
    noisy[0] = np.nan
    return analyse_gene_modules(
        data, LABELS, knowledge, halves=(truth, noisy), n_draws=200, most_conditions=most_conditions
    )


@pytest.fixture(scope="module")
def found() -> GeneModuleResult:
    return analysed(ModuleKnowledge(planted_edges(), "planted.tsv", planted_sets()))


def test_names_members_and_sizes_follow_the_labels() -> None:
    made = GeneModules.from_labels(("a", "b", "c", "d"), np.array([2, 0, 2, 0]))
    assert made.names == ("module 01", "module 02", "module 03")
    assert made.members == (("b", "d"), (), ("a", "c")) and made.sizes.tolist() == [2, 0, 2]
    many = GeneModules.from_labels([f"g{i}" for i in range(120)], np.arange(120))
    assert many.names[0] == "module 001" and many.names[-1] == "module 120"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array([0, 1]), "one whole number for each"),
        (np.array([0.0, 1.0, 1.0]), "type float64"),
        (np.array([0, -1, 1]), "Gene 'b' has the label -1"),
    ],
)
def test_labels_that_are_none_are_refused_with_the_reason(labels: NDArray[np.int64], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        GeneModules.from_labels(("a", "b", "c"), labels)


def test_planted_modules_are_far_denser_than_chance_in_every_module() -> None:
    made = module_connections(modules(), planted_edges())
    assert made.z > 20 and (made.module_z > 3).all()
    assert made.density == pytest.approx(0.3, abs=0.03) and made.expected < 0.12
    assert made.n_within == made.module_edges.sum()


def test_random_labels_have_a_z_near_zero() -> None:
    edges = planted_edges()
    found = [
        module_connections(
            GeneModules.from_labels(GENES, np.random.default_rng(seed).permutation(LABELS)), edges, seed=seed
        )
        for seed in range(20)
    ]
    overall = np.array([each.z for each in found])
    every = np.concatenate([each.module_z for each in found])
    assert np.abs(overall).max() < 4 and abs(overall.mean()) < 0.8
    assert abs(every.mean()) < 0.4 and 0.6 < every.std() < 1.6


def test_z_is_that_of_counting_edges_pair_by_pair() -> None:
    genes, labels = ("a", "b", "c", "d", "unknown"), np.array([0, 0, 1, 1, 0])
    edges = np.array([[1, 0], [0, 1], [2, 3], [1, 2], [2, 2]])
    made = module_connections(GeneModules.from_labels(genes, labels), edges, permutations=500)
    assert (made.n_genes, made.n_edges, made.n_within) == (4, 3, 2)
    assert made.module_edges.tolist() == [1, 1] and made.density == 1.0
    # Of the three ways to pair four genes one puts two edges within, one puts one, one none.
    assert made.expected == pytest.approx(0.5, abs=0.05)
    assert made.z == pytest.approx(1 / np.sqrt(2 / 3), abs=0.15)


def test_genes_that_the_network_does_not_know_make_no_module_look_sparse_or_dense() -> None:
    edges = planted_edges()
    alone = module_connections(modules(), edges)
    more = (*GENES, *(f"unknown{i}" for i in range(200)))
    padded = GeneModules.from_labels(more, np.concatenate([LABELS, np.zeros(200, np.int64)]))
    made = module_connections(padded, edges)
    assert (made.z, made.density) == (alone.z, alone.density)
    assert made.module_z.tolist() == alone.module_z.tolist()


def test_edges_that_are_none_or_connect_nothing_are_refused() -> None:
    with pytest.raises(SchemaError, match="no pairs of the positions"):
        module_connections(modules(), np.array([[0, N_GENES]]))
    with pytest.raises(SchemaError, match="connects no two"):
        module_connections(modules(), np.empty((0, 2), np.int64))


def test_planted_sets_name_their_modules_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", offline)
    made = module_names(modules(), planted_sets())
    assert [found.name for module in range(3) if (found := made.best(module))] == [
        "SET_OF_0", "SET_OF_1", "SET_OF_2"
    ]  # fmt: skip
    assert all(found[0].q < 1e-6 for found in made.found[:3])
    assert made.n_named == 3 and not made.significant(3) and not made.significant(4)
    assert [each.name for each in made.dropped] == ["TOO_SMALL"] and made.n_sets == 4


def test_p_is_gseapys_with_the_gene_space_as_background_and_q_counts_every_pair() -> None:
    made = module_names(modules(), planted_sets())
    kept = {name: list(genes) for name, genes in planted_sets().members.items() if len(genes) >= 5}
    for module, members in enumerate(modules().members):
        table = gseapy.enrich(list(members), kept, background=list(GENES), outdir=None, no_plot=True).res2d
        expected = dict(zip(table["Term"], table["P-value"], strict=True))
        assert {each.name: each.p for each in made.found[module]} == pytest.approx(expected)
        overlaps = {each.name: f"{each.overlap}/{each.size}" for each in made.found[module]}
        assert overlaps == dict(zip(table["Term"], table["Overlap"], strict=True))
    best = min((each for found in made.found for each in found), key=lambda each: each.p)
    assert best.q == pytest.approx(best.p * N_MODULES * made.n_sets)


def test_genes_named_by_numbers_or_apart_by_case_alone_are_told_apart() -> None:
    labels, numbers = np.repeat([0, 1], 20), tuple(str(1000 + i) for i in range(40))
    of_numbers = module_names(GeneModules.from_labels(numbers, labels), GeneSets({"first": numbers[:15]}))
    assert of_numbers.found[0][0].overlap == 15 and not of_numbers.found[1]
    cased = tuple([f"G{i}" for i in range(20)] + [f"g{i}" for i in range(20)])
    of_case = module_names(GeneModules.from_labels(cased, labels), GeneSets({"UPPER": cased[:15]}))
    assert of_case.found[0][0].overlap == 15 and not of_case.found[1]


def test_module_responses_are_the_mean_of_standardised_members() -> None:
    responses = np.array([[3.0, 0.0, 10.0, 0.0], [4.0, 0.0, -10.0, 2.0]])
    labels = np.array([0, 0, 2, 2])
    made = module_responses(responses, labels)
    scale = np.sqrt(12.5)
    expected = [[3 / scale / 2, np.nan, 0.5], [4 / scale / 2, np.nan, (-1 + np.sqrt(2)) / 2]]
    assert np.allclose(made, expected, equal_nan=True)
    doubled = module_responses(2 * responses, labels, gene_units(responses))
    assert np.allclose(doubled, 2 * made, equal_nan=True)
    with pytest.raises(SchemaError, match="one label and one unit for each gene"):
        module_responses(responses, labels[:3])


def test_correlations_of_rows_are_pearsons_and_undefined_where_a_row_is_constant() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 6, 9))
    second[2] = 4.0
    made = row_correlations(first, second)
    wanted = [pearson(one, other) for one, other in zip(first, second, strict=True)]
    assert np.allclose(made, wanted, equal_nan=True) and np.isnan(made[2])
    assert np.isnan(row_correlations(first[:, :2], second[:, :2])).all()


def test_a_perfect_prediction_agrees_entirely_a_shuffled_one_hardly_and_silence_is_undefined(
    found: GeneModuleResult,
) -> None:
    perfect, shuffled, silent = found.contenders
    assert perfect.overall.value == pytest.approx(1.0) and perfect.module_mean == pytest.approx(1.0)
    assert abs(shuffled.overall.value) < 0.5 and abs(shuffled.module_mean) < 0.5
    assert np.isnan(silent.overall.value) and np.isnan(silent.module_mean)
    assert found.ceiling is not None and 0.5 < found.ceiling.overall.value < 1.0
    assert found.ceiling.overall.n == N_CONDITIONS - 1


def test_the_heatmap_holds_the_strongest_conditions_measured_beside_predicted_in_one_order(
    found: GeneModuleResult,
) -> None:
    truth = planted_responses()
    wanted = module_responses(truth, LABELS)
    strongest = np.argsort(-np.square(truth).mean(axis=1))[:10]
    names = found.heatmap.conditions["condition_id"].to_list()
    assert sorted(names) == sorted(f"c{i}" for i in strongest)
    rows = [int(name[1:]) for name in names]
    assert sorted(found.heatmap.columns.tolist()) == list(range(N_MODULES))
    assert np.allclose(found.heatmap.measured, wanted[np.ix_(rows, found.heatmap.columns)])
    assert np.allclose(found.heatmap.generated, found.heatmap.measured)
    measured, predicted = module_heatmaps(found).data
    assert np.allclose(measured.z, found.heatmap.measured, atol=1e-3)
    assert np.allclose(predicted.z, found.heatmap.generated, atol=1e-3)
    assert (measured.zmin, measured.zmax) == (predicted.zmin, predicted.zmax)


def test_similar_rows_are_put_side_by_side() -> None:
    far = np.array([[0.0, 0.0], [9.0, 9.0], [0.1, 0.0], [9.0, 9.1], [0.0, 0.1]])
    order = clustered_order(far).tolist()
    assert {*order[:2]} == {1, 3} or {*order[-2:]} == {1, 3}
    assert clustered_order(far[:1]).tolist() == [0]


def test_the_gmt_file_comes_back_as_the_same_modules_and_scores_profiles(
    found: GeneModuleResult, tmp_path: Path
) -> None:
    path = tmp_path / "modules.gmt"
    path.write_text(found.gmt())
    back = read_gmt(path)
    assert dict(back.members) == dict(zip(found.modules.names, found.modules.members, strict=True))
    index = index_sets(back, GENES)
    scores = enrichment_scores(planted_responses(), index)
    strength = module_responses(planted_responses(), LABELS)
    assert np.mean(np.sign(scores) == np.sign(strength)) > 0.8
    assert gseapy.parser.read_gmt(str(path)) == {name: list(genes) for name, genes in back.members.items()}
    ranking = pl.DataFrame({"gene": GENES, "score": planted_responses()[0]}).to_pandas()
    outcome = gseapy.prerank(
        rnk=ranking, gene_sets=str(path), outdir=None, min_size=5, permutation_num=20, threads=1,
        no_plot=True, seed=0,
    )  # fmt: skip
    assert set(outcome.res2d["Term"]) == set(found.modules.names)


def test_a_line_of_the_gmt_file_says_size_z_and_best_set_with_its_q(found: GeneModuleResult) -> None:
    described = [line.split("\t")[1] for line in found.gmt().splitlines()]
    assert described[0].startswith("40 genes; z ") and "SET_OF_0 q " in described[0]
    bare = analysed().gmt().splitlines()[0].split("\t")[1]
    assert bare == f"40 genes; z {NO_NETWORK}; {NO_SETS}"


def test_modules_without_genes_and_names_that_break_a_gmt_file_are_kept_out_of_it() -> None:
    gappy = GeneModules.from_labels(("a", "b"), np.array([0, 2]))
    assert gmt_text(gappy, ["one\ttab", "", "three"]) == "module 01\tone tab\ta\nmodule 03\tthree\tb\n"
    for name in ("a,b", "a\tb"):
        with pytest.raises(SchemaError, match="cannot stand in a GMT file"):
            gmt_text(GeneModules.from_labels((name, "c"), np.array([0, 1])), ["", ""])


def test_lines_json_and_cards_say_sizes_z_names_and_agreement(found: GeneModuleResult) -> None:
    text, page = "\n".join(found.lines()), biology_page(Biology(gene_modules=found))
    assert "5 modules of 10 to 40 genes." in text and "3 have an over-represented gene set" in text
    for part in ("SET_OF_0", "Half of the replicates", "module 05"):
        assert part in text and part in page
    assert "Biology: gene modules" in page and "planted.tsv" in page
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [row["genes"] for row in content["modules"]] == list(SIZES)
    assert content["modules"][0]["sets"][0]["name"] == "SET_OF_0"
    assert content["network"]["z"] > 20 and not content["notes"]
    assert content == analysed(ModuleKnowledge(planted_edges(), "planted.tsv", planted_sets())).to_json()


def biology_page(biology: Biology) -> str:
    return render_page(title="t", provenance="p", sections=biology_sections(biology))


def test_without_network_and_sets_the_reasons_stand_in_their_places() -> None:
    bare = analysed()
    text = " ".join(bare.lines())
    assert NO_NETWORK in text and NO_SETS in text
    assert bare.to_json()["notes"] == [NO_NETWORK, NO_SETS]
    page = render_page(title="t", provenance="p", sections=gene_module_sections(bare))
    assert NO_NETWORK in page and NO_SETS in page
    strange = analysed(ModuleKnowledge(np.empty((0, 2), np.int64), "n.tsv", GeneSets({"s": ("X",) * 6})))
    assert "connects no two" in strange.network_note and "None of the 1 gene sets" in strange.names_note


def test_nothing_is_shown_where_there_are_no_modules() -> None:
    assert Biology().is_empty and "Biology: gene modules" not in biology_page(Biology(notes=("a note",)))


def test_nothing_to_compare_is_refused() -> None:
    data = planted_responses()
    with pytest.raises(ConfigError, match="nothing to compare"):
        analyse_gene_modules(ComparedResponses(conditions(), GENES, data, {}, data), LABELS)
