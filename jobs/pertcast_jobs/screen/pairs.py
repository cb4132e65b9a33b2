"""Lists of pairs: "A+B" as it stands, and single perturbations combined each with each."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Final

import polars as pl
from pertcast_data.errors import SchemaError
from pertcast_data.vocabulary import PAIR_SEPARATOR, split_perturbation

from pertcast_jobs.screen.library import LIBRARY_SCHEMA, Library

MOST_PAIRS: Final = 2_000_000
"""A list is held in memory; beyond this it is told to be cut."""

_SHARED: Final = ("pert_type", "cell_iname", "pert_dose", "pert_time")


def pairs_of(library: Library) -> Library:
    """Turn a list of pairs and of single perturbations into a list of pairs.

    A row "A+B" (in targets or pert_id) is that pair. Single perturbations that agree in what they state
    (type, cell line, dose, time) are combined, each with each. A pair that is listed twice counts once.

    Raises
    ------
    SchemaError
        A row names more than two perturbations or one twice, fewer than two singles are left to combine, or
        there are more than `MOST_PAIRS` pairs.
    """
    frame = library.frame.with_columns(pert_id=pl.coalesce("targets", "pert_id"))
    members = [split_perturbation(name) for name in frame["pert_id"]]
    _require_pairs(frame, members, library.source)
    size = pl.Series([len(parts) for parts in members])
    listed = frame.filter(size == 2).with_columns(
        pert_id=pl.Series(
            [PAIR_SEPARATOR.join(parts) for parts in members if len(parts) == 2], dtype=pl.String
        )
    )
    combined = _combined(frame.filter(size == 1), library.source)
    if listed.is_empty() and combined.is_empty():
        raise SchemaError(_no_pair(frame, library.source))
    pairs = pl.concat([listed.select(list(LIBRARY_SCHEMA)), combined]).with_columns(
        targets=pl.lit(None, dtype=pl.String), cmap_name=pl.col("pert_id")
    )
    distinct = pairs.unique(subset=["pert_id", *_SHARED], keep="first", maintain_order=True)
    n_repeated = library.n_repeated + pairs.height - distinct.height
    return replace(library, frame=distinct.sort("row", maintain_order=True), n_repeated=n_repeated)


def _no_pair(frame: pl.DataFrame, source: str) -> str:
    if frame["pert_id"].n_unique() > 1:
        return (
            f"{source} holds no pair, and no two of its perturbations agree in pert_type, cell_iname, "
            "pert_dose and pert_time; compounds and genes are not combined. List pairs as A+B."
        )
    return (
        f"{source} holds a single perturbation and no pair. List pairs as A+B, or at least two perturbations "
        "to combine."
    )


def _require_pairs(frame: pl.DataFrame, members: list[tuple[str, ...]], source: str) -> None:
    for row, name, parts in zip(frame["row"], frame["pert_id"], members, strict=True):
        if len(parts) > 2:
            raise SchemaError(
                f"{source}, row {row}: {name!r} names {len(parts)} perturbations. Pairs have two: "
                "screen larger combinations with `pertcast screen table`."
            )
        if len(parts) == 2 and len(set(parts)) == 1:
            raise SchemaError(f"{source}, row {row}: {name!r} names one perturbation twice. Name two.")


def _combined(singles: pl.DataFrame, source: str) -> pl.DataFrame:
    """Combine single perturbations that agree in what they state; a pair stands in the row of its first."""
    n_pairs = sum(
        count * (count - 1) // 2 for count in singles.group_by(_SHARED, maintain_order=True).len()["len"]
    )
    if n_pairs > MOST_PAIRS:
        raise SchemaError(
            f"{singles.height:,} perturbations of {source} make {n_pairs:,} pairs, more than the "
            f"{MOST_PAIRS:,} of one screen. List fewer, or the pairs themselves as A+B."
        )
    parts = [pl.DataFrame(schema=dict(LIBRARY_SCHEMA))]
    for _, group in singles.group_by(_SHARED, maintain_order=True):
        distinct = group.unique(subset="pert_id", keep="first", maintain_order=True)
        couples = list(combinations(range(distinct.height), 2))
        names = distinct["pert_id"].to_list()
        joined = [PAIR_SEPARATOR.join(sorted((names[one], names[other]))) for one, other in couples]
        rows = distinct[[one for one, _ in couples]] if couples else distinct.clear()
        parts.append(
            rows.with_columns(
                pert_id=pl.Series(joined, dtype=pl.String),
                canonical_smiles=pl.lit(None, dtype=pl.String),
                inchi_key=pl.lit(None, dtype=pl.String),
            ).select(list(LIBRARY_SCHEMA))
        )
    return pl.concat(parts)
