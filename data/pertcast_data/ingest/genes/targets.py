"""Targets of genetic perturbations under the names that the matrix's genes have.

With a user's table of names every target is resolved to its approved symbol; without one only case, hyphens,
versions and the ids of the same file are brought together. Nothing is guessed from likeness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import polars as pl

from pertcast_data.errors import SchemaError, nearest_known
from pertcast_data.gene_tables.gene_names import GeneNames
from pertcast_data.gene_tables.identifiers import identifier_key, identifier_kind, main_kind
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.genes.namespace import gene_namespace
from pertcast_data.ingest.genes.records import GeneRecord, GeneResolution, counts_of, listed_ones
from pertcast_data.ingest.genes.resolution import ID_COLUMNS, SOURCE_SYMBOL, resolve_name
from pertcast_data.ingest.rows.columns import as_text
from pertcast_data.text import counted, fold, listed
from pertcast_data.vocabulary import GENETIC_TYPES, PAIR_SEPARATOR, split_perturbation

SOURCE_TARGETS: Final = "source_targets"
"""Targets as the file has them, where some were resolved to other names."""

_NAMING: Final = ("targets", "cmap_name")
_SHOWN: Final = 5
_LONGEST_STRETCH: Final = 2


def resolve_targets(
    obs: pl.DataFrame, var: pl.DataFrame, names: GeneNames | None, findings: Findings
) -> pl.DataFrame:
    """Bring targets of genetic perturbations under the names of the matrix's genes.

    Parameters
    ----------
    obs
        Canonical rows of one file (`harmonise`).
    var
        Its canonical gene table (`gene_table`), resolved by the same `names`.
    names
        The user's table of gene names; None without one.
    findings
        Told what was renamed, and which targets are no gene of the matrix; `findings.genes` gets every
        resolution.

    Returns
    -------
    DataFrame
        The same rows. In `targets`, `cmap_name` and `pert_id` of genetic rows every member of a combination
        is resolved, and the members are sorted again. Where any target changed, `source_targets` holds
        what the file has.

    Raises
    ------
    SchemaError
        A target is a name of several genes.
    """
    genetic = obs["pert_type"].is_in(GENETIC_TYPES).fill_null(False)
    asked = _members(obs.filter(genetic), _NAMING)
    if not asked:
        return obs
    measured = _measured(var)
    # A perturbation called "1" is no Entrez id where the others are symbols.
    kind = main_kind(asked)
    named = [name for name in asked if not name.isdecimal() or identifier_kind(name) == kind]
    resolutions = {name: GeneResolution(name=name, resolved=None, how="unknown") for name in asked}
    resolutions |= {name: _resolution(name, names, measured) for name in named}
    targets = [resolutions[name] for name in _members(obs.filter(genetic), ("targets",))]
    _refuse_ambiguous(targets, names, obs)
    _record(targets, var, names, findings)
    _tell_unmapped(targets, measured, names, findings)
    new_names = {
        name: found.resolved for name, found in resolutions.items() if found.resolved not in (None, name)
    }
    return _renamed(obs, genetic, new_names, findings) if new_names else obs


def _members(rows: pl.DataFrame, columns: Iterable[str]) -> list[str]:
    """Return the distinct members of combinations in some columns, in the order of the rows."""
    texts = [text for name in columns for text in rows[name].drop_nulls().unique(maintain_order=True)]
    return list(dict.fromkeys(part for text in texts for part in split_perturbation(text)))


def _measured(var: pl.DataFrame) -> dict[str, str | None]:
    """Return key of a name of a measured gene -> what the gene is called; None where two genes share the key.

    A gene's symbol counts before the symbol that the file has for it, and this before ids.
    """
    called = var.select(pl.coalesce("gene_symbol", "gene_id")).to_series().to_list()
    found: dict[str, str | None] = {}
    others = [name for name in var.columns if name == SOURCE_SYMBOL or fold(name) in ID_COLUMNS]
    for column in ("gene_symbol", *sorted(others, key=lambda name: name != SOURCE_SYMBOL), "gene_id"):
        level: dict[str, str | None] = {}
        for name, gene in zip(as_text(var[column]), called, strict=True):
            if name is not None:
                key = identifier_key(name)
                level[key] = gene if level.get(key, gene) == gene else None
        found = level | found
    return found


def _resolution(name: str, names: GeneNames | None, measured: Mapping[str, str | None]) -> GeneResolution:
    """Return what a target stands for: by the table, else by the names of the matrix's genes."""
    found = None if names is None else resolve_name(name, names)
    if found is not None and found.resolved is not None:
        return found
    key = identifier_key(name)
    gene = measured.get(key)
    if gene is not None:
        how = "identical" if gene == name else "spelling" if identifier_key(gene) == key else "id"
        return GeneResolution.model_validate({"name": name, "resolved": gene, "how": how})
    return found or GeneResolution(name=name, resolved=None, how="unknown")


