"""From arrays of rows, genes and conditions to the numbers of the report."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.quality.design import Design
from pertcast_data.quality.effects import Strengths
from pertcast_data.quality.report import (
    SIZE_STEPS,
    Conditions,
    CopyExample,
    Distribution,
    Duplicates,
    Effects,
    EffectSummary,
    GroupStatistics,
    TargetExample,
    TargetSummary,
    Values,
)
from pertcast_data.quality.row_checks import EXPECTED_RANGE, RowChecks
from pertcast_data.quality.targets import EXPECTED_SIGN, OwnGenes
from pertcast_data.vocabulary import PERTURBATION_KINDS, Normalisation

_EXAMPLES: Final = 5
_NAMES: Final = 8
_WORST: Final = 20
_SIZE_BINS: Final = (1, 2, 3, 4, 5, 6, 10, 20, 50, 100, 200, 500)

UNITS: Final = MappingProxyType(
    {
        "counts": "log2",
        "log1p_cpm": "log2",
        "log2_intensity": "log2",
        "z_score": "z",
        "log_fold_change": "log fold",
    }
)
"""Normalisation -> unit of a change; changes of logarithms to base e are divided by ln 2."""


def duplicate_summary(design: Design, copies: NDArray[np.int64]) -> Duplicates:
    """Summarise rows with the same values, names and barcodes."""
    rows = np.flatnonzero(copies >= 0)
    table = design.obs.select("sig_id", "condition_id")[rows].with_columns(pl.Series("first", copies[rows]))
    sets = (
        table.group_by("first")
        .agg(
            n=pl.len(),
            n_conditions=pl.col("condition_id").n_unique(),
            sig_ids=pl.col("sig_id").fill_null("").head(_NAMES),
            condition_ids=pl.col("condition_id").unique(maintain_order=True).head(_NAMES),
        )
        .sort("n_conditions", "n", "first", descending=[True, True, False])
    )
    across = sets.filter(pl.col("n_conditions") > 1)
    names = design.obs["sig_id"].drop_nulls()
    return Duplicates(
        n_rows=len(rows),
        n_sets=sets.height,
        n_rows_across=int(across["n"].sum()),
        examples=tuple(
            CopyExample(sig_ids=tuple(each["sig_ids"]), condition_ids=tuple(each["condition_ids"]))
            for each in sets.head(_EXAMPLES).iter_rows(named=True)
        ),
        n_repeated_names=int(names.is_duplicated().sum()),
        repeated_barcodes=_repeated_barcodes(design.obs),
    )


def _repeated_barcodes(obs: pl.DataFrame) -> dict[str, int]:
    found = {}
    for name in obs.columns:
        if "barcode" in name.casefold() and obs[name].null_count() < obs.height:
            told = obs.select("batch_id", pl.col(name)).filter(pl.col(name).is_not_null())
            n = int(told.is_duplicated().sum())
            if 0 < n < told.height:
                found[name] = n
    return found


def value_summary(checks: RowChecks, genes: list[str]) -> Values:
    """Summarise missing, empty and impossible values."""
    by_gene = checks.gene_missing + checks.gene_infinite
    order = np.argsort(-by_gene, kind="stable")[:_NAMES]
    has_missing = (checks.n_missing + checks.n_infinite) > 0
    is_constant = checks.gene_low == checks.gene_high
    low, high = EXPECTED_RANGE[checks.normalisation]
    is_seen = np.isfinite(checks.gene_low) & np.isfinite(checks.gene_high)
    return Values(
        n_missing=int(checks.n_missing.sum(dtype=np.int64)),
        n_infinite=int(checks.n_infinite.sum(dtype=np.int64)),
        n_rows_with_missing=int(has_missing.sum()),
        worst_genes=tuple((genes[at], int(by_gene[at])) for at in order.tolist() if by_gene[at]),
        n_zero_rows=int(((checks.n_filled == 0) & ~has_missing).sum()),
        n_zero_genes=int(((checks.gene_filled == 0) & (by_gene == 0)).sum()),
        n_constant_genes=int(is_constant.sum()),
        constant_genes=tuple(genes[at] for at in np.flatnonzero(is_constant)[:_NAMES].tolist()),
        expected_low=float(low),
        expected_high=float(high) if np.isfinite(high) else None,
        smallest=float(checks.gene_low[is_seen].min()) if is_seen.any() else None,
        largest=float(checks.gene_high[is_seen].max()) if is_seen.any() else None,
        n_out_of_scale=checks.n_out_of_scale,
        n_fractional=checks.n_fractional,
        deviation=checks.deviation,
        library_sizes=Distribution.of(checks.totals) if checks.normalisation == "counts" else None,
    )


def condition_summary(design: Design) -> Conditions:
    """Summarise sizes and controls."""
    treated = design.conditions.filter(~pl.col("is_control"))
    sizes = treated["n_rows"].to_numpy()
    counts = np.bincount(np.searchsorted(_SIZE_BINS, sizes, side="right"), minlength=len(_SIZE_BINS) + 1)
    named = {_bin_name(place): int(counts[place + 1]) for place in range(len(_SIZE_BINS))}
    without: list[str] = []
    if design.pairing is not None:
        alone = (design.pairing.group_of_row < 0) & ~design.is_control
        without = sorted(
            {design.contexts[at] or "(no cell line)" for at in np.unique(design.context_of_row[alone])}
        )
    return Conditions(
        n_conditions=design.conditions.height,
        n_treated=treated.height,
        n_treated_rows=int((~design.is_control).sum()),
        n_control_rows=int(design.is_control.sum()),
        sizes=Distribution.of(sizes),
        below={step: int((sizes < step).sum()) for step in SIZE_STEPS},
        size_counts=named,
        contexts_without_controls=tuple(without),
        coverage=None if design.pairing is None else design.pairing.level_counts(),
    )


def _bin_name(place: int) -> str:
    first = _SIZE_BINS[place]
    if place + 1 == len(_SIZE_BINS):
        return f"{first}+"
    last = _SIZE_BINS[place + 1] - 1
    return f"{first}" if first == last else f"{first}-{last}"


def effect_summaries(design: Design, real: Strengths, null: Strengths) -> Effects:
    """Summarise effects by kind of perturbation, beside the null."""
    all_kinds = design.conditions["pert_type"].fill_null("").cast(pl.String).to_numpy()
    kinds, null_kinds = all_kinds[design.real.conditions], all_kinds[design.null.conditions]
    order = [kind for kind in PERTURBATION_KINDS if kind in kinds]
    order += sorted({str(kind) for kind in kinds} - set(order))
    return Effects(
        method=design.method,
        n_measured=len(design.real.conditions),
        n_treated=design.n_treated,
        kinds=tuple(_effect(kind, real, kinds == kind, null, null_kinds == kind) for kind in order),
    )


def _effect(
    kind: str, real: Strengths, chosen: NDArray[Any], null: Strengths, null_chosen: NDArray[Any]
) -> EffectSummary:
    measured, by_chance = _statistics(real, chosen), _statistics(null, null_chosen)
    limit, n = by_chance.correlation.at(0.95), measured.correlation.n
    beyond = np.count_nonzero(real.correlation[chosen] > limit) / n if limit is not None and n else None
    return EffectSummary(kind=kind, measured=measured, null=by_chance, share_beyond_null=beyond)


def _statistics(found: Strengths, chosen: NDArray[Any]) -> GroupStatistics:
    told = chosen & (found.n_responses > 0)
    return GroupStatistics(
        n_groups=int(told.sum()),
        correlation=Distribution.of(found.correlation[told]),
        strength=Distribution.of(found.strength[told]),
        activity=Distribution.of(found.activity[told]),
    )


def target_summaries(
    design: Design, own: OwnGenes, table: pl.DataFrame, genes: list[str], normalisation: Normalisation
) -> tuple[TargetSummary, ...]:
    """Summarise the targets' own changes by kind of genetic perturbation."""
    return tuple(
        _target(kind, design, own, table.filter(pl.col("pert_type") == kind), genes, normalisation)
        for kind in EXPECTED_SIGN
        if own.n_genetic.get(kind)
    )


