"""What a model may know before it is trained, from a fold's controls and the user's files.

No treated row is read but training rows; edges and gene sets come from files that know no experiment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.gene_sets.gmt import GeneSets, read_gmt
from pertcast_data.gene_tables.identifiers import fold_gene
from pertcast_data.loading import pair_controls
from pertcast_data.networks.gene_network import GeneNetwork
from pertcast_data.networks.reading import read_gene_networks
from pertcast_data.splits import FittedOn, Split
from pertcast_data.store import ExpressionStore
from pertcast_data.store.readers import RowReader
from pertcast_data.text import listed

from pertcast.encoding.encoder import ConditionEncoder
from pertcast.encoding.gene_feature_fit import StoreGenes, fit_gene_blocks
from pertcast.encoding.gene_features import GeneBlock
from pertcast.encoding.gene_loadings import fit_gene_loadings
from pertcast.encoding.spec import EncoderSpec
from pertcast.models.priors import TrainingPriors

FEWEST_MEMBERS: Final = 10
MOST_MEMBERS: Final = 300
"""Gene sets with fewer or more genes of the gene space are left out."""


def training_priors(
    store: ExpressionStore,
    split: Split,
    fold: int,
    encoder: ConditionEncoder,
    reader: RowReader,
    *,
    spec: EncoderSpec | None = None,
    controls_per_context: int = 512,
    seed: int = 0,
) -> TrainingPriors:
    """Return what `ResponseModel.take_up` is given; equal on every worker.

    Parameters
    ----------
    store, split, fold
        The data and what of it is trained on.
    encoder
        Fitted on the same fold, or restored from its state.
    reader
        Reader of the store.
    spec
        The run's own, with the paths of its files; an encoder keeps only their names. May be left out where
        these name no file.
    controls_per_context
        Control profiles, at most, of each context.
    seed
        Of their draw, without replacement.

    Returns
    -------
    TrainingPriors
        controls: training controls minus the mean of their control group, as `pair_controls` groups them; a
        control alone in its group says nothing and is left out, and a store of responses has none.
        gene_embedding: loadings, network coordinates and table rows of the genes of the space. pathways: sets
        with 10 to 300 genes of the space.

    Raises
    ------
    ConfigError
        The encoder was fitted with files, and `spec` does not say where they are or they changed.
    FormatError, SchemaError
        A file cannot be used.
    LeakageError
        The split was made for another store.
    """
    spec = _with_files(spec, encoder)
    genes = encoder.space.genes
    controls, contexts = _controls(store, split, fold, encoder, reader, controls_per_context, seed)
    network = _network(spec) if spec.gene_network else None
    _require_same(network, encoder)
    edges, weights = _edges(network, genes)
    pathways, names = _pathways(spec.gene_sets, genes)
    loadings = _loadings(store, split, fold, encoder, reader, spec)
    embedding = np.column_stack((loadings, *(each.values_of(genes) for each in _blocks(encoder, spec))))
    return TrainingPriors(
        controls=torch.from_numpy(controls),
        control_context=torch.from_numpy(contexts),
        gene_embedding=torch.from_numpy(embedding),
        edges=torch.from_numpy(edges),
        edge_weight=torch.from_numpy(weights),
        pathways=torch.from_numpy(pathways),
        pathway_names=names,
    )


def check_gene_files(encoder: ConditionEncoder, spec: EncoderSpec) -> None:
    """Read the files of genes that the encoder has not read: a bad one is then found before a run begins.

    Raises
    ------
    FormatError, SchemaError, ConfigError
        A file cannot be used.
    """
    if spec.gene_network and not encoder.gene_coverage:
        _network(spec)
    _blocks(encoder, spec)
    _pathways(spec.gene_sets, encoder.space.genes)


def priors_fitted_on(store: ExpressionStore, split: Split, fold: int) -> tuple[FittedOn, ...]:
    """Return which rows `training_priors` looks at, for the auditor of leaks."""
    rows = split.rows(store, fold, "train")
    fitted = [FittedOn.of("gene embedding of the priors", "features", "train", rows)]
    if store.measure == "expression":
        controls = _training_controls(store, split, fold)
        fitted.append(FittedOn.of("controls of the priors", "basal", "controls", controls))
    return tuple(fitted)


def _with_files(spec: EncoderSpec | None, encoder: ConditionEncoder) -> EncoderSpec:
    if spec is not None:
        if spec.without_folders() != encoder.spec:
            raise ConfigError(
                "The encoder was fitted with other options than the priors are asked with. Give "
                "training_priors the spec of the encoder's run."
            )
        return spec
    named = [*encoder.spec.gene_network, *filter(None, (encoder.spec.gene_embedding, encoder.spec.gene_sets))]
    if named:
        raise ConfigError(
            f"The run knows genes from files ({listed(named)}), and an encoder keeps only their names. Give "
            "training_priors the run's own spec (spec=config.encoder)."
        )
    return encoder.spec


def _training_controls(store: ExpressionStore, split: Split, fold: int) -> NDArray[np.int64]:
    allowed = split.training_controls(store, fold)
    return np.flatnonzero(store.is_control).astype(np.int64) if allowed is None else allowed


def _controls(
    store: ExpressionStore,
    split: Split,
    fold: int,
    encoder: ConditionEncoder,
    reader: RowReader,
    most: int,
    seed: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return (M, G) float32 controls minus their group's mean, and (M,) int64 their contexts, ascending."""
    nothing = np.zeros((0, store.n_genes), np.float32), np.zeros(0, np.int64)
    if store.measure != "expression":
        return nothing
    pairing = pair_controls(store, _training_controls(store, split, fold))
    rows = np.unique(pairing.control_rows)
    sizes = np.bincount(pairing.group_of_control, minlength=pairing.n_groups)
    group = pairing.group_of_row[rows]
    rows = rows[(group >= 0) & (sizes[group] > 1)]
    if not len(rows):
        return nothing
    chosen = _drawn(store, rows, most, seed)
    place = {name: row for row, name in enumerate(encoder.space.contexts)}
    names = store.obs["cell_iname"].fill_null("").gather(chosen).to_list()
    contexts = np.array([place.get(name, -1) for name in names], dtype=np.int64)
    order = np.lexsort((chosen, contexts))
    chosen, contexts = chosen[order], contexts[order]
    by_row = np.argsort(chosen, kind="stable")
    profiles = np.empty((len(chosen), store.n_genes), np.float32)
    profiles[by_row] = reader.dense(chosen[by_row])
    return profiles - pairing.means(reader)[pairing.group_of_row[chosen]], contexts


