"""Gathers the single perturbations of the training conditions, and fits the features of compounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError

from pertcast.encoding.compound_embedding import CompoundEmbedding, NamedCompound, fit_embedding
from pertcast.encoding.descriptions import Description, canonical_form, training_members
from pertcast.encoding.embedding_rows import EmbeddingRows
from pertcast.encoding.gene_feature_fit import StoreGenes, fit_gene_blocks
from pertcast.encoding.gene_features import GeneBlock
from pertcast.encoding.perturbations import Perturbations, structure_fingerprints
from pertcast.encoding.spec import EncoderSpec

_WEIGHED = 512
"""Training compounds, at most, whose fingerprints an embedding is weighed against."""


@dataclass(slots=True)
class TrainingCompound:
    """What the rows say of one compound: its structure (SMILES, InChIKey), its InChIKey, its other names."""

    structure: tuple[str, str] | None = None
    inchi_key: str | None = None
    other_names: set[str] = field(default_factory=set)


def fit_perturbations(
    rows: Sequence[Description],
    genes: tuple[str, ...],
    loadings: NDArray[np.float32],
    spec: EncoderSpec,
    everyone: Sequence[Description] = (),
) -> Perturbations:
    """Gather the single perturbations of the training conditions, sorted by kind and name.

    Parameters
    ----------
    rows
        Training conditions; controls are passed over.
    genes, loadings
        Gene space and its features; of no use without genetic perturbations.
    spec
        Widths of the blocks; names the embedding tables and gene networks.
    everyone
        Conditions of the whole store: their perturbations are counted in reports of coverage, no more.

    Raises
    ------
    ConfigError, FormatError, SchemaError
        A table or network cannot be read, or does not know what it must (see `fit_embedding` and
        `fit_gene_blocks`).
    """
    keys, compounds = training_perturbations(rows)
    ordered = sorted(keys)
    structures = [compounds[name].structure if c and name in compounds else None for c, name in ordered]
    embedding, row_of = _fit_table(compounds, everyone, spec)
    return Perturbations(
        names=tuple(name for _, name in ordered),
        is_compound=tuple(is_compound for is_compound, _ in ordered),
        smiles=tuple(structure[0] if structure else None for structure in structures),
        inchi_keys=tuple(structure[1] if structure else None for structure in structures),
        aliases=_aliases(ordered, compounds),
        genes=genes,
        loadings=loadings,
        spec=spec,
        embedding=embedding,
        embedding_rows=tuple(row_of.get(name, -1) if c else -1 for c, name in ordered) if embedding else (),
        gene_blocks=_gene_blocks(keys, everyone, genes, spec),
    )


def _gene_blocks(
    keys: set[tuple[bool, str]], everyone: Sequence[Description], genes: tuple[str, ...], spec: EncoderSpec
) -> tuple[GeneBlock, ...]:
    """Return what files say of genes, where training perturbs any."""
    training = _genes_of(keys)
    if not training:
        return ()
    perturbed = _genes_of(training_perturbations(everyone)[0]) if everyone else training
    return fit_gene_blocks(spec, StoreGenes(genes, perturbed, training))


def _genes_of(keys: set[tuple[bool, str]]) -> tuple[str, ...]:
    return tuple(sorted(name for is_compound, name in keys if not is_compound))


def training_perturbations(
    rows: Sequence[Description],
) -> tuple[set[tuple[bool, str]], dict[str, TrainingCompound]]:
    """Return (is it a compound, name) of every perturbation, and what is said of each compound."""
    treated = [row for row in rows if not row.is_control]
    compound_ids = {row.pert_id for row in treated if row.is_compound and row.pert_id}
    compounds: dict[str, TrainingCompound] = {}
    keys: set[tuple[bool, str]] = set()
    for row in treated:
        members = training_members(row, compound_ids)
        keys.update((row.is_compound, name) for name in members if name)
        if not row.is_compound or not all(members):
            continue
        for name in members:
            compounds.setdefault(name, TrainingCompound())
        if len(members) == 1:
            _note(compounds[members[0]], row)
    return keys, compounds


def _note(compound: TrainingCompound, row: Description) -> None:
    if row.canonical_smiles and compound.structure is None:
        compound.structure = canonical_form(row.canonical_smiles)
    compound.inchi_key = compound.inchi_key or row.inchi_key
    if row.cmap_name:
        compound.other_names.add(row.cmap_name)


def _aliases(
    ordered: Sequence[tuple[bool, str]], compounds: Mapping[str, TrainingCompound]
) -> dict[str, int]:
    """Return the other names that mean one compound only, and its index."""
    index = {name: i for i, (is_compound, name) in enumerate(ordered) if is_compound}
    holders: dict[str, list[str]] = {}
    for name, compound in compounds.items():
        for alias in compound.other_names:
            holders.setdefault(alias, []).append(name)
    return {
        alias: index[names[0]]
        for alias, names in sorted(holders.items())
        if len(names) == 1 and alias not in index
    }


def _fit_table(
    training: Mapping[str, TrainingCompound], everyone: Sequence[Description], spec: EncoderSpec
) -> tuple[CompoundEmbedding | None, dict[str, int]]:
    if spec.compound_embedding is None:
        return None, {}
    if not training:
        raise ConfigError(
            f"encoder.compound_embedding={spec.compound_embedding.name}: there is no compound among the "
            "training rows. Leave the table out."
        )
    table = EmbeddingRows.read(spec.compound_embedding)
    named = _named(training)
    store = _named(training_perturbations(everyone)[1]) if everyone else named
    return fit_embedding(table, named, store, _square_length(training, spec))


def _named(compounds: Mapping[str, TrainingCompound]) -> list[NamedCompound]:
    return [
        NamedCompound(
            name,
            (name, *sorted(compound.other_names)),
            compound.structure[1] if compound.structure else compound.inchi_key,
        )
        for name, compound in sorted(compounds.items())
    ]


def _square_length(training: Mapping[str, TrainingCompound], spec: EncoderSpec) -> float | None:
    """Return the mean square length of training fingerprints; None where there is no fingerprint beside."""
    if not spec.uses_fingerprint:
        return None
    smiles = sorted({compound.structure[0] for compound in training.values() if compound.structure})
    if not smiles:
        return 1.0
    chosen = smiles[:: max(1, len(smiles) // _WEIGHED)]
    return float(np.square(structure_fingerprints(chosen, spec), dtype=np.float64).sum(axis=1).mean())
