"""The report of an ingest: what came from where, what was changed, what was left out, what to look at.

It is printed, saved as JSON, and is all a user has to check that guesses were right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.genes.records import GeneRecord
from pertcast_data.quality import QualityReport, report_lines
from pertcast_data.text import aligned, counted, listed
from pertcast_data.vocabulary import (
    CONDITION_COLUMNS,
    CONTROL_TYPES,
    DESCRIPTIVE_COLUMNS,
    OBS_COLUMNS,
    Measure,
    Normalisation,
)

_SHOWN_COLUMNS = (*OBS_COLUMNS, *DESCRIPTIVE_COLUMNS, "gene_id", "gene_symbol", "measure", "normalisation")


class ColumnReport(BaseModel):
    """Where one canonical column came from (see `ColumnDecision`)."""

    model_config = ConfigDict(frozen=True)

    canonical: str
    source: str
    how: Literal["given", "guessed", "derived", "absent"]


class SourceReport(BaseModel):
    """What was found in one file.

    Attributes
    ----------
    path, format, n_rows, n_genes, layout
        The file.
    columns
        Where each canonical column came from.
    converted, dropped, warnings
        Sentences.
    genes
        What genes are called.
    counts
        Reason -> how many rows or values it concerns.
    details
        Reason -> the values themselves, at most 1,000 and then a note; sentences show only a few.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    format: str
    n_rows: int
    n_genes: int
    layout: Literal["csr", "dense"]
    columns: tuple[ColumnReport, ...]
    converted: tuple[str, ...]
    dropped: tuple[str, ...]
    warnings: tuple[str, ...]
    genes: GeneRecord | None = None
    counts: dict[str, int] = {}
    details: dict[str, tuple[str, ...]] = {}


class IngestReport(BaseModel):
    """What an ingest did (or, on a dry run, would do).

    Attributes
    ----------
    out
        The store; None on a dry run.
    measure, normalisation
        What the values are.
    n_rows, n_genes, n_conditions, n_control_rows
        Sizes of the store.
    contexts
        Cell lines (or other contexts), sorted.
    sources
        One report a file.
    converted, dropped, warnings
        What concerns all files together.
    estimated_bytes, estimated_memory_bytes
        About the store's size before compression, and the memory that writing it takes.
    seconds
        Time it took.
    quality
        What the profiles are like, where they were looked at.
    """

    model_config = ConfigDict(frozen=True)

    out: str | None
    measure: Measure
    normalisation: Normalisation
    n_rows: int
    n_genes: int
    n_conditions: int
    n_control_rows: int
    contexts: tuple[str, ...]
    sources: tuple[SourceReport, ...]
    converted: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    estimated_bytes: int
    estimated_memory_bytes: int
    seconds: float = 0.0
    quality: QualityReport | None = None

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return self.model_dump_json(indent=2)

    def lines(self) -> list[str]:
        """Return the report for a terminal: the verdict first, one table a file, the path last."""
        lines = [self._verdict(), ""]
        for source in self.sources:
            lines += _source_lines(source)
        lines += _noted("converted", self.converted) + _noted("dropped", self.dropped)
        lines += _noted("warning", self.warnings)
        if self.quality is not None:
            lines += ["", *report_lines(self.quality), ""]
        if self.out:
            return [*lines, f"store: {self.out}"]
        size, memory = self.estimated_bytes / 1e6, self.estimated_memory_bytes / 1e6
        needs = f"a store of about {size:,.1f} MB before compression, {memory:,.0f} MB of memory"
        return [*lines, f"dry run: nothing was written; would need {needs}"]

    def _verdict(self) -> str:
        done = "Ingested" if self.out else "Would ingest"
        controls = f"{self.n_control_rows:,} control profiles" if self.n_control_rows else "no controls"
        n_warnings = len(self.warnings) + sum(len(source.warnings) for source in self.sources)
        marks = {0: "no warnings", 1: "1 warning"}.get(n_warnings, f"{n_warnings} warnings")
        return (
            f"{done} {self.n_rows:,} profiles x {self.n_genes:,} genes ({self.measure}, "
            f"{self.normalisation}): {counted(self.n_conditions, 'condition')} in {listed(self.contexts)}, "
            f"{controls}, {marks}"
        )


def source_report(
    path: str, file_format: str, shape: tuple[int, int], layout: Literal["csr", "dense"], findings: Findings
) -> SourceReport:
    """Freeze the findings of one file."""
    decided = {decision.canonical: decision for decision in findings.columns}
    return SourceReport(
        path=path,
        format=file_format,
        n_rows=shape[0],
        n_genes=shape[1],
        layout=layout,
        columns=tuple(
            ColumnReport(canonical=name, source=decided[name].source, how=decided[name].how)
            for name in _SHOWN_COLUMNS
            if name in decided
        ),
        converted=tuple(findings.converted),
        dropped=tuple(findings.dropped),
        warnings=tuple(findings.warnings),
        genes=findings.genes,
        counts=dict(findings.counts),
        details={reason: tuple(values) for reason, values in findings.listed.items()},
    )


def count_conditions(obs: pl.DataFrame) -> int:
    """Return the number of conditions, controls among them."""
    return obs.select(CONDITION_COLUMNS).n_unique()


def control_warnings(obs: pl.DataFrame, measure: Measure) -> list[str]:
    """Return what to know about controls: none at all, or contexts without any. Responses need none."""
    if measure == "response":
        return []
    is_control = pl.col("pert_type").is_in(CONTROL_TYPES)
    contexts = obs.group_by("cell_iname").agg(n_controls=is_control.sum(), n=pl.len()).sort("cell_iname")
    without = contexts.filter(pl.col("n_controls") == 0)
    if without.height == contexts.height:
        return [
            "no control profiles: training on these levels needs matched controls. Say which rows they are "
            "(`controls:` in the mapping file) or ingest the file that holds them together with this one"
        ]
    if without.height:
        names = listed(without["cell_iname"].to_list())
        return [f"{int(without['n'].sum()):,} profiles in contexts without controls: {names}"]
    return []


def _source_lines(source: SourceReport) -> list[str]:
    head = f"{source.path}  ({source.format}, {source.n_rows:,} x {source.n_genes:,}, {source.layout})"
    rows = [(f"  {item.canonical}", item.source or "-", item.how) for item in source.columns]
    lines = [head, *aligned([("  column", "from", "how"), *rows])]
    lines += [] if source.genes is None else [f"  {line}" for line in source.genes.lines()]
    lines += _noted("converted", source.converted) + _noted("dropped", source.dropped)
    return [*lines, *_noted("warning", source.warnings), ""]


def _noted(word: str, notes: Sequence[str]) -> list[str]:
    return [f"  {word}: {note}" for note in notes]