def _drawn(store: ExpressionStore, rows: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Return at most `most` rows of each context, without replacement."""
    contexts = store.obs["cell_iname"].fill_null("").gather(rows).to_numpy()
    generator = np.random.default_rng(seed)
    parts = [rows[contexts == name] for name in sorted(set(contexts))]
    return np.concatenate(
        [part if len(part) <= most else generator.choice(part, most, replace=False) for part in parts]
    )


def _loadings(
    store: ExpressionStore,
    split: Split,
    fold: int,
    encoder: ConditionEncoder,
    reader: RowReader,
    spec: EncoderSpec,
) -> NDArray[np.float32]:
    """Return (G, L) loadings; fitted here where the encoder has none: training perturbs no gene."""
    known = encoder.perturbations
    if known.loadings.shape[1] or not spec.gene_components:
        rows = np.array([known.gene_row.get(gene, -1) for gene in encoder.space.genes], dtype=np.int64)
        return np.where(rows[:, None] < 0, np.float32(0), known.loadings[rows])
    return fit_gene_loadings(store, reader, split.rows(store, fold, "train"), spec)


def _blocks(encoder: ConditionEncoder, spec: EncoderSpec) -> tuple[GeneBlock, ...]:
    """Return the blocks of the encoder; made here where training perturbs no gene."""
    known = encoder.perturbations
    return known.gene_blocks if known.gene_index else fit_gene_blocks(spec, StoreGenes(encoder.space.genes))


def _network(spec: EncoderSpec) -> GeneNetwork:
    return read_gene_networks(spec.gene_network, spec.gene_network_score, spec.gene_names)


def _require_same(network: GeneNetwork | None, encoder: ConditionEncoder) -> None:
    fitted = [each for each in encoder.gene_coverage if each.source == "network"]
    if network is not None and fitted and fitted[0].sha256s != network.sha256s:
        raise ConfigError(
            f"encoder.gene_network: {listed(network.files)} changed since the encoder was fitted. Bring the "
            "files back, or train anew."
        )


def _edges(
    network: GeneNetwork | None, genes: tuple[str, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    if network is None:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    return network.among(genes)


def _pathways(path: Path | None, genes: tuple[str, ...]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return (P, G) float32 members of the sets of a useful size, and the sets' names."""
    if path is None:
        return np.zeros((0, len(genes)), np.float32), ()
    sets = read_gmt(path)
    place: dict[str, int] = {}
    for row, gene in enumerate(genes):
        place.setdefault(fold_gene(gene), row)
    found = {
        name: sorted({place[folded] for gene in members if (folded := fold_gene(gene)) in place})
        for name, members in sets.members.items()
    }
    kept = {name: rows for name, rows in found.items() if FEWEST_MEMBERS <= len(rows) <= MOST_MEMBERS}
    if not kept:
        raise SchemaError(_no_pathway(path, sets, genes))
    members = np.zeros((len(kept), len(genes)), np.float32)
    for row, columns in enumerate(kept.values()):
        members[row, columns] = 1.0
    return members, tuple(kept)


def _no_pathway(path: Path, sets: GeneSets, genes: tuple[str, ...]) -> str:
    wanted = next(iter(sets.members.values()))
    return (
        f"{path}: none of its {len(sets):,} gene sets has {FEWEST_MEMBERS} to {MOST_MEMBERS} of the "
        f"{len(genes):,} genes of the store. The sets hold names like {listed(wanted, 3)}; the store holds "
        f"{listed(genes, 3)}. Bring sets with the store's kind of names, or leave encoder.gene_sets out."
    )
