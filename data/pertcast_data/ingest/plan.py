"""What will be written, settled before a byte is: rows, genes and values of all files together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.genes.join import join_genes
from pertcast_data.ingest.genes.resolution import names_of_rule
from pertcast_data.ingest.genes.table import gene_table, kept_genes, with_gene_table
from pertcast_data.ingest.genes.targets import resolve_targets
from pertcast_data.ingest.mapping.ingest_mapping import IngestMapping
from pertcast_data.ingest.mapping.rules import TableRule
from pertcast_data.ingest.rows.columns import SOURCE_ROW
from pertcast_data.ingest.rows.harmonise import harmonise
from pertcast_data.ingest.side_tables.joining import join_side_table
from pertcast_data.ingest.side_tables.lincs import lincs_tables
from pertcast_data.ingest.values.normalisation import decide_values, summarise
from pertcast_data.ingest.writing.selection import selected
from pertcast_data.readers.registry import open_source
from pertcast_data.readers.source import ProfileBatch, ProfileSource
from pertcast_data.text import counted, listed
from pertcast_data.vocabulary import Measure, Normalisation


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """One file: its rows and genes that are kept and their canonical tables, and what its values are.

    `genes` are the columns of the matrix that `var` is about; None where it is all of them. `options` is how
    the source was opened.
    """

    path: Path
    options: dict[str, Any]
    source: ProfileSource
    obs: pl.DataFrame
    var: pl.DataFrame
    genes: npt.NDArray[np.int64] | None
    measure: Measure
    normalisation: Normalisation
    share_of_zeros: float
    findings: Findings

    def estimated_bytes(self, layout: Literal["csr", "dense"], n_genes: int) -> int:
        """Return about how many bytes the kept rows take before compression."""
        n_values = self.obs.height * n_genes
        return 4 * n_values if layout == "dense" else int(6 * n_values * (1 - self.share_of_zeros))


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """All files together, in the order in which their profiles will be written.

    Attributes
    ----------
    parts
        One plan a file.
    obs, var
        Row and gene table of the store, in source order.
    gene_columns
        For each file the columns of its matrix that are `var`; None where it is all of them in order.
    layout
        "csr" where every file is sparse.
    findings
        What concerns all files together.
    """

    parts: tuple[SourcePlan, ...]
    obs: pl.DataFrame
    var: pl.DataFrame
    gene_columns: tuple[npt.NDArray[np.int64] | None, ...]
    layout: Literal["csr", "dense"]
    findings: Findings

    def profiles(self) -> Iterator[ProfileBatch]:
        """Yield the profiles of all files in the order of `obs`."""
        for part, columns in zip(self.parts, self.gene_columns, strict=True):
            is_kept = np.zeros(part.source.schema().n_rows, bool)
            is_kept[part.obs[SOURCE_ROW].to_numpy()] = True
            yield from selected(part.source.batches(), is_kept, columns, self.layout)

    def only(self, is_kept: npt.NDArray[np.bool_], reasons: Sequence[tuple[str, int]]) -> IngestPlan:
        """Return the plan with those rows of `obs` only, and why the others are left out.

        Raises
        ------
        SchemaError
            No row is left.
        """
        if not is_kept.any():
            told = listed(f"{reason}: {number:,}" for reason, number in reasons)
            raise SchemaError(f"No row is left by `quality` in the mapping file ({told}). Ask less.")
        starts = np.cumsum([0, *(part.obs.height for part in self.parts)])
        parts = tuple(
            replace(part, obs=part.obs.filter(pl.Series(is_kept[start : start + part.obs.height])))
            for part, start in zip(self.parts, starts, strict=False)
        )
        self.findings.dropped.extend(
            f"{counted(number, 'row')} by `quality`: {reason}" for reason, number in reasons
        )
        return replace(self, parts=parts, obs=self.obs.filter(pl.Series(is_kept)))


def plan_ingest(
    sources: Sequence[Path],
    mapping: IngestMapping,
    obs_tables: Sequence[Path] | None = None,
    key: str | None = None,
) -> IngestPlan:
    """Read all tables and a sample of the values, and settle what will be written.

    Parameters
    ----------
    sources
        Files of profiles.
    mapping
        What the user says.
    obs_tables
        Tables of rows (and of genes) in files of their own, beside those that the mapping names.
    key
        Column of a single table that holds the matrix's row ids; without it, tables of LINCS are known by
        their columns.

    Raises
    ------
    FormatError, SchemaError, UnitError
        A file cannot be read, or something that is needed cannot be told.
    """
    named, genes = _named_tables(obs_tables or (), key)
    if genes is not None and mapping.genes.table is None:
        mapping = mapping.model_copy(update={"genes": mapping.genes.model_copy(update={"table": genes})})
    tables = (
        *((rule, "--key") for rule in named),
        *((rule, "mapping file, tables") for rule in mapping.tables),
    )
    found = [0] * len(tables)
    parts = [_plan_source(path, mapping, tables, found) for path in sources]
    _require_known(tables, found)
    findings = Findings()
    var, columns = _joined_genes(parts, mapping, findings)
    _agree(parts)
    obs = pl.concat([part.obs for part in parts], how="diagonal_relaxed")
    sparse_everywhere = all(part.source.schema().layout == "csr" for part in parts)
    return IngestPlan(
        parts=tuple(parts),
        obs=_distinct_names(obs, findings),
        var=var,
        gene_columns=columns,
        layout="csr" if sparse_everywhere else "dense",
        findings=findings,
    )


def _named_tables(paths: Sequence[Path], key: str | None) -> tuple[tuple[TableRule, ...], TableRule | None]:
    """Return how the tables of the command line are joined: by a named key, or as tables of LINCS."""
    if key is None:
        return lincs_tables(paths)
    if len(paths) != 1:
        raise ConfigError(
            f"--key {key} belongs to one --obs-table, {len(paths)} are given. Name several tables in the "
            "mapping file (`tables:`)."
        )
    return (TableRule(file=tuple(paths), key=key),), None


def _plan_source(
    path: Path, mapping: IngestMapping, tables: Sequence[tuple[TableRule, str]], found: list[int]
) -> SourcePlan:
    """Settle one file; `found` counts the rows that each table knows, over all files."""
    options = source_options(mapping)
    source = open_source(path, **options)
    raw, told = source.obs(), []
    for number, (rule, said_by) in enumerate(tables):
        joined = join_side_table(raw, rule, said_by)
        raw = joined.frame
        found[number] += joined.n_found
        told.append(joined.told)
    raw_genes = source.var()
    obs, findings = harmonise(raw, path, mapping, _names_in(raw_genes))
    findings.converted[:0] = [*source.schema().notes, *told]
    var = gene_table(with_gene_table(raw_genes, mapping.genes, findings), path, mapping.genes, findings)
    obs = resolve_targets(obs, var, names_of_rule(mapping.genes), findings)
    genes = kept_genes(var, path, mapping.genes, findings)
    summary = summarise(_columns(source.batches(rows=1024), genes))
    measure, normalisation = decide_values(summary, path, mapping.measure, mapping.normalisation, findings)
    kept = var if genes is None else var[genes.tolist()]
    return SourcePlan(
        path, options, source, obs, kept, genes, measure, normalisation, summary.share_of_zeros, findings
    )


def source_options(mapping: IngestMapping) -> dict[str, Any]:
    """Return how files are opened, as far as the mapping file says it."""
    named = {
        "matrix": mapping.matrix,
        "orientation": mapping.orientation,
        "annotation_columns": mapping.annotation_columns,
    }
    return {name: value for name, value in named.items() if value is not None}


def _names_in(genes: pl.DataFrame) -> frozenset[str]:
    """Return every name that a gene table has in any column: none of these is the name of a guide."""
    texts = genes.select(pl.selectors.string())
    return frozenset(name for column in texts for name in column.drop_nulls().to_list())


def _columns(
    batches: Iterable[ProfileBatch], columns: npt.NDArray[np.int64] | None
) -> Iterator[ProfileBatch]:
    for batch in batches:
        yield batch if columns is None else batch[:, columns]


def _require_known(tables: Sequence[tuple[TableRule, str]], found: Sequence[int]) -> None:
    for (rule, said_by), n_found in zip(tables, found, strict=True):
        if not n_found:
            raise SchemaError(
                f"{rule.file[0]}: column {rule.key!r} knows no value of {rule.matches!r} in any file. Name "
                f"other columns by {said_by}."
            )


def _joined_genes(
    parts: Sequence[SourcePlan], mapping: IngestMapping, findings: Findings
) -> tuple[pl.DataFrame, tuple[npt.NDArray[np.int64] | None, ...]]:
    if len(parts) == 1:
        return parts[0].var, (parts[0].genes,)
    paths = [part.path for part in parts]
    var, columns = join_genes([part.var for part in parts], paths, mapping.join, findings, mapping.genes)
    chosen = zip(parts, columns, strict=True)
    return var, tuple(own if part.genes is None else part.genes[own] for part, own in chosen)


def _agree(parts: Sequence[SourcePlan]) -> None:
    kinds = {(part.measure, part.normalisation) for part in parts}
    if len(kinds) > 1:
        told = listed(f"{part.path.name}: {part.measure}, {part.normalisation}" for part in parts)
        raise SchemaError(
            f"The files hold different things ({told}) and cannot share a store. Ingest them apart, or say "
            "`measure:` and `normalisation:` in the mapping file if a guess is wrong."
        )


def _distinct_names(obs: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    repeated = obs["sig_id"].is_duplicated()
    if not repeated.any():
        return obs
    findings.converted.append(
        f"{int(repeated.sum()):,} row ids stand in several files: the file's name was added"
    )
    named = pl.format("{}@{}", "sig_id", "source_file")
    return obs.with_columns(sig_id=pl.when(pl.col("sig_id").is_duplicated()).then(named).otherwise("sig_id"))
