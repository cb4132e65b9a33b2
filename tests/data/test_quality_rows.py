"""Rows and genes that were spoilt on purpose are found, and rules leave out what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import quality_worlds as worlds
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.ingest.mapping.ingest_mapping import IngestMapping
from pertcast_data.ingest.plan import plan_ingest
from pertcast_data.quality import (
    QualityReport,
    QualityRule,
    kept_rows,
    measure_quality,
    mend_first,
    report_lines,
)
from pydantic import ValidationError

bulk = worlds.bulk
gene_table = worlds.gene_table
knockdowns = worlds.knockdowns
Profiles = worlds.Profiles


def treated(profiles: Profiles) -> list[int]:
    return np.flatnonzero(profiles.obs["pert_type"].str.starts_with("trt").to_numpy()).tolist()


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_planted_copies_are_counted_and_told_apart_by_condition(layout: str) -> None:
    profiles = bulk()
    names = profiles.obs["pert_id"].to_numpy()
    first, *others = treated(profiles)
    same = next(row for row in others if names[row] == names[first])
    other = next(row for row in others if names[row] != names[first])
    lone = [row for row in others if names[row] not in (names[first], names[other])][:2]
    profiles.values[same] = profiles.values[first]
    profiles.values[lone[1]] = profiles.values[lone[0]]
    quality = profiles.quality(64, layout)
    copies = quality.report.duplicates
    n_across = 2 if names[lone[0]] != names[lone[1]] else 0
    assert (copies.n_rows, copies.n_sets, copies.n_rows_across) == (4, 2, n_across)
    told = {
        row: copy for row, copy in quality.per_row.select("row", "copy_of").iter_rows() if copy is not None
    }
    assert told == {
        first: min(first, same),
        same: min(first, same),
        lone[0]: min(lone),
        lone[1]: min(lone),
    }
    shown = {name for example in copies.examples for name in example.sig_ids}
    assert shown == set(profiles.obs["sig_id"][[first, same, *lone]])


def test_a_difference_in_the_last_bit_is_no_copy() -> None:
    profiles = bulk()
    one, two = treated(profiles)[:2]
    profiles.values[two] = profiles.values[one]
    profiles.values[two, 17] = np.nextafter(profiles.values[one, 17], np.float32(100))
    assert profiles.quality().report.duplicates.n_rows == 0


def test_empty_cells_are_no_copies_of_each_other_but_empty_rows() -> None:
    cells = knockdowns()
    cells.values[treated(cells)[:5]] = 0
    report = cells.quality().report
    assert (report.values.n_zero_rows, report.duplicates.n_rows) == (5, 0)


def test_repeated_names_and_barcodes_are_counted_within_their_batch() -> None:
    profiles = bulk(n_conditions=10)
    n = profiles.obs.height
    batch = ["plate1"] * (n // 2) + ["plate2"] * (n - n // 2)
    barcode = [f"{i % (n // 2)}" for i in range(n)]
    barcode[1] = barcode[0]
    names = ["twice", "twice", *profiles.obs["sig_id"].to_list()[2:]]
    profiles.obs = profiles.obs.with_columns(
        batch_id=pl.Series(batch), cell_barcode=pl.Series(barcode), sig_id=pl.Series(names)
    )
    copies = profiles.quality().report.duplicates
    assert copies.n_repeated_names == 2
    assert copies.repeated_barcodes == {"cell_barcode": 2}


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_missing_and_infinite_values_are_counted_and_change_nothing_else(layout: str) -> None:
    clean, spoilt = bulk(), bulk()
    rows = treated(spoilt)[:3]
    spoilt.values[rows, 5] = np.nan
    spoilt.values[rows[0], 9] = np.inf
    control = np.flatnonzero(spoilt.obs["pert_type"] == "ctl_vehicle")[0]
    spoilt.values[control, 5] = np.nan
    quality = spoilt.quality(100, layout)
    values = quality.report.values
    assert (values.n_missing, values.n_infinite, values.n_rows_with_missing) == (4, 1, 4)
    assert values.worst_genes == (("GENE5", 4), ("GENE9", 1))
    before = clean.quality().per_condition["replicate_correlation"].to_numpy()
    after = quality.per_condition["replicate_correlation"].to_numpy()
    assert np.allclose(before, after, atol=0.05, equal_nan=True)


def test_empty_and_constant_genes_and_impossible_values_are_counted() -> None:
    cells = knockdowns()
    cells.values[:, [50, 51]] = 0
    cells.values[:, 52] = 3
    cells.values[0, 60], cells.values[1, 61] = -1, 2.5
    dense, sparse = (cells.quality(90, layout).report.values for layout in ("dense", "csr"))
    assert dense == sparse
    assert (dense.n_zero_genes, dense.n_constant_genes) == (2, 3)
    assert dense.constant_genes == ("GENE50", "GENE51", "GENE52")
    assert (dense.n_out_of_scale, dense.n_fractional, dense.smallest) == (1, 1, -1.0)
    assert dense.library_sizes is not None
    assert dense.library_sizes.at(0.5) == pytest.approx(np.median(cells.values.sum(axis=1)))


def test_levels_of_matched_controls_are_counted_as_the_pairing_does() -> None:
    rows = [
        ("ctl_vehicle", "A375", "p1", 24.0),
        ("ctl_vehicle", "A375", "p1", 24.0),
        ("ctl_vehicle", "HT29", "p3", 6.0),
        ("trt_cp", "A375", "p1", 24.0),
        ("trt_cp", "A375", "p2", 24.0),
        ("trt_cp", "A375", "p2", 6.0),
        ("trt_cp", "HT29", "p3", 6.0),
        ("trt_cp", "PC3", "p4", 6.0),
        ("trt_cp", "PC3", "p4", 6.0),
    ]
    kinds, lines, plates, times = zip(*rows, strict=True)
    obs = pl.DataFrame(
        {
            "sig_id": [str(i) for i in range(9)],
            "cell_iname": lines,
            "pert_type": kinds,
            "pert_id": ["DMSO"] * 3 + ["drug"] * 6,
            "batch_id": plates,
            "pert_time": times,
        }
    )
    values = np.random.default_rng(0).normal(8, 1, (9, 30)).astype(np.float32)
    report = Profiles(obs, gene_table(30), values, "expression", "log2_intensity").quality().report
    assert report.conditions.coverage == {"batch": 2, "context_time": 1, "context": 1, "none": 2}
    assert report.conditions.contexts_without_controls == ("PC3",)
    assert (report.conditions.n_treated, report.conditions.below[2]) == (4, 2)
    assert any("PC3" in each.problem for each in mend_first(report))


def test_without_controls_the_report_says_why_nothing_is_compared_and_what_to_write() -> None:
    profiles = bulk(n_controls=0)
    report = profiles.quality().report
    assert report.effects is None
    assert "no treated profile has a control" in report.no_effects
    assert mend_first(report)[0].remedy.startswith("controls: {column: ...")


def test_values_that_are_no_z_scores_are_told() -> None:
    profiles = bulk(n_controls=0)
    profiles.measure, profiles.normalisation = "response", "z_score"
    profiles.values = np.tanh((profiles.values - 8) / 20).astype(np.float32)
    assert any("taken for z-scores" in each.problem for each in mend_first(profiles.quality().report))
    profiles.values = np.random.default_rng(0).normal(size=profiles.values.shape).astype(np.float32)
    assert not any("taken for z-scores" in each.problem for each in mend_first(profiles.quality().report))


def test_a_wrong_kind_of_perturbation_is_told_from_the_targets() -> None:
    cells = knockdowns()
    cells.obs = cells.obs.with_columns(pl.col("pert_type").replace("trt_sh", "trt_act"))
    (first, *_) = [each for each in mend_first(cells.quality().report) if "target" in each.problem]
    assert "may be declared wrongly" in first.problem
    assert first.remedy.startswith("pert_type:")


def test_rules_leave_out_what_they_say_and_never_controls() -> None:
    cells = knockdowns()
    rows = treated(cells)
    cells.values[rows[1]] = cells.values[rows[0]]
    quality = cells.quality()
    kept, reasons = kept_rows(quality, QualityRule(require_target_change=True, drop_duplicates=True))
    names = cells.obs["pert_id"].to_numpy()
    copy = max(rows[:2])
    expected = (names != "GENE3") & (np.arange(len(names)) != copy)
    assert np.array_equal(kept, expected)
    told = dict(reasons)
    assert told["has the values of an earlier row"] == 1
    assert sum(told.values()) == int((~expected).sum())
    kept, reasons = kept_rows(quality, QualityRule(min_profiles_per_condition=1_000))
    assert np.array_equal(kept, quality.per_row["is_control"].to_numpy())
    assert kept_rows(quality, QualityRule())[0].all()


def test_a_rule_on_correlation_keeps_conditions_that_cannot_be_told() -> None:
    profiles = bulk(signal=1.0, n_conditions=30)
    lone = profiles.obs.with_row_index().filter(pl.col("pert_id") == "drug0")["index"].to_list()
    keep = [row for row in range(profiles.obs.height) if row not in lone[1:]]
    profiles.obs, profiles.values = profiles.obs[keep], profiles.values[keep]
    quality = profiles.quality()
    kept, _ = kept_rows(quality, QualityRule(min_replicate_correlation=0.9))
    names = profiles.obs["pert_id"].to_numpy()
    assert set(names[kept]) == {"DMSO", "drug0"}


def test_rules_on_effects_need_every_condition_measured() -> None:
    profiles = bulk()
    with pytest.raises(ConfigError, match=r"20 of 60 were drawn.*max_conditions=60"):
        kept_rows(profiles.quality(max_conditions=20), QualityRule(min_tas=0.2))
    with pytest.raises(ConfigError, match="no treated profile has a control"):
        kept_rows(bulk(n_controls=0).quality(), QualityRule(min_tas=0.2))
    with pytest.raises(ValidationError, match="min_replicat"):
        QualityRule.model_validate({"min_replicat": 0.5})


def test_tables_that_do_not_fit_together_are_refused() -> None:
    profiles = bulk(n_conditions=5)
    options = {"measure": "expression", "normalisation": "log2_intensity"}
    with pytest.raises(SchemaError, match="219 rows, the batches hold more profiles"):
        measure_quality(profiles.obs[:-1], profiles.var, profiles.batches(), **options)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="200 genes, the gene table has 199"):
        measure_quality(profiles.obs, profiles.var[:-1], profiles.batches(), **options)  # type: ignore[arg-type]


def test_the_report_survives_json_and_its_lines_lead_with_the_verdict() -> None:
    report = knockdowns().quality().report
    assert QualityReport.model_validate_json(report.to_json()) == report
    lines = report_lines(report)
    assert lines[0].startswith("Checked 1,020 profiles x 120 genes")
    assert any("trt_sh" in line and "12 of 13" in line for line in lines)


REAL = {
    "perturb_seq/norman_mcfaline_devel.h5ad": (54, 0, {"context": 4961}),
    "perturb_seq/marson_cd4_small.h5ad": (483, 59, {"batch": 487}),
    "l1000/ht115_level3_compounds.h5ad": (272, 0, {"batch": 504}),
}


@pytest.mark.parametrize("name", list(REAL))
def test_real_files_are_measured(name: str, shared_data: Callable[[str], Path]) -> None:
    plan = plan_ingest([shared_data(name)], IngestMapping(), None, None)
    part = plan.parts[0]
    quality = measure_quality(
        plan.obs, plan.var, plan.profiles, measure=part.measure, normalisation=part.normalisation
    )
    n_treated, n_testable, coverage = REAL[name]
    report = quality.report
    assert report.conditions.n_treated == n_treated
    assert report.conditions.coverage == {"batch": 0, "context_time": 0, "context": 0, "none": 0, **coverage}
    assert report.effects is not None
    for kind in report.effects.kinds:
        assert kind.measured.correlation.mean is not None
    if n_testable:
        assert report.targets[0].n_testable == n_testable
        assert report.targets[0].change.at(0.5) < 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "kind", "known"), [("rnai", "trt_sh", -5.7), ("crispr", "trt_xpr", -7.8), ("oe", "trt_oe", 1.9)]
)
def test_the_own_genes_of_transcriptionnet_are_those_that_are_known(
    name: str, kind: str, known: float, shared_data: Callable[[str], Path]
) -> None:
    table = pl.read_parquet(shared_data(f"transcriptionnet/gec_{name}.parquet"))
    landmarks = pl.read_parquet(shared_data("transcriptionnet/landmarks.parquet"))
    genes = table.columns[3:]
    symbols = dict(landmarks.select("column", "symbol").iter_rows())
    obs = pl.DataFrame({"sig_id": [str(row) for row in range(table.height)], "cell_iname": "pan"})
    obs = obs.with_columns(pert_type=pl.lit(kind), pert_id=table["symbol"], targets=table["symbol"])
    var = pl.DataFrame({"gene_id": genes, "gene_symbol": [symbols[gene] for gene in genes]})
    profiles = Profiles(obs, var, table.select(genes).to_numpy(), "response", "z_score")
    (found,) = profiles.quality().report.targets
    assert found.z_of_others.mean == pytest.approx(known, abs=0.5)
    assert (found.share_seen or 0) > 5 * (found.others_seen or 0)
