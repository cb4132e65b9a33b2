"""Sections of a data report: what to mend, files and columns, genes, values, sizes and controls."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePath
from typing import Any, Final

import polars as pl
from pertcast_data.ingest.report import IngestReport, SourceReport
from pertcast_data.quality import Mending, QualityReport
from pertcast_data.quality.report import Distribution
from pydantic import BaseModel

from pertcast.report.data_report_figures import (
    coverage_figure,
    size_figure,
)
from pertcast.report.page import (
    Section,
    badge_html,
    csv_link,
    figure_html,
    list_html,
    paragraph_html,
    table_html,
)
from pertcast.report.tables import MISSING, format_number
from pertcast.report.theme import Tone

_HOW: Final[dict[str, tuple[str, Tone]]] = {
    "given": ("given", "good"),
    "guessed": ("guessed", "care"),
    "derived": ("derived", "plain"),
    "absent": ("absent", "plain"),
}
_MOST_DOWNLOADED: Final = 20_000


def mend_section(mending: Sequence[Mending], quality: QualityReport | None) -> Section:
    """Return what to mend first, each with its line for the mapping file."""
    if quality is None:
        text = "The values were not measured: only tables and a sample of the profiles were looked at."
        return Section("What to mend first", paragraph_html(text), tone="care")
    if not mending:
        return Section(
            "What to mend first", paragraph_html("Nothing was found that needs mending."), tone="good"
        )
    items = "".join(
        f"<li>{escape(each.problem)}<br><code>{escape(each.remedy)}</code></li>" for each in mending
    )
    return Section(
        "What to mend first", f"<ol>{items}</ol>", "with the line for the mapping file", tone="bad"
    )


def overview_section(report: IngestReport) -> Section:
    """Return the sizes of what was (or would be) written."""
    rows = [
        ("profiles", f"{report.n_rows:,}"),
        ("genes", f"{report.n_genes:,}"),
        ("conditions, controls among them", f"{report.n_conditions:,}"),
        ("control profiles", f"{report.n_control_rows:,}"),
        ("cell lines or contexts", f"{len(report.contexts):,}: {_some(report.contexts)}"),
        ("values", f"{report.measure}, {report.normalisation}"),
        ("before compression", f"{report.estimated_bytes / 1e6:,.1f} MB"),
    ]
    frame = pl.DataFrame(rows, schema=["what", "how much"], orient="row")
    return Section("What is in it", table_html(frame), width="half")


def notes_section(report: IngestReport) -> Section:
    """Return the warnings of all files, and what concerns them together."""
    warnings = [*report.warnings, *_of_files(report, "warnings")]
    html = list_html(warnings) if warnings else paragraph_html("No warnings.")
    for title, notes in (("Converted, all files", report.converted), ("Dropped, all files", report.dropped)):
        if notes:
            html += paragraph_html(title, muted=True) + list_html(notes)
    return Section("Warnings", html, width="half", tone="care" if warnings else "good")


def _of_files(report: IngestReport, name: str) -> list[str]:
    many = len(report.sources) > 1
    return [
        f"{PurePath(source.path).name}: {note}" if many else note
        for source in report.sources
        for note in getattr(source, name)
    ]


def source_sections(source: SourceReport) -> list[Section]:
    """Return one file: where each column came from, what was converted and dropped, its genes."""
    head = f"{source.format}, {source.n_rows:,} x {source.n_genes:,}, {source.layout}"
    frame = pl.DataFrame(
        {
            "column": [each.canonical for each in source.columns],
            "from": [each.source or MISSING for each in source.columns],
            "how": [badge_html(*_HOW[each.how]) for each in source.columns],
        },
        schema={"column": pl.String, "from": pl.String, "how": pl.String},
    )
    name = PurePath(source.path).name
    columns = table_html(frame, raw_columns=["how"], download=f"{name}.columns.csv")
    sections = [
        Section(name, "", head, is_heading=True),
        Section("Column by column", columns, "guesses can be overruled in the mapping file", width="half"),
        Section("Converted and dropped", _changes(source), width="half"),
    ]
    return [*sections, *_further(source)]


def _changes(source: SourceReport) -> str:
    html = ""
    for title, notes in (("Converted", source.converted), ("Dropped", source.dropped)):
        html += paragraph_html(title, muted=True)
        html += list_html(notes) if notes else paragraph_html("Nothing.")
    return html


def _further(source: SourceReport) -> list[Section]:
    """Return whatever else the report of a file holds and can say in lines, such as its genes."""
    sections = []
    for name in type(source).model_fields:
        part: Any = getattr(source, name)
        told = getattr(part, "lines", None)
        if isinstance(part, BaseModel) and told is not None:
            html = list_html(told()) + _records(part, f"{PurePath(source.path).name}.{name}")
            sections.append(Section(name.replace("_", " ").capitalize(), html))
    return sections


def _records(part: BaseModel, file_name: str) -> str:
    """Return a download of each tuple of records that a part holds (names and what became of them)."""
    links = ""
    for field in type(part).model_fields:
        records = getattr(part, field)
        if isinstance(records, tuple) and records and all(isinstance(each, BaseModel) for each in records):
            rows = [
                {key: _some(value, 99) if isinstance(value, tuple) else value for key, value in each}
                for each in records
            ]
            frame = pl.DataFrame(rows, infer_schema_length=None)
            links += paragraph_html(f"{field}: {len(records):,} that are not identical", muted=True)
            links += table_html(frame.head(12)) + csv_link(frame, f"{file_name}.{field}.csv")
    return links


def value_sections(quality: QualityReport) -> list[Section]:
    """Return copies and what is missing, empty or impossible."""
    copies, values = quality.duplicates, quality.values
    rows = [
        ("profiles equal to another", copies.n_rows),
        ("of these, under different conditions", copies.n_rows_across),
        ("repeated row names", copies.n_repeated_names),
        *((f"repeated {name} within a batch", number) for name, number in copies.repeated_barcodes.items()),
    ]
    html = table_html(pl.DataFrame(rows, schema=["what", "rows"], orient="row"))
    html += list_html([f"{_some(each.sig_ids)}: {_some(each.condition_ids)}" for each in copies.examples])
    tone: Tone = "bad" if copies.n_rows_across else "plain"
    rows = [
        ("missing values (NaN)", values.n_missing),
        ("infinite values", values.n_infinite),
        ("profiles with either", values.n_rows_with_missing),
        ("profiles of zeros only", values.n_zero_rows),
        ("genes of zeros only", values.n_zero_genes),
        ("genes of one value", values.n_constant_genes),
        ("values out of scale", values.n_out_of_scale),
        ("counts with fractions", values.n_fractional),
    ]
    missing = table_html(
        pl.DataFrame(rows, schema=["what", "how many"], orient="row"), caption=_scale(quality)
    )
    if values.worst_genes:
        missing += paragraph_html(
            f"Most are missing in {_some([f'{gene} ({number:,})' for gene, number in values.worst_genes])}."
        )
    return [
        Section("Copies", html, "byte by byte, over all genes", width="half", tone=tone),
        Section("Missing, empty and impossible values", missing, width="half"),
    ]


def _scale(quality: QualityReport) -> str:
    values = quality.values
    high = "unbounded" if values.expected_high is None else format_number(values.expected_high)
    text = (
        f"Values from {format_number(values.smallest)} to {format_number(values.largest)}; "
        f"{quality.normalisation} can give {format_number(values.expected_low)} to {high}."
    )
    return (
        text if values.library_sizes is None else f"{text} Counts a profile: {_spread(values.library_sizes)}."
    )


def condition_sections(quality: QualityReport) -> list[Section]:
    """Return sizes of conditions and levels of their controls."""
    found = quality.conditions
    below = ", ".join(f"{number:,} below {size}" for size, number in found.below.items())
    html = figure_html(size_figure(found.size_counts), 280, "Profiles of each treated condition")
    html += paragraph_html(f"{found.n_treated:,} treated conditions: {below}.")
    sections = [Section("Profiles of a condition", html, width="half")]
    if found.coverage is None:
        text = "Responses are relative already and need no controls."
        return [*sections, Section("Matched controls", paragraph_html(text), width="half")]
    html = figure_html(coverage_figure(found.coverage), 280, "Treated profiles by their nearest controls")
    if found.contexts_without_controls:
        html += paragraph_html(f"Without any control: {_some(found.contexts_without_controls, 12)}.")
    tone: Tone = "bad" if found.coverage["none"] else "plain"
    return [*sections, Section("Nearest controls", html, "as training pairs them", width="half", tone=tone)]


def not_shown_section(quality: QualityReport | None) -> Section:
    """Return what the report does not show."""
    items = [
        "Whether names are right: a profile under a wrong name is seen only where its own target is "
        "measured, or where it is a copy of another.",
        "Whether two conditions that agree do so by biology: batches that hold one condition each cannot be "
        "told from it, and their null is left out.",
    ]
    if quality is not None and quality.effects is not None and quality.effects.method == "pairs":
        items.append(
            "Replicates that share their controls share those controls' error, which raises their "
            "correlation by about 1 / (controls + 1); the null contains the same."
        )
    if quality is not None and not quality.targets:
        items.append(
            "Whether compounds hit their targets: only genetic targets are tested on their own gene."
        )
    return Section("What this does not show", list_html(items), tone="care")


def downloads_section(per_condition: pl.DataFrame | None) -> list[Section]:
    """Return the table of all conditions as a download."""
    if per_condition is None or not per_condition.height:
        return []
    shown = per_condition.head(_MOST_DOWNLOADED)
    text = f"{shown.height:,} of {per_condition.height:,} conditions, with every statistic above."
    html = paragraph_html(text) + csv_link(shown, "conditions.csv")
    return [Section("Every condition", html)]


def _spread(found: Distribution) -> str:
    low, middle, high = (format_number(found.at(level)) for level in (0.05, 0.5, 0.95))
    return f"median {middle}, 5 to 95 % {low} to {high}"


def _some(items: Sequence[Any], most: int = 5) -> str:
    shown = ", ".join(str(item) for item in items[:most])
    return f"{shown} and {len(items) - most:,} more" if len(items) > most else shown
