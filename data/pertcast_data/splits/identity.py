"""Who is who: one name for a perturbation, however a table spells it.

A compound is its structure (InChIKey-14: connectivity, without stereo and salt form) before it is an id; a
combination is the set of its members, in no order.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from pertcast_data.vocabulary import PAIR_SEPARATOR, split_perturbation

COMPOUND_TYPE: Final = "trt_cp"
INCHI_KEY_CONNECTIVITY: Final = 14


def compound_names(conditions: pl.DataFrame) -> list[str]:
    """Return one name a condition: rows with a common pert_id, InChIKey-14 or SMILES get the same name.

    Parameters
    ----------
    conditions
        N conditions with pert_id, inchi_key and canonical_smiles (null where unknown).

    Returns
    -------
    list of str
        The smallest InChIKey-14 of each such cluster; the smallest pert_id where no structure is known.
    """
    clusters = _Clusters()
    for pert_id, inchi_key, smiles in conditions.select(
        "pert_id", "inchi_key", "canonical_smiles"
    ).iter_rows():
        clusters.join(f"1{pert_id}", f"1{pert_id}")
        if inchi_key:
            clusters.join(f"1{pert_id}", f"0{inchi_key[:INCHI_KEY_CONNECTIVITY]}")
        if smiles:
            clusters.join(f"1{pert_id}", f"2{smiles}")
    return [clusters.root(f"1{pert_id}")[1:] for pert_id in conditions["pert_id"]]


def perturbation_members(conditions: pl.DataFrame) -> list[tuple[str, ...]]:
    """Return the single perturbations of each condition, sorted.

    A compound is one member, named by `compound_names`. Anything else is the set of genes in `targets`
    ("A+B") or, where that is null, in pert_id.
    """
    compounds = compound_names(conditions)
    columns = conditions.select("pert_type", "pert_id", "targets").iter_rows()
    return [
        (compound,) if pert_type == COMPOUND_TYPE else split_perturbation(targets or pert_id or "")
        for compound, (pert_type, pert_id, targets) in zip(compounds, columns, strict=True)
    ]


def condition_names(conditions: pl.DataFrame) -> list[str]:
    """Return a name a condition that does not depend on how its perturbations are called or ordered."""
    columns = conditions.select("cell_iname", "pert_type", "pert_dose", "pert_time").iter_rows()
    return [
        f"{cell}|{pert_type}|{PAIR_SEPARATOR.join(members)}|{dose}|{time}"
        for members, (cell, pert_type, dose, time) in zip(
            perturbation_members(conditions), columns, strict=True
        )
    ]


class _Clusters:
    """Union of names into clusters; the smallest name of a cluster is its root."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        self._parent.setdefault(name, name)
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def join(self, first: str, second: str) -> None:
        low, high = sorted((self.root(first), self.root(second)))
        self._parent[high] = low
