"""Single perturbations: their names, their features, and what a table's row means by them.

A compound is its structure before it is an id; anything else is a gene symbol.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.compounds import canonicalise, inchi_key_14, morgan_fingerprints
from pertcast_data.errors import UnknownCompound, UnknownGene
from pertcast_data.vocabulary import CONTROL_TYPES, split_perturbation

from pertcast.encoding.condition_frame import COMPOUND_TYPE, PERTURBATION_COLUMNS
from pertcast.encoding.problems import Fault, missing_value
from pertcast.encoding.spec import EncoderSpec


@dataclass(frozen=True, slots=True)
class Description:
    """What a row says of its perturbation."""

    pert_type: str
    pert_id: str | None
    cmap_name: str | None
    targets: str | None
    canonical_smiles: str | None
    inchi_key: str | None

    @property
    def is_control(self) -> bool:
        """Whether nothing is done to the cell."""
        return self.pert_type in CONTROL_TYPES

    @property
    def is_compound(self) -> bool:
        """Whether it is a compound; everything else is named by genes."""
        return self.pert_type == COMPOUND_TYPE


def descriptions_of(frame: pl.DataFrame) -> list[Description]:
    """Return what each row of a condition frame says of its perturbation."""
    columns = [frame[name].to_list() for name in PERTURBATION_COLUMNS]
    return [
        Description(pert_type or "", pert_id, name, targets, smiles, key)
        for pert_type, pert_id, name, targets, smiles, key in zip(*columns, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Single:
    """One single perturbation: a known one by its index, a new compound by its canonical SMILES."""

    is_compound: bool
    name: str
    index: int = -1
    smiles: str | None = None


@dataclass(frozen=True)
class Perturbations:
    """The single perturbations of training, and the feature space that new ones are put into.

    Attributes
    ----------
    names, is_compound
        (P,) name and kind of each.
    smiles, inchi_keys
        (P,) canonical SMILES and InChIKey, None where there is no structure.
    aliases
        Other names of compounds (cmap_name) -> index.
    genes
        (G,) genes that have loadings.
    loadings
        (G, L) float32.
    spec
        Widths of the blocks.
    """

    names: tuple[str, ...]
    is_compound: tuple[bool, ...]
    smiles: tuple[str | None, ...]
    inchi_keys: tuple[str | None, ...]
    aliases: Mapping[str, int]
    genes: tuple[str, ...]
    loadings: NDArray[np.float32]
    spec: EncoderSpec

    @cached_property
    def compound_index(self) -> dict[str, int]:
        """Index of the compounds by name."""
        return {name: i for i, (name, c) in enumerate(zip(self.names, self.is_compound, strict=True)) if c}

    @cached_property
    def gene_index(self) -> dict[str, int]:
        """Index of the genetic perturbations by symbol."""
        return {n: i for i, (n, c) in enumerate(zip(self.names, self.is_compound, strict=True)) if not c}

    @cached_property
    def gene_row(self) -> dict[str, int]:
        """Row of the loadings by gene."""
        return {gene: row for row, gene in enumerate(self.genes)}

    @cached_property
    def _skeleton_index(self) -> dict[str, int]:
        keys = [(inchi_key_14(key), i) for i, key in enumerate(self.inchi_keys) if key]
        return dict(reversed(keys))

    @cached_property
    def blocks(self) -> Mapping[str, slice]:
        """Columns of each block of features: "fingerprint", "loadings", "one_hot"."""
        widths = {
            "fingerprint": self.spec.fingerprint_bits if any(self.smiles) else 0,
            "loadings": self.loadings.shape[1],
            "one_hot": len(self._one_hot),
        }
        starts = np.cumsum([0, *widths.values()]).tolist()
        return {name: slice(a, b) for name, a, b in zip(widths, starts, starts[1:], strict=False)}

    @cached_property
    def _one_hot(self) -> dict[int, int]:
        """Column of each perturbation with one: those without any other feature, and genes if asked for."""
        chosen = [index for index in range(len(self.names)) if self._needs_one_hot(index)]
        return {index: column for column, index in enumerate(chosen)}

    def _needs_one_hot(self, index: int) -> bool:
        if self.is_compound[index]:
            return self.smiles[index] is None
        if self.spec.one_hot:
            return True
        return not (self._has_loadings and self.names[index] in self.gene_row)

    @property
    def _has_loadings(self) -> bool:
        return bool(self.loadings.shape[1])

    @property
    def feature_width(self) -> int:
        """F, the width of the features."""
        return int(self.blocks["one_hot"].stop)

    def features(self, singles: Sequence[Single]) -> NDArray[np.float32]:
        """Return (M, F) float32 features; a new one must have passed `resolve`."""
        values = np.zeros((len(singles), self.feature_width), np.float32)
        blocks = self.blocks
        smiles = [(row, text) for row, single in enumerate(singles) if (text := self._smiles_of(single))]
        if smiles:
            rows, texts = zip(*smiles, strict=True)
            bits, radius = self.spec.fingerprint_bits, self.spec.fingerprint_radius
            values[list(rows), blocks["fingerprint"]] = morgan_fingerprints(texts, bits, radius)
        for row, single in enumerate(singles):
            if not single.is_compound and self._has_loadings and single.name in self.gene_row:
                values[row, blocks["loadings"]] = self.loadings[self.gene_row[single.name]]
            if single.index in self._one_hot:
                values[row, blocks["one_hot"].start + self._one_hot[single.index]] = 1.0
        return values

    def _smiles_of(self, single: Single) -> str | None:
        return self.smiles[single.index] if single.index >= 0 else single.smiles

    def resolve(self, row: Description) -> tuple[Single, ...] | Fault:
        """Return the single perturbations that a row names, or what is wrong with it; empty for a control."""
        if row.is_control:
            return ()
        if row.is_compound:
            return self._compounds(row)
        return self._genes(row)

    def _genes(self, row: Description) -> tuple[Single, ...] | Fault:
        named = [text for text in (row.targets, row.pert_id, row.cmap_name) if text]
        if not named:
            return missing_value("pert_id")
        for text in named[:1] if row.targets else named:
            members = split_perturbation(text)
            if members and all(map(self._is_known_gene, members)):
                return tuple(Single(False, gene, self.gene_index.get(gene, -1)) for gene in members)
        unknown = next(gene for gene in split_perturbation(named[0]) if not self._is_known_gene(gene))
        remedy = "Only genes of the gene space, or perturbed in training, have features: use another symbol."
        known = (*self.genes, *self.gene_index) if self.gene_index else ()
        return Fault(UnknownGene, "targets" if row.targets else "pert_id", unknown, remedy, known)

    def _is_known_gene(self, gene: str) -> bool:
        return gene in self.gene_index or (self._has_loadings and gene in self.gene_row)

    def _compounds(self, row: Description) -> tuple[Single, ...] | Fault:
        name = row.pert_id or row.cmap_name
        if row.canonical_smiles:
            return self._structure(row, row.canonical_smiles)
        if name is None:
            return missing_value("pert_id")
        found = self._known_compound(name, row.inchi_key)
        if found is None and row.cmap_name:
            found = self._known_compound(row.cmap_name, None)
        if found is not None:
            return (found,)
        parts = [self._known_compound(part, None) for part in split_perturbation(name)]
        if len(parts) > 1 and all(parts):
            return tuple(part for part in parts if part)
        remedy = "Give its structure in canonical_smiles."
        return Fault(UnknownCompound, "pert_id", name, remedy, (*self.compound_index, *self.aliases))

    def _known_compound(self, name: str, inchi_key: str | None) -> Single | None:
        index = self.compound_index.get(name, self.aliases.get(name, -1))
        if index < 0 and inchi_key:
            index = self._skeleton_index.get(inchi_key_14(inchi_key), -1)
        return Single(True, self.names[index], index) if index >= 0 else None

    def _structure(self, row: Description, smiles: str) -> tuple[Single, ...] | Fault:
        named = self._known_compound(row.pert_id, None) if row.pert_id else None
        if named is not None and self.smiles[named.index] == smiles:
            return (named,)
        structure = _canonical_form(smiles)
        if structure is None and named is not None and self.smiles[named.index] is None:
            return (named,)
        if structure is None:
            remedy = f"canonical_smiles {smiles!r} is no valid structure: correct it."
            return Fault(UnknownCompound, "canonical_smiles", row.pert_id or smiles, remedy)
        canonical, inchi_key = structure
        index = self._skeleton_index.get(inchi_key_14(inchi_key), -1)
        if index >= 0:
            same = named if named and self._same_skeleton(named.index, index) else None
            return (same or Single(True, self.names[index], index),)
        if self.blocks["fingerprint"].stop == 0:
            remedy = "No compound of the training had a structure, so structures say nothing to this model."
            return Fault(UnknownCompound, "pert_id", row.pert_id or smiles, remedy, (*self.compound_index,))
        return (Single(True, row.pert_id or row.cmap_name or canonical, -1, canonical),)

    def _same_skeleton(self, first: int, second: int) -> bool:
        keys = self.inchi_keys[first], self.inchi_keys[second]
        return keys[0] is not None and keys[1] is not None and keys[0][:14] == keys[1][:14]


@lru_cache(maxsize=1 << 16)
def _canonical_form(smiles: str) -> tuple[str, str] | None:
    """Return the canonical SMILES and InChIKey of a structure, None for an invalid one."""
    found = canonicalise(smiles)
    return None if found is None else (found.canonical_smiles, found.inchi_key)


def training_members(row: Description, known: Collection[str]) -> tuple[str, ...]:
    """Return the names of a training row's single perturbations.

    The name of a compound with a structure may hold a "+"; otherwise "+" combines known compounds.
    """
    if not row.is_compound:
        return split_perturbation(row.targets or row.pert_id or row.cmap_name or "")
    name = row.pert_id or row.cmap_name or ""
    parts = split_perturbation(name)
    if len(parts) > 1 and not row.canonical_smiles and all(part in known for part in parts):
        return parts
    return (name,)


def fit_perturbations(
    rows: Sequence[Description],
    genes: tuple[str, ...],
    loadings: NDArray[np.float32],
    spec: EncoderSpec,
) -> Perturbations:
    """Gather the single perturbations of the training conditions, sorted by kind and name.

    Parameters
    ----------
    rows
        Training conditions; controls are passed over.
    genes, loadings
        Gene space and its features; of no use without genetic perturbations.
    spec
        Widths of the blocks.
    """
    treated = [row for row in rows if not row.is_control]
    compound_ids = {row.pert_id for row in treated if row.is_compound and row.pert_id}
    structures: dict[str, tuple[str, str]] = {}
    other_names: dict[str, set[str]] = {}
    keys: set[tuple[bool, str]] = set()
    for row in treated:
        members = training_members(row, compound_ids)
        keys.update((row.is_compound, name) for name in members if name)
        if row.is_compound and len(members) == 1:
            if row.canonical_smiles and members[0] not in structures:
                found = _canonical_form(row.canonical_smiles)
                if found is not None:
                    structures[members[0]] = found
            if row.cmap_name:
                other_names.setdefault(row.cmap_name, set()).add(members[0])
    ordered = sorted(keys)
    index = {name: i for i, (is_compound, name) in enumerate(ordered) if is_compound}
    aliases = {
        alias: index[next(iter(names))]
        for alias, names in sorted(other_names.items())
        if len(names) == 1 and alias not in index
    }
    found_structures = [structures.get(name) if is_compound else None for is_compound, name in ordered]
    return Perturbations(
        names=tuple(name for _, name in ordered),
        is_compound=tuple(is_compound for is_compound, _ in ordered),
        smiles=tuple(found[0] if found else None for found in found_structures),
        inchi_keys=tuple(found[1] if found else None for found in found_structures),
        aliases=aliases,
        genes=genes,
        loadings=loadings,
        spec=spec,
    )