def _target(
    kind: str,
    design: Design,
    own: OwnGenes,
    table: pl.DataFrame,
    genes: list[str],
    normalisation: Normalisation,
) -> TargetSummary:
    names = design.conditions["condition_id"]
    worst = table.filter(~pl.col("is_seen")).sort("toward", "group").head(_WORST)
    shares = {
        name: None if (mean := table[name].cast(pl.Float64).mean()) is None else float(mean)  # type: ignore[arg-type]
        for name in ("is_expected", "is_seen", "others_expected", "others_seen")
    }
    return TargetSummary(
        kind=kind,
        expected="up" if EXPECTED_SIGN[kind] > 0 else "down",
        n_conditions=own.n_genetic[kind],
        n_testable=own.n_testable.get(kind, 0),
        share_expected=shares["is_expected"],
        share_seen=shares["is_seen"],
        others_expected=shares["others_expected"],
        others_seen=shares["others_seen"],
        unit=UNITS[normalisation],
        change=Distribution.of(table["change"].to_numpy()),
        z=Distribution.of(table["z"].to_numpy()),
        z_of_others=Distribution.of(table["z_of_others"].drop_nulls().to_numpy()),
        worst=tuple(
            TargetExample(
                condition_id=names[int(design.real.conditions[each["group"]])],
                gene=genes[each["gene"]],
                change=each["change"],
                z=each["z"],
                z_of_others=each["z_of_others"],
            )
            for each in worst.iter_rows(named=True)
        ),
    )