def _refuse_ambiguous(targets: list[GeneResolution], names: GeneNames | None, obs: pl.DataFrame) -> None:
    ambiguous = [each for each in targets if each.how == "ambiguous"]
    if not ambiguous or names is None:
        return
    path = obs["source_file"][0] if "source_file" in obs.columns else "rows"
    first = ambiguous[0]
    raise SchemaError(
        f"{path}: {counted(len(ambiguous), 'target')} of genetic perturbations may be several genes by "
        f"{names.file}: {listed(ambiguous, 10)}. Say which in the mapping file: targets (or cmap_name): "
        f"{{column: COLUMN, values: {{{first.name}: {first.candidates[0]}}}}}."
    )


def _record(
    targets: list[GeneResolution], var: pl.DataFrame, names: GeneNames | None, findings: Findings
) -> None:
    record = findings.genes or GeneRecord(
        namespace=gene_namespace(var["gene_id"]), table=None if names is None else names.file
    )
    findings.genes = record.model_copy(
        update={"target_counts": counts_of(targets), "targets": listed_ones(targets)}
    )


def _tell_unmapped(
    targets: list[GeneResolution],
    measured: Mapping[str, str | None],
    names: GeneNames | None,
    findings: Findings,
) -> None:
    """Warn of targets that the table does not know, and of those that are no gene of the matrix.

    Where nothing says that a name is a gene's at all, the nearest measured genes stand beside it.
    """
    called = sorted({gene for gene in measured.values() if gene is not None})
    strange = [each for each in targets if each.resolved is None]
    if names is not None and strange:
        findings.warnings.append(
            f"{counted(len(strange), 'target')} of genetic perturbations unknown to {names.file}: "
            f"{_shown(strange, called)}"
        )
    missing = [each for each in targets if identifier_key(each.resolved or each.name) not in measured]
    if missing:
        findings.warnings.append(
            f"{len(missing):,} of {counted(len(targets), 'target')} of genetic perturbations are no gene of "
            f"the matrix: {_shown(missing, called)}"
        )


def _shown(targets: list[GeneResolution], called: list[str]) -> str:
    shown = [
        each.resolved if each.resolved is not None else _with_nearest(each.name, called)
        for each in targets[:_SHOWN]
    ]
    more = f" and {len(targets) - _SHOWN:,} more" if len(targets) > _SHOWN else ""
    return f"{', '.join(shown)}{more}"


def _with_nearest(name: str, called: list[str]) -> str:
    """Return a name with genes of like spelling, of those that begin alike and are about as long."""
    alike = [
        gene
        for gene in called
        if gene[:1].casefold() == name[:1].casefold() and abs(len(gene) - len(name)) <= _LONGEST_STRETCH
    ]
    nearest = nearest_known(name, alike, 2)
    return f"{name} (nearest: {', '.join(nearest)})" if nearest else name


def _renamed(
    obs: pl.DataFrame, genetic: pl.Series, new_names: Mapping[str, str | None], findings: Findings
) -> pl.DataFrame:
    def renamed(text: str) -> str:
        return PAIR_SEPARATOR.join(sorted({new_names.get(part) or part for part in split_perturbation(text)}))

    n_before = obs.filter(genetic)["pert_id"].n_unique()
    columns = [_rewritten(obs[name], genetic, renamed) for name in ("targets", "cmap_name", "pert_id")]
    result = obs.with_columns(columns)
    if SOURCE_TARGETS not in obs.columns:
        result = result.with_columns(obs["targets"].alias(SOURCE_TARGETS))
    n_merged = n_before - result.filter(genetic)["pert_id"].n_unique()
    merged = f"; {n_merged:,} perturbations fell together with others" if n_merged else ""
    told = listed(f"{name} -> {symbol}" for name, symbol in new_names.items())
    findings.converted.append(f"{counted(len(new_names), 'target')} renamed: {told}{merged}")
    return result


def _rewritten(column: pl.Series, genetic: pl.Series, renamed: Callable[[str], str]) -> pl.Series:
    """Return a column with the names of genetic rows rewritten."""
    distinct = column.filter(genetic).drop_nulls().unique().to_list()
    table = {text: renamed(text) for text in distinct}
    changed = column.replace(table) if table else column
    frame = pl.DataFrame({"new": changed, "old": column, "genetic": genetic})
    return frame.select(pl.when("genetic").then("new").otherwise("old").alias(column.name)).to_series()
