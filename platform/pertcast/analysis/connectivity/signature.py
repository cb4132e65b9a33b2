"""A signature: genes that rise and fall, or a value a gene; and what becomes of it over a library's genes.

A signature is names only; it is mapped to a library's genes each time it is asked, so that one serves all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.gene_tables.gene_names import GeneNames
from pertcast_data.signatures import GeneList
from pertcast_data.text import listed

from pertcast.analysis.connectivity.mapping import (
    GeneMapper,
    MappedGenes,
    MappingReport,
    TooFewGenes,
    require_enough,
)
from pertcast.analysis.connectivity.prepared import PreparedQuery, SetSizes
from pertcast.analysis.connectivity.scores import Queries, extreme_sets, get_score, set_size

OF_SETS: Final = "wtcs"
OF_VALUES: Final = "cosine"
"""Scores of signatures where none is asked for."""
_LARGEST: Final = 1e30
"""Profiles are compared in float32: squares of such values are still numbers."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Genes up and genes down, or a value a gene.

    Attributes
    ----------
    genes
        Names, as they were given; of sets first all that rise, then all that fall.
    values
        One a gene: 1 and -1 of sets.
    is_weighted
        Whether values mean something beside their sign.
    source
        Where it comes from, for messages.
    remarks
        What its reader left out.
    """

    genes: tuple[str, ...]
    values: tuple[float, ...]
    is_weighted: bool
    source: str = "the signature"
    remarks: tuple[str, ...] = ()

    @classmethod
    def of_sets(cls, up: Sequence[str], down: Sequence[str], source: str = "the signature") -> Signature:
        """Make a signature of names of genes that rise and of genes that fall."""
        return cls((*up, *down), (1.0,) * len(up) + (-1.0,) * len(down), False, source)

    @classmethod
    def of_values(
        cls, genes: Sequence[str], values: Sequence[float], source: str = "the signature"
    ) -> Signature:
        """Make a weighted signature.

        Raises
        ------
        SchemaError
            There is not one finite value a gene.
        """
        if len(genes) != len(values) or not np.isfinite(values).all():
            raise SchemaError(
                f"{source}: {len(genes)} genes with {len(values)} values, of which "
                f"{int(np.isfinite(values).sum())} are finite numbers. Bring one number a gene."
            )
        return cls(tuple(genes), tuple(map(float, values)), True, source)

    @classmethod
    def of_lists(cls, lists: Sequence[GeneList]) -> Signature:
        """Make a signature of what `pertcast_data.signatures` read: up and down, or one weighted list."""
        remarks = tuple(remark for each in lists for remark in each.remarks)
        source = " and ".join(dict.fromkeys(each.source for each in lists))
        if lists[0].values is not None:
            return cls(lists[0].genes, lists[0].values, True, source, remarks)
        up, down = lists
        values = (1.0,) * len(up.genes) + (-1.0,) * len(down.genes)
        return cls((*up.genes, *down.genes), values, False, source, remarks)

    @property
    def sha256(self) -> str:
        """Hash of genes and values; not of the files' names."""
        content = json.dumps([self.genes, [value.hex() for value in self.values], self.is_weighted])
        return hashlib.sha256(content.encode()).hexdigest()

    def default_score(self) -> str:
        """Return the name of the score that fits: WTCS of sets, cosine of values."""
        return OF_VALUES if self.is_weighted else OF_SETS

    def queries(self, genes: Sequence[str], score: str | None = None) -> Queries:
        """Return one query over a library's genes, to be compared with blocks of its profiles.

        Parameters
        ----------
        genes
            Names of the G genes of the profiles.
        score
            A name of `SCORES`; `default_score` where None.

        Raises
        ------
        As `prepare`.
        """
        return self.prepare(genes, score)[0].queries()

    def prepare(
        self, genes: Sequence[str], score: str | None = None, names: GeneNames | None = None
    ) -> tuple[PreparedQuery, MappingReport]:
        """Map the signature to a library's genes and say how it went.

        Parameters
        ----------
        genes
            Names of the G genes of the profiles.
        score
            A name of `SCORES`; `default_score` where None.
        names
            A table of genes that translates ids and older symbols, or None.

        Raises
        ------
        ConfigError
            The score is not known.
        TooFewGenes
            Fewer than five genes of a set, or of the signature, are among `genes`; names the nearest.
        SchemaError
            A gene stands in both sets, or values are all zero or have one sign where sets are needed.
        """
        wanted = get_score(score or self.default_score()).name
        mapper = GeneMapper(genes, names)
        lists = self._mapped(mapper)
        report = MappingReport(self.source, lists, mapper.judged_by, len(mapper.genes), self.remarks)
        for each in lists:
            require_enough(mapper, each, report)
        if self.is_weighted:
            return self._weighted(wanted, lists[0], len(mapper.genes), report), report
        up, down = (np.array(sorted(each.column), dtype=np.int64) for each in lists)
        self._refuse_shared(np.intersect1d(up, down), mapper.genes)
        profile = np.zeros(len(mapper.genes), dtype=np.float32)
        profile[up], profile[down] = 1, -1
        sizes = SetSizes(len(up), len(down))
        return PreparedQuery(wanted, profile, up, down, sizes, columns=None, is_weighted=False), report

    def _mapped(self, mapper: GeneMapper) -> tuple[MappedGenes, ...]:
        if self.is_weighted:
            return (mapper.map("signature", self.genes),)
        n_up = sum(value > 0 for value in self.values)
        return (mapper.map("up", self.genes[:n_up]), mapper.map("down", self.genes[n_up:]))

    def _refuse_shared(self, shared: NDArray[np.int64], genes: tuple[str, ...]) -> None:
        if len(shared):
            raise SchemaError(
                f"{self.source}: {len(shared)} genes stand in both sets, up and down "
                f"({listed(genes[column] for column in shared)}). Remove them from one."
            )

    def _weighted(
        self, score: str, mapped: MappedGenes, n_genes: int, report: MappingReport
    ) -> PreparedQuery:
        """Spread values over the library's genes; the value of a gene that stands there twice is the mean."""
        sums, counts = np.zeros(n_genes), np.zeros(n_genes, dtype=np.int64)
        for place, column in (*zip(mapped.place, mapped.column, strict=True), *mapped.repeated):
            sums[column] += self.values[place]
            counts[column] += 1
        columns = np.flatnonzero(counts).astype(np.int64)
        profile = np.zeros(n_genes, dtype=np.float32)
        profile[columns] = sums[columns] / counts[columns]
        up, down = _sets_of(profile, columns)
        if not profile.any() or (score in ("wtcs", "xsum") and min(len(up), len(down)) == 0):
            raise TooFewGenes(
                f"{self.source}: of its {len(columns)} genes in the library {len(up)} rise and {len(down)} "
                f"fall; {score} needs both. Give values with signs, or use the score cosine.",
                report,
            )
        return PreparedQuery(
            score,
            profile,
            up,
            down,
            SetSizes(len(up), len(down)),
            columns=None if len(columns) == n_genes else columns,
            is_weighted=True,
        )


