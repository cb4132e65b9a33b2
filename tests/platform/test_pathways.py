"""Pathway agreement: a perfect prediction agrees, a shuffled one does not, and what is not scored is said."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.compared import ComparedResponses
from pertcast.analysis.enrichment import prerank
from pertcast.analysis.gene_sets import GeneSets, index_sets, read_gmt
from pertcast.analysis.pathways import PathwayAgreement, pathway_agreement
from pertcast.report.page import render_page
from pertcast.report.pathway_sections import pathway_sections
from pertcast_data.errors import ConfigError, FormatError, SchemaError

N_GENES, N_SETS, SIZE, N_CONDITIONS = 120, 6, 12, 18
GENES = tuple(f"G{i}" for i in range(N_GENES))
SETS = {f"set {s}": GENES[s * SIZE : (s + 1) * SIZE] for s in range(N_SETS)}
PERMUTATIONS = 60


def planted(seed: int = 0) -> NDArray[np.float64]:
    """Return responses in which each condition moves each set by its own amount, over a little noise."""
    random = np.random.default_rng(seed)
    strength = np.linspace(2.0, 0.3, N_CONDITIONS)[:, None] * random.normal(size=(N_CONDITIONS, N_SETS))
    values = random.normal(0.0, 0.1, size=(N_CONDITIONS, N_GENES))
    values[:, : N_SETS * SIZE] += np.repeat(strength, SIZE, axis=1)
    return values


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


def compared(**generated: NDArray[np.float64]) -> ComparedResponses:
    measured = planted()
    return ComparedResponses(conditions(), GENES, measured, generated, np.zeros_like(measured))


def agree(data: ComparedResponses, **asked: object) -> PathwayAgreement:
    return pathway_agreement(data, SETS, **{"permutations": PERMUTATIONS, "n_draws": 200, **asked})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found() -> PathwayAgreement:
    truth = planted()
    shuffled = truth[np.random.default_rng(3).permutation(N_CONDITIONS)]
    noisy = truth + np.random.default_rng(1).normal(0.0, 0.5, truth.shape)
    data = compared(perfect=truth, noisy=noisy, shuffled=shuffled, silent=np.zeros_like(truth))
    return agree(data, halves=(truth, noisy))


def test_a_perfect_prediction_agrees_entirely_and_a_shuffled_one_hardly(found: PathwayAgreement) -> None:
    perfect, noisy, shuffled, _ = found.contenders
    assert perfect.overall.value == pytest.approx(1.0)
    assert (perfect.overall.low, perfect.overall.high) == pytest.approx((1.0, 1.0))
    assert np.allclose(perfect.by_condition, 1.0)
    assert np.allclose(perfect.by_pathway, 1.0)
    assert (perfect.right_sign, perfect.recovered, perfect.confirmed) == (1.0, 1.0, 1.0)
    assert abs(shuffled.overall.value) < 0.3
    assert shuffled.overall.low < 0.1
    assert shuffled.overall.value < noisy.overall.value < 1.0
    assert found.strongest_baseline is noisy


def test_a_contender_that_says_nothing_has_no_correlation_and_wins_nothing(found: PathwayAgreement) -> None:
    silent = found.contenders[-1]
    assert math.isnan(silent.overall.value)
    assert math.isnan(silent.condition_mean)
    assert silent.recovered == 0.0
    assert math.isnan(silent.confirmed)


def test_one_undefined_profile_counts_as_no_enrichment() -> None:
    """Leaving the hard conditions out must not be rewarded: their pairs stay in the correlation, at 0."""
    partly = planted()
    partly[:9] = 0.0
    all_said, some_said = agree(compared(all=planted(), some=partly)).contenders
    assert some_said.overall.n == all_said.overall.n
    assert some_said.overall.value < 0.9
    assert some_said.condition_mean == pytest.approx(0.5)


def test_scores_are_those_of_gseapy(found: PathwayAgreement) -> None:
    index = index_sets(GeneSets(SETS), GENES)
    strongest = int(np.argmax(np.square(planted()).mean(axis=1)))
    assert found.conditions["condition_id"][0] == f"c{strongest}"
    golden = prerank(planted()[strongest], GENES, index, PERMUTATIONS, seed=0)
    assert np.allclose(found.measured.nes[0], golden["nes"].to_numpy())
    assert np.allclose(found.measured.fdr[0], golden["fdr"].to_numpy())


def test_the_strongest_conditions_are_scored_and_the_others_counted() -> None:
    result = agree(compared(perfect=planted()), most_conditions=4)
    sizes = np.sqrt(np.square(planted()).mean(axis=1))
    assert result.conditions["effect_size"].to_list() == pytest.approx(np.sort(sizes)[::-1][:4])
    assert result.n_left_out == N_CONDITIONS - 4
    assert result.all_strong
    assert "14 weaker ones are left out" in " ".join(result.lines())


def test_strong_conditions_are_the_upper_third_of_all(found: PathwayAgreement) -> None:
    assert found.n_strong == N_CONDITIONS // 3
    assert found.conditions["is_strong"].to_list() == [True] * 6 + [False] * 12
    assert found.model.strong.n == 6 * N_SETS


def test_halves_of_the_replicates_are_scored_where_both_are_there() -> None:
    first, second = planted(), planted()
    second[:12] = np.nan
    result = agree(compared(perfect=planted()), halves=(first, second))
    assert result.ceiling is not None
    assert result.ceiling.overall.value == pytest.approx(1.0)
    assert result.ceiling.overall.n == 6 * N_SETS
    assert agree(compared(perfect=planted())).ceiling is None


def test_the_interval_is_over_perturbations_and_not_over_conditions() -> None:
    """Conditions copied threefold within their perturbation say nothing more: the interval stays as wide."""
    noisy = planted() + np.random.default_rng(1).normal(0.0, 0.6, (N_CONDITIONS, N_GENES))
    plain = compared(noisy=noisy)
    index = np.repeat(np.arange(N_CONDITIONS), 3)
    threefold = ComparedResponses(
        plain.conditions[index], GENES, plain.measured[index], {"noisy": noisy[index]}, plain.control[index]
    )
    one, three = (agree(data, most_conditions=None).model.overall for data in (plain, threefold))
    assert three.value == pytest.approx(one.value)
    assert three.high - three.low == pytest.approx(one.high - one.low, rel=1e-6)


def test_dropped_sets_are_named_with_how_many_members_are_measured() -> None:
    sets = {**SETS, "hardly measured": ("G0", "G1", "X1", "X2", "X3", "X4"), "elsewhere": ("X1", "X2")}
    result = pathway_agreement(compared(perfect=planted()), sets, permutations=10, n_draws=20)
    assert {each.name: each.genes_in_space for each in result.dropped} == {
        "hardly measured": 2,
        "elsewhere": 0,
    }
    text = " ".join(" ".join(result.lines()).split())
    assert "hardly measured: 2 of 6 genes measured, fewer than 5 genes" in text
    assert "Not tested: hardly measured, 2 of 6 genes measured" in render_page(
        title="t", provenance="p", sections=pathway_sections(result)
    )


def test_sets_of_which_only_a_part_is_measured_carry_a_warning(found: PathwayAgreement) -> None:
    wide = {name: (*genes, *(f"{name} {i}" for i in range(40))) for name, genes in SETS.items()}
    result = pathway_agreement(compared(perfect=planted()), wide, permutations=10, n_draws=20)
    assert "Only a part of each set is measured (median 23%" in " ".join(result.warnings)
    assert "Only a part" not in " ".join(found.warnings)


def test_the_answer_comes_first_and_the_json_is_plain_and_the_same_every_time(
    found: PathwayAgreement,
) -> None:
    lines = found.lines()
    assert lines[0].startswith("NES of perfect correlate with the measured ones at 1.000 [1.000, 1.000]")
    assert any(line.startswith("  > perfect") for line in lines)
    assert any(line.startswith("  ^ Half of the replicates") for line in lines)
    text = json.dumps(found.to_json(), allow_nan=False)
    truth = planted()
    again = agree(compared(perfect=truth))
    assert json.dumps(again.to_json()) == json.dumps(agree(compared(perfect=truth)).to_json())
    read = json.loads(text)
    assert read["contenders"][3]["overall"]["value"] is None
    assert read["generated_nes"]["silent"][0] == [None] * N_SETS


def test_the_report_draws_every_card_without_a_request(found: PathwayAgreement) -> None:
    sections = pathway_sections(found)
    assert [section.title for section in sections][1:4] == [
        "Score against score",
        "Set by set",
        "Condition by condition",
    ]
    page = render_page(title="t", provenance="p", sections=sections)
    for name in (*SETS, "perfect", "shuffled", "Half of the replicates"):
        assert name in page


def test_progress_is_told_of_every_distinct_profile() -> None:
    heard: list[tuple[int, int]] = []
    same = np.repeat(planted()[:1], N_CONDITIONS, axis=0)
    agree(
        compared(perfect=planted(), mean=same),
        most_conditions=5,
        progress=lambda done, total, note="": heard.append((done, total)),
    )
    assert heard == [(i, 5) for i in range(1, 6)] or heard == [(i, 6) for i in range(1, 7)]


def test_a_gmt_file_is_read_and_a_library_name_is_not_looked_up(tmp_path: Path) -> None:
    path = tmp_path / "sets.gmt"
    path.write_text("".join(f"{name}\t\t" + "\t".join(genes) + "\n" for name, genes in SETS.items()))
    data = compared(perfect=planted())
    from_file = pathway_agreement(data, path, permutations=20, n_draws=20)
    assert from_file.source == "sets.gmt"
    assert from_file.pathways == tuple(SETS)
    with pytest.raises(FormatError, match=r"KEGG_2021_Human is no file.*not looked up"):
        pathway_agreement(data, "KEGG_2021_Human")


def test_what_cannot_be_compared_is_refused_with_the_reason() -> None:
    data = compared(perfect=planted())
    with pytest.raises(SchemaError, match="None of the 1 gene sets"):
        pathway_agreement(data, {"other": ("X1", "X2", "X3", "X4", "X5")})
    with pytest.raises(ConfigError, match="permutations=0"):
        agree(data, permutations=0)
    with pytest.raises(ConfigError, match=r"Halves .* shape \(2, 2\)"):
        agree(data, halves=(np.zeros((2, 2)), np.zeros((2, 2))))
    broken = planted()
    broken[4, 7] = np.nan
    with pytest.raises(SchemaError, match=r"'broken' hold NaN .*row"):
        agree(compared(broken=broken))
    with pytest.raises(ConfigError, match="nothing to compare"):
        agree(compared())


def test_hallmark_sets_on_landmark_genes_keep_those_with_five_members(
    shared_data: Callable[[str], Path],
) -> None:
    """Real sets over a real landmark space: 49 of 50 survive at five genes, and the warning stands there."""
    anndata = pytest.importorskip("anndata")
    wells = anndata.read_h5ad(shared_data("l1000/ht115_level3_compounds.h5ad"))
    sets = read_gmt(shared_data("gene_sets/h.all.v7.0.symbols.gmt"))
    names = tuple(str(name) for name in wells.var_names)
    measured = np.asarray(wells.X[:6], dtype=np.float64) - np.asarray(wells.X[:60]).mean(axis=0)
    data = ComparedResponses(
        conditions()[:6], names, measured, {"perfect": measured.copy()}, np.zeros_like(measured)
    )
    result = pathway_agreement(data, sets, most_conditions=2, permutations=20, n_draws=20)
    assert len(result.pathways) + len(result.dropped) == 50
    assert len(result.pathways) >= 48
    assert min(result.sizes) >= 5
    assert result.model.overall.value == pytest.approx(1.0)
    assert "Only a part of each set is measured" in result.warnings[0]
