"""The side tables of LINCS, recognised by their columns: nobody has to name keys, or the order of joining.

GSE92742, GSE70138 and the release of 2020 call their columns differently; all are known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from pertcast_data.compounds.library import ID, STRUCTURE_COLUMNS, is_structure_file
from pertcast_data.errors import SchemaError
from pertcast_data.ingest.mapping.rules import TableRule
from pertcast_data.tables.table import Table, open_table

LincsTable = Literal["signatures", "samples", "compounds", "cells", "genes"]
"""What a table has one line of each of."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a table of LINCS is recognised: by one of its keys, and by one of the columns that go with it."""

    keys: tuple[str, ...]
    beside: frozenset[str]
    title: str


_KINDS: Final[Mapping[LincsTable, _Kind]] = MappingProxyType(
    {
        "genes": _Kind(
            ("gene_id", "pr_gene_id"),
            frozenset({"gene_symbol", "pr_gene_symbol", "pr_is_lm", "feature_space"}),
            "genes (gene_id or pr_gene_id)",
        ),
        "signatures": _Kind(
            ("sig_id",),
            frozenset({"pert_id", "pert_iname", "cmap_name", "cell_id", "cell_iname", "tas", "distil_id"}),
            "signatures (sig_id)",
        ),
        "samples": _Kind(
            ("inst_id", "sample_id", "distil_id"),
            frozenset({"pert_id", "pert_mfc_id", "rna_plate", "det_plate", "cell_id", "cell_iname"}),
            "samples (inst_id, sample_id or distil_id)",
        ),
        "compounds": _Kind(
            ("pert_id",),
            frozenset({"canonical_smiles", "inchi_key", "moa", "target", "pert_iname", "cmap_name"}),
            "compounds (pert_id)",
        ),
        "cells": _Kind(
            ("cell_iname", "cell_id"),
            frozenset(
                {
                    *("cell_type", "cell_lineage", "primary_site", "primary_disease", "subtype"),
                    *("base_cell_id", "sample_type", "donor_age", "cellosaurus_id"),
                }
            ),
            "cells (cell_iname or cell_id)",
        ),
    }
)
"""In the order in which they are tried: a table of samples has pert_id and cell_id too."""

_JOINING: Final[tuple[LincsTable, ...]] = ("signatures", "samples", "compounds", "cells")
_CELL_NAMES: Final = ("cell_iname", "cell_id")


@dataclass(frozen=True, slots=True)
class _Known:
    """A recognised table."""

    kind: LincsTable
    key: str
    table: Table


def recognise_side_table(path: Path | str) -> TableRule | None:
    """Return how a table of LINCS is joined, None where it is none of its tables.

    Signatures and samples are joined by the matrix's row ids, genes by the gene's row name, compounds (and
    the records of an SDF or SMI file) by the rows' pert_id and cells by their cell_iname or cell_id.

    Raises
    ------
    FormatError
        The file cannot be read as a table.
    """
    if is_structure_file(Path(path)):
        return _library_rule([Path(path)])
    found = _recognised(open_table(Path(path)))
    return None if found is None else _rule(found)


def lincs_tables(paths: Sequence[Path]) -> tuple[tuple[TableRule, ...], TableRule | None]:
    """Return the rules of LINCS' tables of rows in the order of joining, and the rule of its genes.

    Several tables of one kind with one key are put under each other (releases have their own). A table brings
    the columns that none before it has: a knock-down that a table of compounds lacks keeps its name.

    Parameters
    ----------
    paths
        Tables in any order, and libraries of compounds in SDF or SMI, whose ids are then the rows' pert_id.

    Raises
    ------
    FormatError
        A file cannot be read as a table.
    SchemaError
        A table is none of LINCS'; its columns and the line to write are named. Several tables of one kind
        have different keys, or there are signatures and samples: a file's rows are one of both.
    """
    libraries = [Path(path) for path in paths if is_structure_file(Path(path))]
    known = [_required(open_table(Path(path))) for path in paths if Path(path) not in libraries]
    _require_one_level(known)
    genes = _together([each for each in known if each.kind == "genes"])
    rules: list[TableRule] = []
    seen: dict[str, None] = {}
    for kind in _JOINING:
        group = [each for each in known if each.kind == kind]
        rule = _together(group)
        if rule is None:
            continue
        rule = _matched(rule, group, seen)
        columns = dict.fromkeys(name for each in group for name in each.table.columns)
        if seen:
            new = tuple(name for name in columns if name not in seen and name != rule.key)
            rule = rule.model_copy(update={"columns": new})
        rules.append(rule)
        seen |= columns
    if libraries:
        rules.append(_library_rule(libraries, seen))
    return tuple(rules), genes