def require_comparable(
    genes: Sequence[str], values: Sequence[float], score: str | None, source: str = "the signature"
) -> None:
    """Raise SchemaError where a score cannot compare values: too large, or for Pearson all the same."""
    for gene, value in zip(genes, values, strict=True):
        if abs(value) > _LARGEST:
            raise SchemaError(
                f"{source}: the value of {gene} is {value:g}, too large to be compared. Bring scores or log "
                "fold changes."
            )
    if score == "pearson" and len(set(values)) == 1:
        raise SchemaError(
            f"{source}: all {len(values):,} values are {values[0]:g}, and Pearson compares how values "
            "differ. Bring other values, or use the score cosine."
        )


def profile_query(profile: NDArray[np.float32], score: str | None = None) -> PreparedQuery:
    """Return a query of a whole profile (G,): its extreme genes where sets are needed.

    Raises
    ------
    SchemaError
        All its values are zero.
    """
    if not profile.any():
        raise SchemaError("A profile of zeros resembles nothing. Ask with another one.")
    up, down = (sets[0] for sets in extreme_sets(profile[None, :]))
    sizes = SetSizes(len(up), len(down))
    name = get_score(score or OF_VALUES).name
    return PreparedQuery(name, profile, up, down, sizes, columns=None, is_weighted=True)


def _sets_of(
    profile: NDArray[np.float32], columns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the genes of highest positive and of lowest negative value, at most `set_size` of each."""
    given = profile[columns][None, :]
    up, down = (columns[sets[0]] for sets in extreme_sets(given, set_size(len(columns))))
    return up[profile[up] > 0], down[profile[down] < 0]
