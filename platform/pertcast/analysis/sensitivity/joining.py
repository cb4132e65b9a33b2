"""A table of drug sensitivity joined to the compounds and cell lines of a store, and how much of it joins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import polars as pl
from pertcast_data.compounds import inchi_key_14
from pertcast_data.errors import SchemaError

from pertcast.analysis.sensitivity.names import AMBIGUOUS, Catalogue, FoundDrug, match_lines, structure_of
from pertcast.analysis.sensitivity.table import SensitivityTable, ValueName

N_EXAMPLES: Final = 5

COMPOUND_SCHEMA: Final = {
    "compound": pl.String,
    "pert_id": pl.String,
    "cmap_name": pl.String,
    "canonical_smiles": pl.String,
}


@dataclass(frozen=True)
class JoinReport:
    """How much of a table joins, and what does not.

    Attributes
    ----------
    source
        The table.
    n_drugs, n_drugs_joined
        Drugs of the table, and those with a structure.
    by
        How drugs were found ("id", "structure", "name") or that the table's own structure serves
        ("own structure") -> how many.
    n_ambiguous
        Drugs whose name several compounds bear.
    n_lines, n_lines_joined
        Cell lines of the table, and those that the store knows.
    n_known_lines
        Cell lines that the store knows.
    n_pairs, n_pairs_joined
        Measured pairs of the table, and those of joined drugs and lines (several drugs of one structure are
        one compound).
    drugs_left_out, lines_left_out
        Examples of what did not join.
    remarks
        What the reading of the table dropped or averaged.
    """

    source: str
    n_drugs: int
    n_drugs_joined: int
    by: Mapping[str, int]
    n_ambiguous: int
    n_lines: int
    n_lines_joined: int
    n_known_lines: int
    n_pairs: int
    n_pairs_joined: int
    drugs_left_out: tuple[str, ...]
    lines_left_out: tuple[str, ...]
    remarks: tuple[str, ...]

    def lines(self) -> list[str]:
        """Say it in sentences."""
        ways = ", ".join(f"{count:,} by {how}" for how, count in self.by.items() if count)
        said = [
            f"{self.source}: {self.n_drugs_joined:,} of {self.n_drugs:,} drugs"
            + (f" ({ways})" if ways else "")
            + f", {self.n_lines_joined:,} of {self.n_lines:,} cell lines and {self.n_pairs_joined:,} of "
            f"{self.n_pairs:,} measured pairs join."
        ]
        if self.drugs_left_out:
            ambiguous = f" ({self.n_ambiguous:,} bear an ambiguous name)" if self.n_ambiguous else ""
            said.append(f"Drugs without a known structure{ambiguous}, e.g. {', '.join(self.drugs_left_out)}.")
        if self.lines_left_out:
            said.append(
                f"Cell lines that are not among the store's {self.n_known_lines:,}, e.g. "
                f"{', '.join(self.lines_left_out)}."
            )
        return [*said, *self.remarks]

    def to_json(self) -> dict[str, Any]:
        """Return the counts and examples as plain JSON."""
        plain = asdict(self)
        return {
            **plain,
            "by": dict(self.by),
            **{name: list(getattr(self, name)) for name in ("drugs_left_out", "lines_left_out", "remarks")},
        }


@dataclass(frozen=True)
class JoinedSensitivity:
    """The part of a table that a store's model can be asked about.

    Attributes
    ----------
    compounds
        One row a compound: compound (InChIKey-14, one for all salts and stereoisomers), pert_id, cmap_name,
        canonical_smiles.
    pairs
        One row a pair: compound, cell_iname (the store's name), value.
    value
        "ln_ic50" or "auc".
    report
        How much joined.
    """

    compounds: pl.DataFrame
    pairs: pl.DataFrame
    value: ValueName
    report: JoinReport


def join_sensitivity(
    table: SensitivityTable, catalogue: Catalogue, known_lines: Sequence[str], value: str | None = None
) -> JoinedSensitivity:
    """Join a table to compounds and cell lines.

    A drug's structure is its own where the table gives one, else that of the compound it is found to be.

    Parameters
    ----------
    table
        The table.
    catalogue
        Compounds of the store, then of a library.
    known_lines
        Cell lines that can be predicted.
    value
        "ln_ic50" or "auc"; the table's first where None.

    Raises
    ------
    SchemaError
        The table does not hold the value, or nothing joins.
    """
    name = table.require_value(value)
    found = [_find(row, catalogue) for row in table.drugs.iter_rows(named=True)]
    compounds, drug_to_compound = _compounds(table.drugs, found, catalogue)
    line_names = dict(zip(table.lines["line"], table.lines["names"].to_list(), strict=True))
    lines = match_lines(line_names, known_lines)
    measured = table.pairs.filter(pl.col(name).is_not_null())
    joined = measured.filter(pl.col("drug").is_in(list(drug_to_compound)) & pl.col("line").is_in(list(lines)))
    pairs = (
        joined.with_columns(
            pl.col("drug").replace_strict(drug_to_compound, return_dtype=pl.String).alias("compound"),
            pl.col("line").replace_strict(lines, return_dtype=pl.String).alias("cell_iname"),
        )
        .group_by("compound", "cell_iname", maintain_order=True)
        .agg(pl.col(name).mean().alias("value"))
    )
    report = _report(table, name, found, drug_to_compound, lines, known_lines, joined.height)
    if pairs.is_empty():
        raise SchemaError(_nothing(report, table, known_lines))
    kept = compounds.filter(pl.col("compound").is_in(pairs["compound"].implode()))
    return JoinedSensitivity(kept, pairs, name, report)


@dataclass(frozen=True)
class _Found:
    """A drug's compound, if any, and its own structure, if any."""

    drug: FoundDrug
    smiles: str | None
    skeleton: str | None


def _find(row: Mapping[str, Any], catalogue: Catalogue) -> _Found:
    own = structure_of(row["canonical_smiles"]) if row["canonical_smiles"] else None
    skeleton = inchi_key_14(own.inchi_key) if own else None
    found = catalogue.find(row["pert_id"], row["names"], skeleton)
    if own is not None:
        return _Found(found, own.canonical_smiles, skeleton)
    if found.place >= 0:
        return _Found(found, catalogue.smiles[found.place], catalogue.skeletons[found.place])
    return _Found(found, None, None)


def _compounds(
    drugs: pl.DataFrame, found: Sequence[_Found], catalogue: Catalogue
) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return the compounds with a structure, and drug -> compound."""
    rows: dict[str, dict[str, Any]] = {}
    of_drug: dict[str, str] = {}
    for row, each in zip(drugs.iter_rows(named=True), found, strict=True):
        if each.skeleton is None:
            continue
        of_drug[row["drug"]] = each.skeleton
        place = each.drug.place
        known = place >= 0
        rows.setdefault(
            each.skeleton,
            {
                "compound": each.skeleton,
                "pert_id": catalogue.pert_ids[place] if known else row["pert_id"] or each.skeleton,
                "cmap_name": next(iter(row["names"]), None) or row["pert_id"] or row["drug"],
                "canonical_smiles": each.smiles,
            },
        )
    return pl.DataFrame(list(rows.values()), schema=COMPOUND_SCHEMA), of_drug


def _way(found: _Found) -> str:
    return found.drug.how or "own structure"


def _report(
    table: SensitivityTable,
    value: str,
    found: Sequence[_Found],
    compounds: Mapping[str, str],
    lines: Mapping[str, str],
    known_lines: Sequence[str],
    n_joined: int,
) -> JoinReport:
    ways = Counter(_way(each) for each in found if each.skeleton is not None)
    drugs = table.drugs.with_columns(pl.col("names").list.first().fill_null(pl.col("drug")).alias("name"))
    left_out = drugs.filter(~pl.col("drug").is_in(list(compounds)))["name"].to_list()
    absent = table.lines.filter(~pl.col("line").is_in(list(lines)))
    names = absent.select(pl.col("names").list.last().fill_null(pl.col("line"))).to_series().to_list()
    return JoinReport(
        source=table.source,
        n_drugs=table.drugs.height,
        n_drugs_joined=len(compounds),
        by={how: ways[how] for how in ("id", "structure", "name", "own structure")},
        n_ambiguous=sum(each.drug.place == AMBIGUOUS and each.skeleton is None for each in found),
        n_lines=table.lines.height,
        n_lines_joined=len(lines),
        n_known_lines=len(known_lines),
        n_pairs=table.pairs[value].count(),
        n_pairs_joined=n_joined,
        drugs_left_out=tuple(left_out[:N_EXAMPLES]),
        lines_left_out=tuple(names[:N_EXAMPLES]),
        remarks=table.remarks,
    )


def _nothing(report: JoinReport, table: SensitivityTable, known_lines: Sequence[str]) -> str:
    drugs, lines = (
        ", ".join(names.head(3).to_list()) for names in (table.drugs["drug"], table.lines["line"])
    )
    return (
        f"Nothing of {table.source} joins: {report.n_drugs_joined} of its {report.n_drugs} drugs (e.g. "
        f"{drugs}) have a structure, and {report.n_lines_joined} of its {report.n_lines} cell lines (e.g. "
        f"{lines}) are among the store's ({', '.join(known_lines[:3])}). Give a library with pert_id, "
        "cmap_name and canonical_smiles, or a table about these cell lines."
    )
