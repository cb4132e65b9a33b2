"""Genes ranked for drugs: streamed counts against a plain ranking, signs, strata, controls."""

from __future__ import annotations

from html import escape

import numpy as np
import polars as pl
import pytest
from pertcast.analysis.drug_targets import (
    DrugProfiles,
    GeneLibrary,
    KnownPairs,
    MatchOptions,
    match_drug_targets,
)
from pertcast.analysis.drug_targets.drugs import plan_queries
from pertcast.analysis.drug_targets.kept import BestGenes, row_counts
from pertcast.analysis.drug_targets.known import dealt_again
from pertcast.report.drug_target_sections import drug_target_report
from pertcast_data.errors import SchemaError
from scipy.stats import mannwhitneyu, rankdata

GENES = tuple(f"G{number:02d}" for number in range(40))
PERTURBED = tuple(f"G{number:02d}" for number in range(30))
N_DRUGS = 14
PLAIN = MatchOptions(score="cosine", removes_means=False, n_draws=50, keep=5)


def world(
    types: tuple[str, ...] = ("trt_sh", "trt_oe"), lines: tuple[str, ...] = ("A", "B"), noise: float = 0.8
):
    """A library in which every gene has its own profile, and drugs that inhibit two genes each."""
    random = np.random.default_rng(5)
    own = random.standard_normal((len(PERTURBED), len(GENES)))
    rows, profiles = [], []
    for line in lines:
        for gene, name in enumerate(PERTURBED):
            for pert_type in types:
                if pert_type == "trt_oe" and gene % 3 == 0:
                    continue
                sign = -1 if pert_type == "trt_oe" else 1
                rows.append((len(rows), name, pert_type, line))
                profiles.append(sign * own[gene] + noise * random.standard_normal(len(GENES)))
    order = random.permutation(len(rows))
    table = pl.DataFrame(rows, schema=["row", "gene", "pert_type", "cell_iname"], orient="row")[order]
    values = np.array(profiles, dtype=np.float32)
    targets = {f"drug{number:02d}": (number, (number + 7) % 30) for number in range(N_DRUGS)}
    drugs = pl.DataFrame(
        [(name, line, 1) for name in targets for line in lines],
        schema=["drug", "cell_iname", "n_conditions"],
        orient="row",
    )
    signal = np.array([own[list(targets[name])].sum(axis=0) for name in drugs["drug"]])
    responses = (signal + noise * random.standard_normal(signal.shape)).astype(np.float32)
    known = KnownPairs.of((drug, PERTURBED[gene]) for drug, pair in targets.items() for gene in pair)
    library = GeneLibrary(table, GENES, lambda asked: values[asked], block_rows=16)
    return library, DrugProfiles(drugs, responses), known, values


def plain_scores(library: GeneLibrary, drugs: DrugProfiles, values, pert_type: str, line: str):
    """Signed cosine of every drug of a line and every gene; NaN where the type lacks the gene."""
    found = np.full((N_DRUGS, len(PERTURBED)), np.nan)
    chosen = library.rows.filter((pl.col("pert_type") == pert_type) & (pl.col("cell_iname") == line))
    profiles = drugs.profiles[(drugs.table["cell_iname"] == line).to_numpy()].astype(np.float64)
    for row, gene in chosen.select("row", "gene").iter_rows():
        reference = values[row].astype(np.float64)
        angle = profiles @ reference / np.linalg.norm(profiles, axis=1) / np.linalg.norm(reference)
        found[:, PERTURBED.index(gene)] = -angle if pert_type == "trt_oe" else angle
    return found


def combined(library: GeneLibrary, drugs: DrugProfiles, values, line: str):
    both = np.stack([plain_scores(library, drugs, values, kind, line) for kind in ("trt_sh", "trt_oe")])
    return np.nansum(both, axis=0) / np.sqrt((~np.isnan(both)).sum(axis=0))


def test_streamed_rankings_equal_a_plain_ranking_of_every_board() -> None:
    library, drugs, known, values = world()
    match = match_drug_targets(drugs, library, known, options=PLAIN)
    assert match.known is not None
    for line in ("A", "B"):
        boards = {kind: plain_scores(library, drugs, values, kind, line) for kind in ("trt_sh", "trt_oe")}
        boards["combined"] = combined(library, drugs, values, line)
        for board, scores in boards.items():
            for number in range(N_DRUGS):
                row, name = scores[number], f"drug{number:02d}"
                held = ~np.isnan(row)
                ranks = dict(zip(np.array(PERTURBED)[held], rankdata(-row[held]), strict=True))
                chosen = (pl.col("drug") == name) & (pl.col("cell_iname") == line) & (pl.col("type") == board)
                told = match.known.filter(chosen)
                assert dict(zip(told["gene"], told["rank"], strict=True)) == {
                    gene: ranks[gene] for gene in known.targets[name] if gene in ranks
                }
                best = match.targets.filter(chosen).sort("rank")
                assert best["gene"].to_list() == sorted(ranks, key=lambda gene: ranks[gene])[:5]
                assert best["is_known"].to_list() == [gene in known.targets[name] for gene in best["gene"]]


