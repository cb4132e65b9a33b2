"""Sections of a data report: replicates and effects beside their null, and the targets' own genes."""

from __future__ import annotations

from typing import Any

import polars as pl
from pertcast_data.quality import QualityReport
from pertcast_data.quality.report import TargetSummary

from pertcast.report.data_report_figures import distribution_figure, own_target_figure
from pertcast.report.page import Section, figure_html, paragraph_html, table_html


def effect_sections(quality: QualityReport) -> list[Section]:
    """Return replicate correlation and TAS beside their null, or why there are none."""
    effects = quality.effects
    if effects is None:
        text = f"Replicates and effects could not be measured: {quality.no_effects}."
        return [Section("Do replicates agree", paragraph_html(text), tone="care")]
    how = (
        "over pairs of replicates"
        if effects.method == "pairs"
        else "of split halves, Spearman-Brown corrected"
    )
    sections = []
    for title, name, axis in (
        ("Do replicates agree", "correlation", f"Pearson correlation {how}"),
        ("Is there an effect: TAS", "activity", "sqrt(SS x max(CC, 0) / genes)"),
    ):
        curves = [
            (each.kind, getattr(each.measured, name), getattr(each.null, name)) for each in effects.kinds
        ]
        subtitle = "dotted: rows reassigned within line and batch"
        if any(measured.values for _, measured, _ in curves):
            html = figure_html(distribution_figure(curves, axis), 340, f"{title}, beside reassigned rows")
        else:
            html = paragraph_html("No treated condition has two profiles.")
        sections.append(Section(title, html, subtitle, width="half"))
    rows = [
        {
            "kind": f"{each.kind}{suffix}",
            "conditions": found.n_groups,
            "with replicates": found.correlation.n,
            "median CC": found.correlation.at(0.5),
            "beyond null (%)": None
            if suffix or each.share_beyond_null is None
            else 100 * each.share_beyond_null,
            "median SS (genes)": found.strength.at(0.5),
            "median TAS": found.activity.at(0.5),
        }
        for each in effects.kinds
        for found, suffix in ((each.measured, ""), (each.null, ", reassigned rows"))
    ]
    drawn = f" {effects.n_measured:,} of {effects.n_treated:,} conditions were drawn."
    caption = (
        f"CC: Pearson correlation {how}. SS: genes with |mean z| x sqrt(n) of 2 or more. Beyond null: CC "
        "above the null's 95th percentile, where chance puts 5 %."
        + (drawn if effects.n_measured < effects.n_treated else "")
    )
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return [
        *sections,
        Section(
            "Replicates and effects in numbers", table_html(frame, caption=caption, download="effects.csv")
        ),
    ]


def target_sections(quality: QualityReport, per_condition: pl.DataFrame | None) -> list[Section]:
    """Return the targets' own changes; empty where nothing is genetic."""
    if not quality.targets:
        return []
    frame = pl.DataFrame([_target_row(each) for each in quality.targets], infer_schema_length=None)
    caption = (
        "Others: the same genes in other conditions of the line and kind, which is what chance gives. "
        "Targets that are no gene of the matrix cannot be tested."
    )
    table = table_html(frame, caption=caption, download="own_targets.csv")
    shown = _own_targets(per_condition, quality.measure == "expression")
    if shown is None or not shown.height:
        return [Section("The target's own gene", table), *_worst_section(quality)]
    against = "controls" if quality.measure == "expression" else "other conditions"
    figure = own_target_figure(shown, f"z of the target's own gene against {against}")
    drawn = figure_html(figure, 340, "z of each target's own gene")
    subtitle = "hollow: does not go the expected way by |z| >= 2"
    return [
        Section("The target's own gene", drawn, subtitle),
        Section("Does the perturbation hit", table),
        *_worst_section(quality),
    ]


def _target_row(each: TargetSummary) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "expected": each.expected,
        "testable": each.n_testable,
        "of": each.n_conditions,
        f"median change ({each.unit})": each.change.at(0.5),
        "median z": each.z.at(0.5),
        "median z against others": each.z_of_others.at(0.5),
        "expected way (%)": _percent(each.share_expected),
        "others (%)": _percent(each.others_expected),
        "seen, |z| >= 2 (%)": _percent(each.share_seen),
        "others seen (%)": _percent(each.others_seen),
    }


def _own_targets(per_condition: pl.DataFrame | None, is_level: bool) -> pl.DataFrame | None:
    if per_condition is None:
        return None
    z = pl.col("target_z") if is_level else pl.coalesce("target_z_of_others", "target_z")
    told = per_condition.filter(pl.col("target_gene").is_not_null()).with_columns(z=z)
    return told.select("condition_id", "pert_type", "target_gene", "z", "target_seen")


def _worst_section(quality: QualityReport) -> list[Section]:
    rows = [
        {
            "condition": example.condition_id,
            "gene": example.gene,
            "expected": each.expected,
            f"change ({each.unit})": example.change,
            "z": example.z,
            "z against others": example.z_of_others,
        }
        for each in quality.targets
        for example in each.worst
    ]
    if not rows:
        return []
    frame = pl.DataFrame(rows, infer_schema_length=None)
    html = table_html(frame, download="no_change_of_target.csv")
    return [Section("Targets that do not change as expected", html, "the furthest from it first")]


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
