"""Measuring quality: two streaming passes over the profiles, then a report and the tables behind it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.quality.design import Design, make_design
from pertcast_data.quality.effects import EffectSums, Strengths, strengths_of
from pertcast_data.quality.line_sums import normalised, pieces
from pertcast_data.quality.references import References
from pertcast_data.quality.report import Effects, QualityReport
from pertcast_data.quality.row_checks import RowChecks, SecondHashes, first_copies
from pertcast_data.quality.summaries import (
    condition_summary,
    duplicate_summary,
    effect_summaries,
    target_summaries,
    value_summary,
)
from pertcast_data.quality.targets import OwnGenes, TargetChanges, own_genes
from pertcast_data.readers.source import ProfileBatch
from pertcast_data.store.genes import gene_table
from pertcast_data.vocabulary import CONDITION_COLUMNS, Measure, Normalisation


@dataclass(frozen=True)
class Quality:
    """What was measured.

    Attributes
    ----------
    report
        The numbers.
    per_condition
        One row a condition: condition_id, CONDITION_COLUMNS, cmap_name, targets, is_control, n_rows;
        n_responses, replicate_correlation, signature_strength, tas (null where not measured); target_gene,
        target_change, target_z, target_z_of_others, target_expected, target_seen of the target that goes
        least the expected way (null where none is measured).
    per_row
        One row a profile, in source order: row, sig_id, condition_id, is_control, copy_of (the first row with
        the same values, else null), n_missing, n_infinite, n_filled (values that are not zero), total,
        control_level (null for controls and responses).
    """

    report: QualityReport
    per_condition: pl.DataFrame
    per_row: pl.DataFrame


def measure_quality(
    obs: pl.DataFrame,
    var: pl.DataFrame,
    batches: Callable[[], Iterable[ProfileBatch]],
    *,
    measure: Measure,
    normalisation: Normalisation,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
    max_conditions: int = 20_000,
) -> Quality:
    """Measure what a user should know of profiles before anything is written.

    Memory is bounded by pieces of a batch: sums over conditions and control groups live in unnamed temporary
    files of 8 bytes * genes * (measured conditions + at most 4,000 of the null), and 48 * genes * control
    groups.

    Parameters
    ----------
    obs
        Harmonised row table (OBS_COLUMNS) in source order, (N,).
    var
        Gene table with gene_id or gene_symbol, (G,).
    batches
        Called twice; yields all profiles in the order of `obs`, dense or CSR.
    measure, normalisation
        What the values are; counts are normalised as `store.densify` does.
    seed
        Of halves, drawn conditions and the null.
    progress
        Told rows read, of two times N.
    max_conditions
        Treated conditions whose effects are measured at most; drawn with the seed where there are more.

    Raises
    ------
    SchemaError
        `obs`, `var` and the batches do not fit together, or a column holds what it cannot.
    """
    started = time.monotonic()
    genes = _gene_names(var)
    design = make_design(obs, measure, seed, max_conditions)
    run = _Run(design, genes, batches, normalisation, seed, progress)
    references, spreads = run.first_pass()
    reason = _why_no_effects(design, spreads)
    sums = None if reason else EffectSums(design, references, spreads)
    copies = run.second_pass(sums)
    measured = None
    if sums is not None:
        scale = 1 / math.log(2) if normalisation in ("counts", "log1p_cpm") else 1.0
        measured = _measured(design, sums, var, spreads, scale)
    report = QualityReport(
        n_rows=design.obs.height,
        n_genes=len(genes),
        measure=measure,
        normalisation=normalisation,
        duplicates=duplicate_summary(design, copies),
        values=value_summary(run.checks, genes),
        conditions=condition_summary(design),
        effects=None if measured is None else measured.effects,
        no_effects=reason,
        targets=()
        if measured is None
        else target_summaries(design, measured.own, measured.targets, genes, normalisation),
        seed=seed,
        seconds=round(time.monotonic() - started, 3),
    )
    return Quality(report, _per_condition(design, measured, genes), _per_row(design, run.checks, copies))


class _Run:
    """The two passes over the profiles."""

    def __init__(
        self,
        design: Design,
        genes: list[str],
        batches: Callable[[], Iterable[ProfileBatch]],
        normalisation: Normalisation,
        seed: int,
        progress: ProgressCallback,
    ) -> None:
        self._design, self._batches, self._progress = design, batches, progress
        self._normalisation, self._seed = normalisation, seed
        self._n_rows, self._n_genes = design.obs.height, len(genes)
        self.checks = RowChecks(self._n_rows, self._n_genes, normalisation, seed)

    def _pieces(self, done: int, note: str) -> Iterator[tuple[int, ProfileBatch]]:
        for first, piece in pieces(self._batches(), self._n_rows, self._n_genes):
            yield first, piece
            self._progress(done + first + piece.shape[0], 2 * self._n_rows, note)

    def first_pass(self) -> tuple[References, NDArray[np.float32]]:
        """Check every row, and add up controls; return what responses are told by, and spreads."""
        references = References(self._design, self._n_genes, self._normalisation, self._seed)
        for first, piece in self._pieces(0, "profiles checked"):
            self.checks.add(first, piece)
            references.add(first, piece)
        return references, references.finish()

    def second_pass(self, sums: EffectSums | None) -> NDArray[np.int64]:
        """Add up responses; return the first row with the values of each row, -1 for none."""
        second = SecondHashes(self.checks, self._seed)
        for first, piece in self._pieces(self._n_rows, "responses added up"):
            second.add(first, piece)
            if sums is not None:
                sums.add(first, normalised(piece, self._normalisation))
        return first_copies(self.checks, second)


@dataclass(frozen=True)
class _Measured:
    effects: Effects
    strengths: Strengths
    targets: pl.DataFrame
    own: OwnGenes


def _gene_names(var: pl.DataFrame) -> list[str]:
    table = gene_table(var)
    return table.select(pl.coalesce("gene_symbol", "gene_id").fill_null("")).to_series().to_list()


def _why_no_effects(design: Design, spreads: NDArray[np.float32]) -> str:
    if not design.n_treated:
        return "no row is treated"
    if design.pairing is not None and not design.has_response.any():
        return "no treated profile has a control in its cell line"
    contexts = np.unique(design.context_of_row[design.has_response])
    if not np.isfinite(spreads[contexts]).any():
        least = "20 profiles" if design.pairing is None else "three controls of one plate or line"
        return f"there are too few profiles to tell the spread of a gene (at least {least}, not all equal)"
    return ""


def _measured(
    design: Design, sums: EffectSums, var: pl.DataFrame, spreads: NDArray[np.float32], scale: float
) -> _Measured:
    own = own_genes(design, var)
    changes = TargetChanges(design, own)
    strengths = strengths_of(sums, 0, changes.visit)
    effects = effect_summaries(design, strengths, strengths_of(sums, 1))
    is_level = design.pairing is not None
    targets = changes.table(strengths.n_responses, spreads, is_level, scale)
    return _Measured(effects, strengths, targets, own)


def _per_condition(design: Design, measured: _Measured | None, genes: list[str]) -> pl.DataFrame:
    columns = ["condition_id", *CONDITION_COLUMNS, "cmap_name", "targets", "is_control", "n_rows"]
    table = design.conditions.select("condition_index", *columns)
    strengths = measured.strengths if measured else None
    found = pl.DataFrame(
        {
            "condition_index": design.real.conditions if strengths else np.zeros(0, np.int64),
            "n_responses": strengths.n_responses if strengths else np.zeros(0, np.int64),
            "replicate_correlation": strengths.correlation if strengths else np.zeros(0),
            "signature_strength": strengths.strength if strengths else np.zeros(0, np.int64),
            "tas": strengths.activity if strengths else np.zeros(0),
        }
    ).with_columns(pl.col("condition_index").cast(pl.Int32))
    table = table.join(found.fill_nan(None), on="condition_index", how="left", maintain_order="left")
    targets = _least_targets(design, measured, genes)
    return table.join(targets, on="condition_index", how="left", maintain_order="left").drop(
        "condition_index"
    )


def _least_targets(design: Design, measured: _Measured | None, genes: list[str]) -> pl.DataFrame:
    """Return for each condition with measured targets the one that goes least the expected way."""
    empty = {
        "condition_index": pl.Int32,
        "target_gene": pl.String,
        "target_change": pl.Float64,
        "target_z": pl.Float64,
        "target_z_of_others": pl.Float64,
        "target_expected": pl.Boolean,
        "target_seen": pl.Boolean,
    }
    if measured is None or not measured.targets.height:
        return pl.DataFrame(schema=empty)
    least = measured.targets.sort("toward").unique("group", keep="first", maintain_order=True)
    index = design.real.conditions[least["group"].to_numpy()]
    return least.select(
        pl.Series("condition_index", index).cast(pl.Int32),
        pl.Series("target_gene", [genes[gene] for gene in least["gene"]], dtype=pl.String),
        pl.col("change").alias("target_change"),
        pl.col("z").alias("target_z"),
        pl.col("z_of_others").alias("target_z_of_others"),
        pl.col("is_expected").alias("target_expected"),
        pl.col("is_seen").alias("target_seen"),
    )


def _per_row(design: Design, checks: RowChecks, copies: NDArray[np.int64]) -> pl.DataFrame:
    levels = pl.Series("control_level", [None] * design.obs.height, dtype=pl.String)
    if design.pairing is not None:
        names = pl.Series([*design.pairing.level_names, "none"])
        levels = names.gather(np.where(design.pairing.level_of_row < 0, 3, design.pairing.level_of_row))
    return design.obs.select("sig_id", "condition_id", "is_control").with_columns(
        pl.Series("row", np.arange(design.obs.height)),
        pl.Series("copy_of", copies).replace(-1, None),
        pl.Series("n_missing", checks.n_missing),
        pl.Series("n_infinite", checks.n_infinite),
        pl.Series("n_filled", checks.n_filled),
        pl.Series("total", checks.totals),
        control_level=pl.when(pl.Series(~design.is_control)).then(levels),
    )