def _require_one_level(known: Sequence[_Known]) -> None:
    named = {each.kind: each.table.path.name for each in known if each.kind in ("signatures", "samples")}
    if len(named) > 1:
        raise SchemaError(
            f"{named['signatures']} tells signatures, {named['samples']} samples; a file's rows are one of "
            "both. Name the first with level 5, the second with level 3 and 4."
        )


def _recognised(table: Table) -> _Known | None:
    columns = set(table.columns)
    for kind, how in _KINDS.items():
        key = next((name for name in how.keys if name in columns), None)
        if key is not None and columns & how.beside:
            return _Known(kind, key, table)
    return None


def _required(table: Table) -> _Known:
    found = _recognised(table)
    if found is not None:
        return found
    held = ", ".join(table.columns[:20])
    if table.looks_headless:
        raise SchemaError(
            f"{table.path}: its first line looks like a row ({held}). Write a line of names above it."
        )
    titles = ", ".join(how.title for how in _KINDS.values())
    raise SchemaError(
        f"{table.path}: is no table of LINCS (of {titles}); it has {held}. "
        f"Name its column of row ids (--key COLUMN), or write in the mapping file: tables: [{{file: "
        f"{table.path.name}, key: COLUMN, matches: COLUMN_OF_THE_ROWS}}]."
    )


def _rule(found: _Known) -> TableRule:
    matches = found.key if found.kind in ("compounds", "cells") else None
    repeats: Literal["error", "join"] = "join" if found.kind == "compounds" else "error"
    return TableRule(file=(found.table.path,), key=found.key, matches=matches, repeats=repeats)


def _together(group: Sequence[_Known]) -> TableRule | None:
    """Return one rule for the tables of a kind, None where there is none."""
    if not group:
        return None
    keys = {each.key: each.table.path for each in group}
    if len(keys) > 1:
        told = " and ".join(f"{path.name}: {key}" for key, path in keys.items())
        raise SchemaError(
            f"Tables of {_KINDS[group[0].kind].title} have different keys ({told}): they are of different "
            "releases. Ingest these apart."
        )
    rule = _rule(group[0])
    return rule.model_copy(update={"file": tuple(each.table.path for each in group)})


def _library_rule(paths: Sequence[Path], seen: Mapping[str, None] | None = None) -> TableRule:
    """Return the rule of libraries of compounds; they are joined last."""
    twice = [name for name in STRUCTURE_COLUMNS if name in (seen or {})]
    if twice:
        raise SchemaError(
            f"{paths[0]}: a table before it tells {' and '.join(twice)} too, and one would be lost. Say in "
            "the mapping file which columns each of the `tables` brings."
        )
    return TableRule(file=tuple(paths), key=ID, matches="pert_id")


def _matched(rule: TableRule, group: Sequence[_Known], seen: Mapping[str, None]) -> TableRule:
    """Return a rule of cells with the name that the rows have by then: releases name them differently."""
    if group[0].kind != "cells" or not seen or rule.key in seen:
        return rule
    own = next((name for name in _CELL_NAMES if name in seen), rule.key)
    return rule.model_copy(update={"matches": own})