def roc_auc_score(labels: list[bool], scores) -> float:
    chosen = np.array(labels)
    positive, negative = np.asarray(scores)[chosen], np.asarray(scores)[~chosen]
    return mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative))


def test_auroc_equals_mann_whitney_and_true_targets_beat_every_control() -> None:
    library, drugs, known, values = world()
    match = match_drug_targets(drugs, library, known, options=PLAIN)
    own = match.recovery[0]
    for number in range(N_DRUGS):
        name = f"drug{number:02d}"
        labels = [gene in known.targets[name] for gene in PERTURBED]
        expected = [roc_auc_score(labels, combined(library, drugs, values, line)[number]) for line in "AB"]
        assert own.by_drug[name] == pytest.approx(np.mean(expected), abs=1e-6)
    labels, scores = [], []
    for line in "AB":
        found = combined(library, drugs, values, line)
        labels += [gene in known.targets[f"drug{n:02d}"] for n in range(N_DRUGS) for gene in PERTURBED]
        scores += found.ravel().tolist()
    assert own.pooled.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    assert match.beats_controls() and match.beats_controls(among=True)
    assert own.auroc.value > 0.95 and "above every control" in match.sentence()


def test_every_control_stands_beside_the_result_and_shuffled_pairs_are_at_chance() -> None:
    library, drugs, known, _ = world()
    match = match_drug_targets(drugs, library, known, options=PLAIN)
    names = {found.name: found for found in match.controls}
    assert set(names) == {"shuffled", "popular", "effect_size", "own_gene"}
    assert {"trt_sh", "trt_oe", "other_means"} <= {found.name for found in match.recovery}
    assert 0.35 < names["shuffled"].auroc.value < 0.6


def test_popular_targets_are_counted_over_other_drugs_only() -> None:
    library, drugs, _, _ = world(types=("trt_sh",), lines=("A",))
    alone = KnownPairs.of([("drug00", "G00"), ("drug01", "G01"), ("drug02", "G01")])
    match = match_drug_targets(drugs, library, alone, options=PLAIN)
    popular = {found.name: found for found in match.recovery}["popular"]
    # G00 is nobody else's target: it ties with 28 of 29 other genes and stands below G01.
    assert popular.by_drug["drug00"] == pytest.approx(14 / 29)
    # G01 is one other drug's target, as G00 is: it ties with that one and stands above 28.
    assert popular.by_drug["drug01"] == pytest.approx(28.5 / 29)


def test_a_drug_in_no_line_of_the_library_is_compared_by_the_consensus_of_lines() -> None:
    library, drugs, known, values = world(types=("trt_sh",))
    elsewhere = DrugProfiles(
        drugs.table.with_columns(cell_iname="elsewhere-" + pl.col("cell_iname")), drugs.profiles
    )
    match = match_drug_targets(elsewhere, library, known, options=PLAIN)
    assert match.targets["cell_iname"].null_count() == match.targets.height
    assert match.targets["drug"].n_unique() == N_DRUGS
    mean = np.stack(
        [
            values[library.rows.filter(pl.col("gene") == gene)["row"].to_numpy()].mean(axis=0)
            for gene in PERTURBED
        ]
    )
    query = drugs.profiles[:2].mean(axis=0)
    angle = mean @ query / np.linalg.norm(mean, axis=1) / np.linalg.norm(query)
    best = match.targets.filter((pl.col("drug") == "drug00") & (pl.col("rank") == 1))
    assert best["gene"][0] == PERTURBED[int(angle.argmax())]
    assert best["score"][0] == pytest.approx(angle.max(), abs=1e-5)


def test_shared_lines_are_compared_line_by_line_unless_consensus_is_asked() -> None:
    _, drugs, _, _ = world()
    assert plan_queries(drugs, ("B", "C")).table["cell_iname"].to_list() == ["B"] * N_DRUGS
    assert plan_queries(drugs, ("B", "C"), consensus=True).table["cell_iname"].to_list() == [None] * N_DRUGS


