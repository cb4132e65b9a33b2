"""Who is who in a store: one name for a perturbation, a context, a dose, however a table spells it.

A compound is its structure (InChIKey-14: connectivity, without stereo and salt form) before it is an id; a
gene is its symbol under any of its names; a combination is the set of its members, in no order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import UnitError
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.splits.clusters import Clusters
from pertcast_data.splits.compound_names import NamedCompound, compound_clusters
from pertcast_data.splits.gene_names import GeneNames, perturbation_parts
from pertcast_data.vocabulary import PAIR_SEPARATOR, dose_in_micromolar, split_perturbation, time_in_hours

COMPOUND_TYPE: Final = "trt_cp"
_GENE_ID: Final = re.compile(r"^(ENS[A-Z]*G\d{11}(\.\d+)?|HGNC:\d+)$")
_MOST_NAMES_OF_AN_ID: Final = 4
_LOOSE_MARK: Final = re.compile(r"(?<!\d)[-_\s]|[-_\s](?!\d)")


class ConditionStore(Protocol):
    """What a split needs of a store; `pertcast_data.store.ExpressionStore` is one."""

    @property
    def conditions(self) -> pl.DataFrame:
        """One row a condition."""
        ...

    @property
    def obs(self) -> pl.DataFrame:
        """One row a profile, with condition_id."""
        ...

    @property
    def var(self) -> pl.DataFrame:
        """One row a gene."""
        ...

    @property
    def condition_of_row(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """(n_rows,) condition_index of each profile."""
        ...

    @property
    def data_hash(self) -> str:
        """Hash of the stored data."""
        ...

    @property
    def preprocessing(self) -> tuple[PreprocessingStep, ...]:
        """What was done to the values before they were stored."""
        ...


class Identity:
    """The treated conditions of a store under names that do not depend on spelling.

    Attributes
    ----------
    treated
        The N treated conditions, in store order; every list here has one entry for each.
    genes
        What names of genes mean in this store.
    """

    def __init__(
        self,
        treated: pl.DataFrame,
        obs: pl.DataFrame | None = None,
        var: pl.DataFrame | None = None,
        aliases: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.treated = treated
        self._obs = pl.DataFrame() if obs is None else obs
        self._aliases = tuple(aliases)
        kinds, columns = self._column("pert_type"), (self._column("targets"), self._column("pert_id"))
        texts = (
            text
            for column in columns
            for text, kind in zip(column, kinds, strict=True)
            if text and kind != COMPOUND_TYPE
        )
        self.genes = GeneNames.of(pl.DataFrame() if var is None else var, dict.fromkeys(texts), self._aliases)

    @classmethod
    def of(cls, store: ConditionStore, aliases: Iterable[tuple[str, str]] = ()) -> Identity:
        """Tell the treated conditions of a store apart; `aliases` are (alias, name) pairs of the user's."""
        return cls(store.conditions.filter(~pl.col("is_control")), store.obs, store.var, aliases)

    @cached_property
    def written(self) -> list[str]:
        """The perturbation as the table writes it: targets (else pert_id) of a gene, a compound's pert_id."""
        columns = zip(
            self._column("pert_type"), self._column("pert_id"), self._column("targets"), strict=True
        )
        return [
            (pert_id if kind == COMPOUND_TYPE else targets or pert_id) or ""
            for kind, pert_id, targets in columns
        ]

    @cached_property
    def compounds(self) -> list[NamedCompound | None]:
        """What the table says of each compound, None for other perturbations."""
        columns = (
            self._column(name)
            for name in ("pert_type", "pert_id", "cmap_name", "canonical_smiles", "inchi_key")
        )
        return [
            NamedCompound(pert_id or "", name, smiles, key) if kind == COMPOUND_TYPE else None
            for kind, pert_id, name, smiles, key in zip(*columns, strict=True)
        ]

    @cached_property
    def members(self) -> list[tuple[str, ...]]:
        """The single perturbations of each condition, sorted."""
        compound_of = self._compound_names
        members: list[tuple[str, ...]] = []
        for compound, text in zip(self.compounds, self.written, strict=True):
            if compound is None:
                members.append(tuple(sorted({self.gene_root(part) for part in perturbation_parts(text)})))
            else:
                members.append(tuple(sorted({compound_of[part] for part in self._compound_parts(compound)})))
        return members

    def gene_root(self, text: str) -> str:
        """Return the one name of a gene that stands for all its names in this store."""
        return self._gene_clusters.root(self.genes.canonical(text))

    @cached_property
    def contexts(self) -> list[str]:
        """The context of each condition: case, hyphens and spaces do not count, aliases do."""
        declared = {_fold_context(alias): _fold_context(name) for alias, name in self._aliases}
        folded = [_fold_context(text or "") for text in self._column("cell_iname")]
        return [declared.get(name, name) for name in folded]

    @cached_property
    def doses(self) -> list[str]:
        """Dose in uM to four digits, "" where there is none; the unit is that of the profiles' table."""
        return self._amounts("pert_dose", dose_in_micromolar)

    @cached_property
    def times(self) -> list[str]:
        """Time in hours to four digits, "" where there is none."""
        return self._amounts("pert_time", time_in_hours)

    @cached_property
    def names(self) -> list[str]:
        """A name a condition that does not depend on how anything of it is called or ordered."""
        columns = (self.contexts, self._column("pert_type"), self.members, self.doses, self.times)
        return [
            f"{context}|{kind}|{PAIR_SEPARATOR.join(members)}|{dose}|{time}"
            for context, kind, members, dose, time in zip(*columns, strict=True)
        ]

    @cached_property
    def _compound_names(self) -> dict[str, str]:
        rows = [row for row in self.compounds if row is not None]
        parts = [NamedCompound(part, None, None, None) for row in rows for part in self._compound_parts(row)]
        everyone = [*rows, *(part for part in parts if part.pert_id not in self._compound_ids)]
        names = compound_clusters(everyone, self._aliases)
        return {row.pert_id: name for row, name in zip(everyone, names, strict=True)}

    @cached_property
    def _compound_ids(self) -> frozenset[str]:
        return frozenset(row.pert_id for row in self.compounds if row is not None)

    def _compound_parts(self, row: NamedCompound) -> tuple[str, ...]:
        """Return the compounds of a combination: one without a structure, each part of which is known."""
        parts = split_perturbation(row.pert_id)
        is_pair = len(parts) > 1 and not row.smiles and all(part in self._compound_ids for part in parts)
        return parts if is_pair else (row.pert_id,)

    @cached_property
    def _gene_clusters(self) -> Clusters:
        """Join names of genes with one id in the profiles' table, or one symbol beside a construct's id."""
        clusters = Clusters()
        columns = (self._column(name) for name in ("pert_type", "targets", "pert_id", "cmap_name"))
        for kind, targets, pert_id, name in zip(*columns, strict=True):
            texts = [text for text in (pert_id, name) if text and len(perturbation_parts(text)) == 1]
            if kind != COMPOUND_TYPE and not targets and len(texts) > 1:
                clusters.join(*(self.genes.canonical(text) for text in texts))
        for column in self._id_columns():
            for first, second in _same_id(column):
                clusters.join(self.genes.canonical(first), self.genes.canonical(second))
        return clusters

    def _id_columns(self) -> list[dict[str, set[str]]]:
        """Return, for each column of gene ids in the profiles' table, id -> names of single genes with it."""
        single = {
            name: parts[0]
            for name, text, compound in zip(
                self._column("condition_id"), self.written, self.compounds, strict=True
            )
            if compound is None and len(parts := perturbation_parts(text)) == 1
        }
        found = []
        for column in self._obs.columns:
            series = self._obs[column]
            if series.dtype not in (pl.String, pl.Enum, pl.Categorical) or column == "condition_id":
                continue
            first = series.drop_nulls().head(1).cast(pl.String).to_list()
            if not first or not _GENE_ID.match(first[0]):
                continue
            named: dict[str, set[str]] = {}
            for condition, text in (
                self._obs.select("condition_id", pl.col(column).cast(pl.String)).unique().iter_rows()
            ):
                if text and condition in single:
                    named.setdefault(text, set()).add(single[condition])
            if all(len(names) <= _MOST_NAMES_OF_AN_ID for names in named.values()):
                found.append(named)
        return found

    def _amounts(self, column: str, convert: Callable[[float, str], float]) -> list[str]:
        unit_of: dict[str, str] = {}
        if f"{column}_unit" in self._obs.columns:
            units = self._obs.group_by("condition_id").agg(pl.col(f"{column}_unit").first().cast(pl.String))
            unit_of = {name: unit for name, unit in units.iter_rows() if unit}
        rows = zip(self._column("condition_id"), self._column(column), strict=True)
        return [_amount(value, unit_of.get(name), convert) for name, value in rows]

    def _column(self, name: str) -> list[Any]:
        return self.treated[name].to_list() if name in self.treated.columns else [None] * self.treated.height


def control_rows(store: ConditionStore) -> NDArray[np.int64]:
    """Return the control profiles of a known context, ascending int64: those that can be matched."""
    usable = store.conditions["is_control"] & store.conditions["cell_iname"].is_not_null()
    return np.flatnonzero(usable.to_numpy()[store.condition_of_row]).astype(np.int64)


def perturbation_members(conditions: pl.DataFrame) -> list[tuple[str, ...]]:
    """Return the single perturbations of each condition of a table, sorted, as `Identity` tells them."""
    return Identity(conditions).members


def _amount(value: float | None, unit: str | None, convert: Callable[[float, str], float]) -> str:
    if value is None or np.isnan(value):
        return ""
    try:
        return f"{convert(value, unit) if unit else value:.4g}"
    except UnitError:
        return f"{value:.4g} {unit}"


def _same_id(named: dict[str, set[str]]) -> list[tuple[str, str]]:
    return [(first, other) for first, *others in map(sorted, named.values()) for other in others]


def _fold_context(text: str) -> str:
    return _LOOSE_MARK.sub("", text).upper()
