"""The space that perturbations are described in: fitted on training rows, or that of a trained encoder.

Weights of a trained model mean nothing in another space, so who starts from them keeps its columns and adds
new ones at the end of a block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pertcast_data.compounds import inchi_key_14
from pertcast_data.errors import ConfigError
from pertcast_data.splits import FittedOn
from pertcast_data.store import ExpressionStore
from pertcast_data.store.readers import RowReader
from pertcast_data.text import listed

from pertcast.encoding.descriptions import Description
from pertcast.encoding.gene_loadings import fit_gene_loadings
from pertcast.encoding.perturbation_fit import TrainingCompound, fit_perturbations, training_perturbations
from pertcast.encoding.perturbations import Perturbations
from pertcast.encoding.spec import EncoderSpec

_FITTED = ("perturbations and their features", "gene loadings", "limits of applicability")
_CONTINUED = ("perturbations and their features", "limits of applicability")
_SCALE = "scale of the compound embedding"
_GENE_SCALE = "scale of the gene embedding"


def fit_feature_space(
    store: ExpressionStore,
    reader: RowReader | None,
    rows: NDArray[np.int64],
    training: Sequence[Description],
    everyone: Sequence[Description],
    spec: EncoderSpec,
) -> Perturbations:
    """Return the training perturbations and the feature space that is fitted on their rows.

    Parameters
    ----------
    store, reader, rows
        The training store, its reader (its own where None) and its treated training rows.
    training, everyone
        What the training conditions, and all of the store, say of their perturbations.
    spec
        Widths of the blocks; names the files.

    Raises
    ------
    ConfigError, FormatError, SchemaError
        As `fit_perturbations`.
    """
    loadings = np.zeros((store.n_genes, 0), np.float32)
    if any(not row.is_compound for row in training):
        loadings = fit_gene_loadings(store, reader or store.reader(), rows, spec)
    return fit_perturbations(training, store.genes, loadings, spec, everyone)


def continued_feature_space(base: Perturbations, training: Sequence[Description]) -> Perturbations:
    """Return the feature space of a trained encoder, with the perturbations of new training rows added.

    A compound is one of the base's by its name or its structure; what is new comes after what is known, so
    that known columns stay where they are and each new perturbation that needs one gets a column at the end.

    Parameters
    ----------
    base
        Perturbations and feature space of the trained encoder.
    training
        What the new training conditions say of their perturbations.

    Raises
    ------
    ConfigError
        A name means one compound in the base and another here, or a new compound is not described: the base
        knows compounds by an embedding table alone, which does not hold it.
    """
    keys, compounds = training_perturbations(training)
    aliases, new = dict(base.aliases), []
    for is_compound, name in sorted(keys):
        index = _known(base, is_compound, name, compounds)
        if index < 0:
            new.append((is_compound, name))
        elif base.names[index] != name:
            aliases[name] = index
    structures = [compounds[name].structure if name in compounds else None for _, name in new]
    continued = replace(
        base,
        names=(*base.names, *(name for _, name in new)),
        is_compound=(*base.is_compound, *(is_compound for is_compound, _ in new)),
        smiles=(*base.smiles, *(found[0] if found else None for found in structures)),
        inchi_keys=(*base.inchi_keys, *(found[1] if found else None for found in structures)),
        aliases={alias: index for alias, index in aliases.items() if (True, alias) not in new},
        embedding_rows=(*base.embedding_rows, *_table_rows(base, new, compounds)),
    )
    _require_described(continued, len(base.names))
    return continued


def _known(
    base: Perturbations, is_compound: bool, name: str, compounds: Mapping[str, TrainingCompound]
) -> int:
    """Return the index of a perturbation in the base, -1 for a new one."""
    if not is_compound:
        return base.gene_index.get(name, -1)
    compound = compounds.get(name, TrainingCompound())
    key = compound.structure[1] if compound.structure else compound.inchi_key
    by_structure = base.skeleton_index.get(inchi_key_14(key), -1) if key else -1
    by_name = base.compound_index.get(name, -1)
    known_key = base.inchi_keys[by_name] if by_name >= 0 else None
    if key and known_key and inchi_key_14(key) != inchi_key_14(known_key):
        raise ConfigError(
            f"Compound {name!r} is {known_key} in the bundle to start from and {key} in the store: one name, "
            "two compounds. Give the store's compound another pert_id."
        )
    if by_name >= 0 or by_structure >= 0:
        return by_name if by_name >= 0 else by_structure
    return -1 if key else base.aliases.get(name, -1)


def _table_rows(
    base: Perturbations, new: Sequence[tuple[bool, str]], compounds: Mapping[str, TrainingCompound]
) -> tuple[int, ...]:
    """Return the embedding table's row of each new perturbation, -1 for none; nothing without a table."""
    if base.embedding is None:
        return ()
    rows = []
    for is_compound, name in new:
        compound = compounds.get(name, TrainingCompound())
        key = compound.structure[1] if compound.structure else compound.inchi_key
        names = (name, *sorted(compound.other_names))
        rows.append(base.embedding.table.find(names, key) if is_compound else -1)
    return tuple(rows)


def _require_described(space: Perturbations, n_known: int) -> None:
    """Raise ConfigError where embeddings alone describe compounds and a new one has none."""
    if space.embedding is None or space.spec.uses_fingerprint:
        return
    missing = [
        space.names[index]
        for index in range(n_known, len(space.names))
        if space.is_compound[index] and space.embedding_rows[index] < 0 and space.smiles[index]
    ]
    if missing:
        raise ConfigError(
            f"The bundle to start from knows compounds by {space.embedding.table.file} alone, which lacks "
            f"{len(missing):,} training compounds of the store ({listed(missing, 3)}). Train a bundle with "
            "encoder.compound_features=both, or with a table that holds them."
        )


def feature_names(space: Perturbations) -> tuple[str, ...]:
    """Return what each of the F feature columns means; equal in two spaces where it means the same."""
    names: list[str] = []
    for block, columns in space.blocks.items():
        if block == "one_hot":
            kinds = ["compound" if known else "gene" for known in space.is_compound]
            names += [f"one_hot/{kinds[index]}/{space.names[index]}" for index in space.one_hot_columns]
        else:
            names += [f"{block}/{number}" for number in range(columns.stop - columns.start)]
    return tuple(names)


def fitted_parts(
    space: Perturbations, rows: NDArray[np.int64], *, is_continued: bool
) -> tuple[FittedOn, ...]:
    """Return what of a feature space was fitted on training rows; a continued one keeps its scales."""
    if is_continued:
        return tuple(FittedOn.of(name, "features", "train", rows) for name in _CONTINUED)
    fitted = [FittedOn.of(name, "features", "train", rows) for name in _FITTED]
    if space.embedding is not None:
        fitted.append(FittedOn.of(_SCALE, "scaler", "train", rows))
    if any(block.source == "gene_table" for block in space.gene_blocks):
        fitted.append(FittedOn.of(_GENE_SCALE, "scaler", "train", rows))
    return tuple(fitted)