def test_removing_means_makes_a_shared_component_harmless() -> None:
    library, drugs, known, values = world(types=("trt_sh",), lines=("A",))
    random = np.random.default_rng(9)
    common = 3 * random.standard_normal(len(GENES)).astype(np.float32)
    strength = random.standard_normal((len(values), 1)).astype(np.float32)
    shifted = GeneLibrary(library.rows, GENES, lambda asked: values[asked] + strength[asked] * common)
    moved = DrugProfiles(drugs.table, drugs.profiles + common)
    found = {
        removes: match_drug_targets(
            moved, shifted, known, options=MatchOptions(removes_means=removes, n_draws=20)
        ).recovery[0]
        for removes in (True, False)
    }
    assert found[True].auroc.value > found[False].auroc.value + 0.05


def test_results_do_not_depend_on_the_size_of_blocks() -> None:
    library, drugs, known, _ = world()
    whole = GeneLibrary(library.rows, GENES, library.read, block_rows=10_000)
    one, other = (match_drug_targets(drugs, each, known, options=PLAIN) for each in (library, whole))
    assert one.targets.drop("score").equals(other.targets.drop("score"))
    assert np.allclose(one.targets["score"], other.targets["score"], atol=1e-6)


def test_repeats_of_a_gene_are_averaged() -> None:
    library, drugs, known, values = world(types=("trt_sh",), lines=("A",))
    noise = np.random.default_rng(1).standard_normal(values.shape).astype(np.float32)
    both = np.concatenate((values + noise, values - noise))
    again = library.rows.with_columns(pl.col("row") + len(values))
    doubled = GeneLibrary(pl.concat([library.rows, again]), GENES, lambda asked: both[asked], block_rows=7)
    one = match_drug_targets(drugs, library, known, options=PLAIN)
    two = match_drug_targets(drugs, doubled, known, options=PLAIN)
    assert one.targets["gene"].equals(two.targets["gene"])


def test_the_best_genes_are_those_of_a_stable_sort_ties_in_the_order_of_genes() -> None:
    random = np.random.default_rng(2)
    scores = np.round(random.standard_normal((6, 500)), 1).astype(np.float32)
    best = BestGenes(6, 20)
    for start in range(0, 500, 130):
        genes = np.arange(start, min(start + 130, 500))
        best.add(slice(0, 6), genes, scores[:, genes])
    assert np.array_equal(best.gene, np.argsort(-scores, axis=1, kind="stable")[:, :20])


@pytest.mark.parametrize("width", [1, 7, 8, 63, 64, 65, 200])
def test_packed_counts_equal_sums(width: int) -> None:
    mask = np.random.default_rng(width).random((9, width)) < 0.4
    assert np.array_equal(row_counts(mask), mask.sum(axis=1))


def test_dealt_targets_are_another_drugs_and_never_its_own() -> None:
    targets = {f"d{n}": frozenset({f"g{n}", "shared"}) for n in range(6)}
    dealt = dealt_again(targets, sorted(targets), seed=4)
    assert all(dealt[drug] and not dealt[drug] & targets[drug] for drug in targets)
    assert sorted(gene for genes in dealt.values() for gene in genes) == [f"g{n}" for n in range(6)]


def test_profiles_with_holes_are_refused_by_name() -> None:
    library, drugs, known, values = world(types=("trt_sh",), lines=("A",))
    broken = values.copy()
    broken[3, 2] = np.nan
    name = library.rows.filter(pl.col("row") == 3)["gene"][0]
    with pytest.raises(SchemaError, match=f"profile of {name} .*NaN"):
        match_drug_targets(drugs, GeneLibrary(library.rows, GENES, lambda asked: broken[asked]), known)


def test_targets_that_no_library_gene_is_named_like_are_refused() -> None:
    library, drugs, _, _ = world()
    with pytest.raises(SchemaError, match="same gene symbols"):
        match_drug_targets(drugs, library, KnownPairs.of([("drug00", "ENSG01")]), options=PLAIN)


def test_the_report_gives_the_answer_all_controls_and_limits_and_fetches_nothing() -> None:
    library, drugs, known, _ = world()
    match = match_drug_targets(drugs, library, known, options=PLAIN)
    html = drug_target_report(match)
    assert all(escape(found.title) in html for found in match.recovery)
    assert "What this does not show" in html and "drug00" in html
    assert 'src="http' not in html and "<link" not in html
    bare = drug_target_report(match_drug_targets(drugs, library, options=PLAIN))
    assert "No known targets were given" in bare
