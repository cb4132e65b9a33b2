"""Single perturbations of training, their features, and what a table's row means by them.

A compound is its structure before it is an id; anything else is a gene symbol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pertcast_data.compounds import inchi_key_14, morgan_fingerprints
from pertcast_data.gene_tables.identifiers import fold_gene

from pertcast.encoding.compound_embedding import CompoundEmbedding
from pertcast.encoding.compound_resolution import resolve_compounds
from pertcast.encoding.descriptions import Description, Single
from pertcast.encoding.gene_features import GeneBlock
from pertcast.encoding.gene_resolution import resolve_genes
from pertcast.encoding.problems import Fault
from pertcast.encoding.spec import EncoderSpec


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
    embedding
        The block that an embedding table gives; None without one.
    embedding_rows
        (P,) row of the table of each, -1 for none; empty without a table.
    gene_blocks
        The blocks that files give of genes: "network" and "gene_table"; empty without.
    """

    names: tuple[str, ...]
    is_compound: tuple[bool, ...]
    smiles: tuple[str | None, ...]
    inchi_keys: tuple[str | None, ...]
    aliases: Mapping[str, int]
    genes: tuple[str, ...]
    loadings: NDArray[np.float32]
    spec: EncoderSpec
    embedding: CompoundEmbedding | None = None
    embedding_rows: tuple[int, ...] = ()
    gene_blocks: tuple[GeneBlock, ...] = ()

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
    def skeleton_index(self) -> dict[str, int]:
        """Index of the compounds by InChIKey-14."""
        keys = [(inchi_key_14(key), i) for i, key in enumerate(self.inchi_keys) if key]
        return dict(reversed(keys))

    @cached_property
    def blocks(self) -> Mapping[str, slice]:
        """Columns of each block of features.

        Compounds: "fingerprint", "embedding"; genes: "loadings", "network", "gene_table"; both: "one_hot".
        """
        has_fingerprints = self.spec.uses_fingerprint and any(self.smiles)
        of_genes: dict[str, int] = {block.source: block.width for block in self.gene_blocks}
        widths = {
            "fingerprint": self.spec.fingerprint_bits if has_fingerprints else 0,
            "embedding": 0 if self.embedding is None else self.embedding.width,
            "loadings": self.loadings.shape[1],
            "network": of_genes.get("network", 0),
            "gene_table": of_genes.get("gene_table", 0),
            "one_hot": len(self.one_hot_columns),
        }
        starts = np.cumsum([0, *widths.values()]).tolist()
        return {name: slice(a, b) for name, a, b in zip(widths, starts, starts[1:], strict=False)}

    @cached_property
    def gene_columns(self) -> NDArray[np.int64]:
        """Columns in which genes can be near each other: loadings, network and table, without marks."""
        widths = {"loadings": self.loadings.shape[1]}
        widths |= {block.source: block.values.shape[1] for block in self.gene_blocks}
        starts = {name: self.blocks[name].start for name in widths}
        return np.concatenate([starts[name] + np.arange(width) for name, width in widths.items()])

    @cached_property
    def one_hot_columns(self) -> dict[int, int]:
        """Column of each perturbation with one: those without any other feature, and genes if asked for."""
        chosen = [index for index in range(len(self.names)) if self._needs_one_hot(index)]
        return {index: column for column, index in enumerate(chosen)}

    def _needs_one_hot(self, index: int) -> bool:
        if self.is_compound[index]:
            return self.smiles[index] is None and self._row_of(Single(True, self.names[index], index)) < 0
        if self.spec.one_hot:
            return True
        return not self._has_gene_features(self.names[index])

    @property
    def _has_loadings(self) -> bool:
        return bool(self.loadings.shape[1])

    @property
    def has_fingerprints(self) -> bool:
        """Whether fingerprints are among the features."""
        return bool(self.blocks["fingerprint"].stop)

    def singles(self) -> list[Single]:
        """Return the training perturbations themselves."""
        kinds = zip(self.names, self.is_compound, strict=True)
        return [Single(is_compound, name, index) for index, (name, is_compound) in enumerate(kinds)]

    @property
    def feature_width(self) -> int:
        """F, the width of the features."""
        return int(self.blocks["one_hot"].stop)

    def features(self, singles: Sequence[Single]) -> NDArray[np.float32]:
        """Return (M, F) float32 features; a new one must have passed `resolve`."""
        values = np.zeros((len(singles), self.feature_width), np.float32)
        blocks = self.blocks
        if self.has_fingerprints:
            values[:, blocks["fingerprint"]] = self.fingerprints(singles)
        if self.embedding is not None:
            compounds = np.array([single.is_compound for single in singles], dtype=bool)
            values[compounds, blocks["embedding"]] = self.embedding.block(self.rows_of(singles)[compounds])
        genes = [row for row, single in enumerate(singles) if not single.is_compound]
        for block in self.gene_blocks:
            values[genes, blocks[block.source]] = block.block([singles[row].name for row in genes])
        for row, single in enumerate(singles):
            if not single.is_compound and self._has_loadings and single.name in self.gene_row:
                values[row, blocks["loadings"]] = self.loadings[self.gene_row[single.name]]
            if single.index in self.one_hot_columns:
                values[row, blocks["one_hot"].start + self.one_hot_columns[single.index]] = 1.0
        return values

    def fingerprints(self, singles: Sequence[Single]) -> NDArray[np.float32]:
        """Return (M, B) float32 fingerprints; zero where there is no structure."""
        values = np.zeros((len(singles), self.spec.fingerprint_bits), np.float32)
        smiles = [(row, text) for row, single in enumerate(singles) if (text := self.smiles_of(single))]
        if smiles:
            rows, texts = zip(*smiles, strict=True)
            values[list(rows)] = structure_fingerprints(texts, self.spec)
        return values

    def smiles_of(self, single: Single) -> str | None:
        """Return the canonical SMILES of a perturbation, None where there is none."""
        return self.smiles[single.index] if single.index >= 0 else single.smiles

    def rows_of(self, singles: Sequence[Single]) -> NDArray[np.int64]:
        """Return (M,) int64 rows of the embedding table, -1 for none."""
        return np.array([self._row_of(single) for single in singles], dtype=np.int64)

    def _row_of(self, single: Single) -> int:
        if single.index < 0:
            return single.embedding_row
        return self.embedding_rows[single.index] if self.embedding_rows else -1

    def compound(self, name: str, inchi_key: str | None) -> Single | None:
        """Return the training compound of a name, alias or InChIKey, None where there is none."""
        index = self.compound_index.get(name, self.aliases.get(name, -1))
        if index < 0 and inchi_key:
            index = self.skeleton_index.get(inchi_key_14(inchi_key), -1)
        return Single(True, self.names[index], index) if index >= 0 else None

    def resolve(self, row: Description) -> tuple[Single, ...] | Fault:
        """Return the single perturbations that a row names, or what is wrong with it; empty for a control."""
        if row.is_control:
            return ()
        if row.is_compound:
            return resolve_compounds(self, row)
        return resolve_genes(self, row)

    def known_gene(self, gene: str) -> str | None:
        """Return the name under which a gene has features, None where it has none.

        A gene that a file knows is found however it is spelled; it is then called as training calls it, else
        as the gene space or the file does.
        """
        if gene in self.gene_index or (self._has_loadings and gene in self.gene_row):
            return gene
        if gene not in self._found_names:
            found = [block.genes[row] for block in self.gene_blocks if (row := block.row(gene)) >= 0]
            if not found:
                return None
            self._found_names[gene] = self._name_of_folded.get(fold_gene(gene), found[0])
        return self._found_names[gene]

    @cached_property
    def _found_names(self) -> dict[str, str]:
        """Genes of the files that were asked for already: screens ask for each once a type."""
        return {}

    @cached_property
    def _name_of_folded(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for gene in (*self.gene_index, *self.genes):
            names.setdefault(fold_gene(gene), gene)
        return names

    def _has_gene_features(self, gene: str) -> bool:
        has_loadings = self._has_loadings and gene in self.gene_row
        return has_loadings or any(block.row(gene) >= 0 for block in self.gene_blocks)


def structure_fingerprints(smiles: Sequence[str], spec: EncoderSpec) -> NDArray[np.float32]:
    """Return (M, B) float32 fingerprints of structures, as the spec wants them."""
    return morgan_fingerprints(smiles, spec.fingerprint_bits, spec.fingerprint_radius, spec.fingerprint_kind)
