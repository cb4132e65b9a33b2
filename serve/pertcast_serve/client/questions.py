"""Questions about single profiles: gene sets, connectivity, neighbours.

Each answer is a table, with all else that the server says as attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from pertcast.errors import SchemaError

from pertcast_serve.client.tables import row_table, sent_rows
from pertcast_serve.client.transport import Asking
from pertcast_serve.schemas.analysis import (
    ConnectivityRow,
    DroppedSet,
    EnrichmentRow,
    MappedList,
    NeighborRow,
)
from pertcast_serve.schemas.predict import Condition

Stored = tuple[str, str]
"""(library, sig_id) of a profile that the server holds."""


@dataclass(frozen=True)
class Curve:
    """The running sum of one set along the ranked genes.

    Attributes
    ----------
    term
        The set.
    table
        `position` in the ranking, from 0, and `running_sum`.
    hits
        Places of the set's genes.
    """

    term: str
    table: pl.DataFrame
    hits: list[int]


@dataclass(frozen=True)
class Enrichment:
    """Gene sets of one profile.

    Attributes
    ----------
    table
        `term`, `es`, `nes`, `pval`, `fdr`, `size`, `n_in_set`, `lead_genes`; the strongest first.
    profile, gene_sets, method
        What was asked about, and how.
    n_genes
        Genes of the profile, which are the background.
    dropped
        Sets that were not tested: `term`, `reason`.
    curves
        Running sums of the sets that were asked for.
    remarks
        What the answer does not show.
    """

    table: pl.DataFrame
    profile: str
    gene_sets: str
    method: str
    n_genes: int
    dropped: pl.DataFrame
    curves: dict[str, Curve]
    remarks: list[str]


@dataclass(frozen=True)
class Connectivity:
    """What mimics and what reverses a signature.

    Attributes
    ----------
    table
        `word` (mimics, reverses), `rank`, who it is, `raw_cs`, `norm_cs`, `tau`, `fdr_q_nlog10`.
    library, library_kind, n_searched
        What was searched: predicted or measured profiles.
    score, significance
        The score, and what its significance means.
    mapping
        How the signature's genes were mapped: `label`, `n_named`, `used`, `not_measured`, `invalid`.
    remarks
        What the answer does not show.
    """

    table: pl.DataFrame
    library: str
    library_kind: str
    n_searched: int
    score: str
    significance: str
    mapping: pl.DataFrame
    remarks: list[str]


@dataclass(frozen=True)
class Neighbors:
    """The nearest and the most opposite profiles.

    Attributes
    ----------
    table
        `tail` (nearest, opposite), `rank`, who it is, `cosine`, `seen_pert`.
    profile, library, library_kind, n_searched
        What was asked about, and what was searched.
    remarks
        What the answer does not show.
    """

    table: pl.DataFrame
    profile: str
    library: str
    library_kind: str
    n_searched: int
    remarks: list[str]


class Questions(Asking):
    """Asks about profiles. One is given as a condition (predicted now), as stored, or as values."""

    def enrichment(
        self,
        condition: Mapping[str, Any] | None = None,
        *,
        stored: Stored | None = None,
        profile: Mapping[str, float] | None = None,
        gene_sets: str | None = None,
        sets: Mapping[str, Sequence[str]] | None = None,
        method: Literal["prerank", "size_matched"] = "size_matched",
        min_size: int = 5,
        curves: Sequence[str] = (),
        model: str | None = None,
    ) -> Enrichment:
        """Return the gene sets of one profile.

        Parameters
        ----------
        condition, stored, profile
            One of them: a condition that is predicted now, (library, sig_id), or gene -> value.
        gene_sets, sets
            Name of a collection (the server's first where absent), or sets of one's own: term -> genes.
        method
            "size_matched" is quick; "prerank" is gseapy's, with genes permuted.
        min_size
            Fewest measured genes of a set.
        curves
            Sets whose running sum is wanted too.
        model
            Model that predicts the condition; the server's first where None.
        """
        body = _about(condition, stored, profile, model) | _given(gene_sets=gene_sets)
        if sets is not None:
            body["sets"] = {term: list(genes) for term, genes in sets.items()}
        body |= {"method": method, "min_size": min_size, "curves": list(curves)}
        found = self._transport.post("/v1/enrichment", body).json()
        return Enrichment(
            table=row_table(found["rows"], EnrichmentRow),
            dropped=row_table(found["dropped"], DroppedSet),
            curves={each["term"]: _curve(each) for each in found["curves"]},
            **_facts(found, "profile", "gene_sets", "method", "n_genes", "remarks"),
        )

    def connectivity(
        self,
        up: Sequence[str] | None = None,
        down: Sequence[str] | None = None,
        *,
        signature: Mapping[str, float] | None = None,
        stored: Stored | None = None,
        library: str | None = None,
        score: str | None = None,
        cell_iname: Sequence[str] | None = None,
        pert_type: Sequence[str] | None = None,
        per_tail: int = 25,
        by_perturbation: bool = False,
    ) -> Connectivity:
        """Return what mimics and what reverses a signature.

        Parameters
        ----------
        up, down
            Genes that rise and fall in the signature.
        signature, stored
            Instead of them: gene -> value, or (library, sig_id).
        library
            As `libraries` names it; the server's first where None.
        score
            "wtcs", "xsum", "cosine" or "pearson"; by the signature where None.
        cell_iname, pert_type
            Only these.
        per_tail
            Rows of either word.
        by_perturbation
            One row a perturbation instead of one a profile.
        """
        body = _given(library=library, score=score)
        lists = {"up": up, "down": down, "cell_iname": cell_iname, "pert_type": pert_type}
        body |= {name: list(values) for name, values in lists.items() if values is not None}
        body |= _profile_fields(signature, stored, "signature")
        body |= {"per_tail": per_tail, "by_perturbation": by_perturbation}
        found = self._transport.post("/v1/connectivity", body).json()
        return Connectivity(
            table=row_table(found["rows"], ConnectivityRow),
            mapping=row_table(found["mapping"], MappedList),
            **_facts(found, "library", "library_kind", "n_searched", "score", "significance", "remarks"),
        )

    def neighbors(
        self,
        condition: Mapping[str, Any] | None = None,
        *,
        stored: Stored | None = None,
        profile: Mapping[str, float] | None = None,
        library: str | None = None,
        per_tail: int = 10,
        everywhere: bool = False,
        model: str | None = None,
    ) -> Neighbors:
        """Return the profiles of a library that are nearest and most opposite to one profile, by cosine.

        Parameters
        ----------
        condition, stored, profile, model
            As of `enrichment`.
        library
            As `libraries` names it; the server's first where None.
        per_tail
            Rows of either tail.
        everywhere
            Also across cell lines and types; a cosine then shows these too.
        """
        body = _about(condition, stored, profile, model) | _given(library=library)
        body |= {"per_tail": per_tail, "everywhere": everywhere}
        found = self._transport.post("/v1/neighbors", body).json()
        return Neighbors(
            table=row_table(found["rows"], NeighborRow),
            **_facts(found, "profile", "library", "library_kind", "n_searched", "remarks"),
        )


def _about(
    condition: Mapping[str, Any] | None,
    stored: Stored | None,
    profile: Mapping[str, float] | None,
    model: str | None,
) -> dict[str, Any]:
    """Return the fields of a request that name its one profile."""
    if sum(source is not None for source in (condition, stored, profile)) != 1:
        raise SchemaError(
            "Name one profile: a condition, stored=(library, sig_id), or profile={gene: value}."
        )
    body = _given(model=model) | _profile_fields(profile, stored, "profile")
    if condition is not None:
        body["condition"] = sent_rows([condition], Condition)[0]
    return body


def _profile_fields(values: Mapping[str, float] | None, stored: Stored | None, name: str) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if values is not None:
        body[name] = {"genes": list(values), "values": [float(value) for value in values.values()]}
    if stored is not None:
        library, sig_id = stored
        body["stored"] = {"library": library, "sig_id": sig_id}
    return body


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _facts(found: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: found[name] for name in names}


def _curve(found: Mapping[str, Any]) -> Curve:
    columns = {"position": found["position"], "running_sum": found["running_sum"]}
    table = pl.DataFrame(columns, schema={"position": pl.Int64, "running_sum": pl.Float64})
    return Curve(found["term"], table, found["hits"])
