"""A look at a file or a store: what is in it and, for a file, what an ingest would make of it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict

from pertcast_data.errors import PertcastError
from pertcast_data.ingest.report import IngestReport
from pertcast_data.ingest.run import ingest
from pertcast_data.readers.registry import open_source
from pertcast_data.readers.source import SOURCE_ID
from pertcast_data.storage import ObjectFolder
from pertcast_data.storage.fetched import local_copy
from pertcast_data.storage.location import is_remote
from pertcast_data.store import ExpressionStore, StoreInfo
from pertcast_data.store.manifest import MANIFEST_NAME
from pertcast_data.text import aligned, counted, listed

_SHOWN_CONTEXTS = 20


class ColumnFacts(BaseModel):
    """One column of a file's row table."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    n_distinct: int
    n_null: int
    examples: tuple[str, ...]


class FileInspection(BaseModel):
    """What a file of profiles holds, and what an ingest would make of it.

    Attributes
    ----------
    path, format, n_rows, n_genes, layout, dtype
        See `SourceSchema`.
    columns
        The row table's columns.
    gene_columns
        Names of the gene table's columns.
    plan
        The report of a dry run; None where an ingest would be refused.
    refusal
        Why it would be refused.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    format: str
    n_rows: int
    n_genes: int
    layout: str
    dtype: str
    columns: tuple[ColumnFacts, ...]
    gene_columns: tuple[str, ...]
    plan: IngestReport | None
    refusal: str | None

    def to_json(self) -> str:
        """Return the facts as indented JSON."""
        return self.model_dump_json(indent=2)

    def lines(self) -> list[str]:
        """Return the facts for a terminal."""
        rows = [
            (item.name, item.type, f"{item.n_distinct:,}", f"{item.n_null:,}", ", ".join(item.examples))
            for item in self.columns
        ]
        lines = [
            f"{self.format} file: {self.n_rows:,} profiles x {self.n_genes:,} genes ({self.layout})",
            "",
            *aligned([("column of the rows", "type", "distinct", "null", "examples"), *rows]),
            "",
            f"columns of the genes: {', '.join(self.gene_columns)}",
            "",
        ]
        if self.plan is None:
            return [*lines, f"An ingest needs help: {self.refusal}", f"file: {self.path}"]
        return [*lines, *self.plan.lines()]


class ContextFacts(BaseModel):
    """Conditions and profiles of one context."""

    model_config = ConfigDict(frozen=True)

    cell_iname: str
    n_conditions: int
    n_treated: int
    n_controls: int


class StoreInspection(BaseModel):
    """What a store holds.

    Attributes
    ----------
    path, info
        Where, and its facts.
    pert_types, doses, times
        Value -> profiles; doses in uM and times in hours as text.
    n_perturbations, n_batches
        Distinct treatments and batches.
    contexts
        One entry a context.
    columns
        Columns of obs.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    info: StoreInfo
    pert_types: dict[str, int]
    doses: dict[str, int]
    times: dict[str, int]
    n_perturbations: int
    n_batches: int
    contexts: tuple[ContextFacts, ...]
    columns: tuple[str, ...]

    def to_json(self) -> str:
        """Return the facts as indented JSON."""
        return self.model_dump_json(indent=2)

    def lines(self) -> list[str]:
        """Return the facts for a terminal."""
        info = self.info
        facts = [
            ("measure", f"{info.measure}, {info.normalisation}"),
            ("layout", f"{info.layout}, codec {info.codec}"),
            ("kinds", _counts(self.pert_types)),
            ("perturbations", f"{self.n_perturbations:,}"),
            ("doses (uM)", _counts(self.doses)),
            ("times (h)", _counts(self.times)),
            ("batches", f"{self.n_batches:,}"),
            ("columns", listed(self.columns, 40)),
            ("sources", ", ".join(info.sources) or "-"),
            ("data hash", info.data_hash),
        ]
        rows = [
            (item.cell_iname, f"{item.n_conditions:,}", f"{item.n_treated:,}", f"{item.n_controls:,}")
            for item in self.contexts
        ]
        more = len(rows) - _SHOWN_CONTEXTS
        return [
            f"Store of {info.n_rows:,} profiles x {info.n_genes:,} genes in {counted(len(rows), 'context')}",
            "",
            *aligned(facts),
            "",
            *aligned([("context", "conditions", "treated", "controls"), *rows[:_SHOWN_CONTEXTS]]),
            *([f"and {more:,} more"] if more > 0 else []),
            "",
            f"store: {self.path}",
        ]


def inspect_path(path: Path | str) -> FileInspection | StoreInspection:
    """Look at a store or at a file of profiles, here or in a bucket.

    Raises
    ------
    FormatError, CorruptStore
        It is neither, or broken.
    """
    if is_remote(path):
        if ObjectFolder(path).exists(MANIFEST_NAME):
            return _inspect_store(path)
        return _inspect_file(local_copy(path))
    return _inspect_store(path) if _is_store(Path(path)) else _inspect_file(Path(path))


def _is_store(path: Path) -> bool:
    try:
        return (path / MANIFEST_NAME).exists()
    except (OSError, ValueError):
        # What is wrong with the name is told where the file is opened.
        return False


def _inspect_file(path: Path) -> FileInspection:
    source = open_source(path)
    schema, obs = source.schema(), source.obs()
    plan: IngestReport | None = None
    refusal: str | None = None
    try:
        plan = ingest([path], path, dry_run=True)
    except PertcastError as error:
        refusal = str(error)
    return FileInspection(
        path=str(path),
        format=schema.format,
        n_rows=schema.n_rows,
        n_genes=schema.n_genes,
        layout=schema.layout,
        dtype=schema.dtype,
        columns=tuple(_column_facts(obs[name]) for name in obs.columns),
        gene_columns=tuple(name for name in source.var().columns if name != SOURCE_ID),
        plan=plan,
        refusal=refusal,
    )


def _column_facts(column: pl.Series) -> ColumnFacts:
    examples = column.drop_nulls().unique(maintain_order=True).head(3).cast(pl.String).to_list()
    return ColumnFacts(
        name=column.name,
        type=str(column.dtype),
        n_distinct=column.n_unique(),
        n_null=column.null_count(),
        examples=tuple(text if len(text) <= 24 else f"{text[:23]}…" for text in examples),
    )


def _inspect_store(path: Path | str) -> StoreInspection:
    store = ExpressionStore.open(path)
    obs = store.obs
    contexts = (
        obs.group_by("cell_iname")
        .agg(
            n_conditions=pl.col("condition_id").n_unique(),
            n_treated=(~pl.col("is_control")).sum(),
            n_controls=pl.col("is_control").sum(),
        )
        .sort("cell_iname")
    )
    treated = obs.filter(~pl.col("is_control"))
    return StoreInspection(
        path=str(path),
        info=store.info,
        pert_types=_count_values(obs["pert_type"]),
        doses=_count_values(obs["pert_dose"]),
        times=_count_values(obs["pert_time"]),
        n_perturbations=treated["pert_id"].n_unique(),
        n_batches=obs["batch_id"].drop_nulls().n_unique(),
        contexts=tuple(ContextFacts(**row) for row in contexts.iter_rows(named=True)),
        columns=tuple(obs.columns),
    )


def _count_values(column: pl.Series) -> dict[str, int]:
    counts = column.drop_nulls().value_counts().sort(column.name)
    return {
        f"{value:g}" if isinstance(value, float) else str(value): int(n) for value, n in counts.iter_rows()
    }


def _counts(counts: dict[str, int]) -> str:
    return listed((f"{value} ({number:,})" for value, number in counts.items()), 8) or "-"
