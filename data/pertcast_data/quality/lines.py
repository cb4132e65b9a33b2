"""The quality report in words: the verdict, one table a subject, what to mend first."""

from __future__ import annotations

from pertcast_data.quality.mending import mend_first
from pertcast_data.quality.report import (
    Distribution,
    Effects,
    GroupStatistics,
    QualityReport,
    TargetSummary,
)
from pertcast_data.text import aligned, counted, listed

LEVEL_WORDS = {
    "batch": "on the same plate or batch",
    "context_time": "in the same cell line and time",
    "context": "only in the same cell line",
    "none": "none",
}
"""Level of matched controls -> words."""


def number(value: float | None) -> str:
    """Return a number with three significant digits, "-" for none."""
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def share(value: float | None) -> str:
    """Return a share as a percentage, "-" for none."""
    return "-" if value is None else f"{value:.1%}"


def report_lines(report: QualityReport) -> list[str]:
    """Return the report for a terminal: the verdict first, then what was measured, then what to mend."""
    mending = mend_first(report)
    marks = counted(len(mending), "thing") + " to mend" if mending else "nothing to mend"
    lines = [f"Checked {report.n_rows:,} profiles x {report.n_genes:,} genes: {marks}", ""]
    lines += [f"  {each}" for each in _value_lines(report)]
    lines += [f"  {each}" for each in _condition_lines(report)]
    if report.effects is None:
        lines.append(f"  replicates and effects not measured: {report.no_effects}")
    else:
        lines += ["", *_effect_lines(report.effects)]
    if report.targets:
        lines += ["", *_target_lines(report.targets)]
    if mending:
        lines.append("")
    for place, each in enumerate(mending, start=1):
        lines.append(f"{place}. {each.problem}")
        lines += [f"   {line}" for line in each.remedy.splitlines()]
    return lines


def _value_lines(report: QualityReport) -> list[str]:
    copies, values = report.duplicates, report.values
    lines = [
        f"copies: {copies.n_rows:,} rows in {counted(copies.n_sets, 'set')} of equal values, "
        f"{copies.n_rows_across:,} of them across conditions; {copies.n_repeated_names:,} repeated names"
    ]
    lines += [f"copies: {n:,} rows whose {name} repeats" for name, n in copies.repeated_barcodes.items()]
    worst = (
        f" (most in {listed(f'{gene} {n:,}' for gene, n in values.worst_genes)})"
        if values.worst_genes
        else ""
    )
    lines.append(
        f"missing: {values.n_missing:,} NaN and {values.n_infinite:,} infinite values in "
        f"{values.n_rows_with_missing:,} rows{worst}"
    )
    lines.append(
        f"empty: {values.n_zero_rows:,} rows and {values.n_zero_genes:,} genes of zeros only, "
        f"{values.n_constant_genes:,} constant genes"
    )
    lines.append(
        f"scale: {number(values.smallest)} to {number(values.largest)}, {values.n_out_of_scale:,} values "
        f"out of scale for {report.normalisation}"
        + (f", {values.n_fractional:,} counts with fractions" if values.n_fractional else "")
    )
    if values.library_sizes is not None:
        lines.append(f"counts a row: {_quantiles(values.library_sizes)}")
    return lines


def _condition_lines(report: QualityReport) -> list[str]:
    found = report.conditions
    below = ", ".join(f"{n:,} below {size}" for size, n in found.below.items())
    lines = [f"conditions: {found.n_treated:,} treated, rows a condition {_quantiles(found.sizes)}; {below}"]
    if found.coverage is not None:
        total = max(found.n_treated_rows, 1)
        told = ", ".join(f"{LEVEL_WORDS[level]} {n / total:.1%}" for level, n in found.coverage.items())
        lines.append(f"controls of treated rows: {told}")
    return lines


def _quantiles(found: Distribution) -> str:
    if not found.values:
        return "-"
    low, middle, high = (number(found.at(level)) for level in (0.05, 0.5, 0.95))
    return f"{middle} (5 to 95 %: {low} to {high})"


def _effect_lines(found: Effects) -> list[str]:
    drawn = (
        f", {found.n_measured:,} of {found.n_treated:,} drawn" if found.n_measured < found.n_treated else ""
    )
    how = "pairs of replicates" if found.method == "pairs" else "split halves, Spearman-Brown"
    head = f"  replicate correlation (Pearson, {how}{drawn}), median and 5 to 95 %"
    rows = [("    kind", "conditions", "correlation", "beyond null", "strength", "TAS")]
    for each in found.kinds:
        rows.append(_effect_row(each.kind, each.measured, share(each.share_beyond_null)))
        rows.append(_effect_row(f"{each.kind}, reassigned rows", each.null, ""))
    return [head, *aligned(rows)]


def _effect_row(name: str, found: GroupStatistics, beyond: str) -> tuple[str, str, str, str, str, str]:
    n, told = f"{found.correlation.n:,}", (found.correlation, found.strength, found.activity)
    correlation, strength, activity = (_quantiles(each) for each in told)
    return f"    {name}", n, correlation, beyond, strength, activity


def _target_lines(found: tuple[TargetSummary, ...]) -> list[str]:
    rows = [
        (
            "    kind",
            "expected",
            "testable",
            "median change",
            "z",
            "against others",
            "expected way",
            "|z| >= 2",
        )
    ]
    for each in found:
        rows.append(
            (
                f"    {each.kind}",
                each.expected,
                f"{each.n_testable:,} of {each.n_conditions:,}",
                f"{number(each.change.at(0.5))} {each.unit}",
                number(each.z.at(0.5)),
                number(each.z_of_others.at(0.5)),
                f"{share(each.share_expected)} (others {share(each.others_expected)})",
                f"{share(each.share_seen)} (others {share(each.others_seen)})",
            )
        )
    return ["  the target's own gene", *aligned(rows)]
