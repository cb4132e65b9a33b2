"""Makes the blocks of gene features from a run's files; a table is standardised on the training genes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pertcast_data.embedding_table import GENES, EmbeddingTable, read_embedding_table
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.gene_tables.identifiers import fold_gene
from pertcast_data.text import listed

from pertcast.encoding.compound_embedding import LARGEST
from pertcast.encoding.gene_features import GeneBlock, GeneCoverage, GeneSource, Rows
from pertcast.encoding.network_features import network_features
from pertcast.encoding.spec import EncoderSpec

_CONSTANT = 1e-6
_SAME_RTOL, _SAME_ATOL = 1e-4, 1e-6
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreGenes:
    """The genes of a store by what is done with them.

    Attributes
    ----------
    measured
        Genes of the profiles.
    perturbed
        Genes that any profile perturbs; counted only.
    training
        Genes that training perturbs; empty where it holds compounds alone.
    """

    measured: tuple[str, ...]
    perturbed: tuple[str, ...] = ()
    training: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Files:
    """Where a source comes from, and facts of it for the report."""

    source: GeneSource
    names: tuple[str, ...]
    sha256s: tuple[str, ...]
    option: str
    n_edges: int = 0
    n_constant: int = 0
    n_unknown_ids: int = 0


def fit_gene_blocks(spec: EncoderSpec, genes: StoreGenes) -> tuple[GeneBlock, ...]:
    """Return the blocks that the files of a spec give: "network", then "gene_table".

    Parameters
    ----------
    spec
        Names the files.
    genes
        The store's genes. A table is standardised on those of `training` that it knows; on all its rows where
        training perturbs no gene.

    Raises
    ------
    ConfigError
        A source knows none of the training genes, or none of the store's.
    FormatError, SchemaError
        A file cannot be used; a gene has several rows with different values.
    """
    blocks = []
    if spec.gene_network and spec.gene_network_components:
        blocks.append(_network_block(spec, genes))
    if spec.gene_embedding is not None:
        blocks.append(_table_block(spec.gene_embedding, genes))
    for block in blocks:
        _LOG.info(block.coverage.text())
    return tuple(blocks)


def _network_block(spec: EncoderSpec, genes: StoreGenes) -> GeneBlock:
    found = network_features(spec)
    listed_networks = found.network.networks
    files = _Files(
        "network",
        tuple(each.file for each in listed_networks),
        tuple(each.sha256 for each in listed_networks),
        "encoder.gene_network",
        n_edges=sum(len(each.edges) for each in listed_networks),
        n_unknown_ids=sum(each.n_unmapped_ids for each in listed_networks),
    )
    return _block(files, found.network.genes, found.values, genes)


def _table_block(path: Path, genes: StoreGenes) -> GeneBlock:
    table = read_embedding_table(path, GENES)
    symbols, rows = _one_row_a_gene(table, path)
    row_of = {fold_gene(symbol): row for symbol, row in zip(symbols, rows.tolist(), strict=True)}
    found = [row_of[folded] for gene in genes.training if (folded := fold_gene(gene)) in row_of]
    fitted = np.unique(found).astype(np.int64) if genes.training else rows
    if not len(fitted):
        raise ConfigError(
            _knows_none("encoder.gene_embedding", path.name, symbols, genes.training, "training")
        )
    values, n_constant = _standardised(table, fitted, path)
    files = _Files(
        "gene_table", (table.file,), (table.sha256,), "encoder.gene_embedding", n_constant=n_constant
    )
    return _block(files, symbols, values[rows], genes)


def _standardised(table: EmbeddingTable, fitted: NDArray[np.int64], path: Path) -> tuple[Rows, int]:
    """Return (R, D) float32 with mean 0, equal sd and mean square length 1 over the rows `fitted`."""
    known = table.values[fitted]
    mean, sd = known.mean(axis=0, dtype=np.float64), known.std(axis=0, dtype=np.float64)
    varies = sd > _CONSTANT * np.abs(known).max(axis=0)
    if not varies.any():
        raise SchemaError(
            f"{path}: all {len(sd):,} columns are constant over the {len(fitted):,} training genes that have "
            "a row. Bring an embedding that tells genes apart."
        )
    weight = 1 / np.sqrt(varies.sum())
    scale = np.where(varies, weight / np.where(varies, sd, 1.0), 0.0)
    values = np.clip((table.values - mean) * scale, -LARGEST * weight, LARGEST * weight)
    return values.astype(np.float32), int((~varies).sum())


def _one_row_a_gene(table: EmbeddingTable, path: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return each gene's symbol and row, once; raises SchemaError where rows of one gene differ."""
    first: dict[str, int] = {}
    symbols = table.keys["gene_symbol"].to_list()
    differing = []
    for row, symbol in enumerate(symbols):
        kept = first.setdefault(fold_gene(symbol), row)
        if not np.allclose(table.values[row], table.values[kept], _SAME_RTOL, _SAME_ATOL):
            differing.append(f"{table.row_name(kept)} and {table.row_name(row)}")
    if differing:
        raise SchemaError(
            f"{path}: {len(differing):,} rows give a gene other values than an earlier one: "
            f"{listed(differing, 3)}. Keep one row a gene."
        )
    rows = np.fromiter(first.values(), np.int64, len(first))
    return tuple(symbols[row] for row in rows.tolist()), rows


def _block(files: _Files, symbols: tuple[str, ...], values: Rows, genes: StoreGenes) -> GeneBlock:
    """Return the block of a source; raises ConfigError where it knows no gene that matters."""
    known = {fold_gene(symbol) for symbol in symbols}

    def unknown(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if fold_gene(name) not in known)

    missing = [unknown(names) for names in (genes.measured, genes.perturbed, genes.training)]
    whose = (genes.training, "training") if genes.training else (genes.measured, "store's")
    if len(missing[2] if genes.training else missing[0]) == len(whose[0]):
        raise ConfigError(_knows_none(files.option, listed(files.names), symbols, *whose))
    coverage = GeneCoverage(
        source=files.source,
        files=files.names,
        sha256s=files.sha256s,
        n_genes=len(symbols),
        width=values.shape[1],
        n_edges=files.n_edges,
        n_constant=files.n_constant,
        n_unknown_ids=files.n_unknown_ids,
        n_store=len(genes.measured),
        n_store_found=len(genes.measured) - len(missing[0]),
        n_perturbed=len(genes.perturbed),
        n_perturbed_found=len(genes.perturbed) - len(missing[1]),
        n_training=len(genes.training),
        n_training_found=len(genes.training) - len(missing[2]),
        missing=missing[1],
    )
    return GeneBlock(symbols, values, bool(missing[2]), coverage)


def _knows_none(option: str, file: str, symbols: Sequence[str], asked: Sequence[str], whose: str) -> str:
    return (
        f"{option}: {file} knows none of the {len(asked):,} {whose} genes ({listed(asked, 3)}); it knows "
        f"{listed(symbols, 3)}. Bring one that names genes by symbol, as the store does."
    )
