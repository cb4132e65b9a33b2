"""The gene sets of one profile: scores, significance beside random sets or permutations, running sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast.analysis.enrichment import enrichment_scores, prerank, ranked_order, running_sum
from pertcast.analysis.gene_sets import GeneSets, SetIndex

from pertcast_serve.analysis.gene_sets import SEED, PreparedSets, SetShelf, own_sets
from pertcast_serve.analysis.profiles import AskedProfile
from pertcast_serve.analysis.refusals import refused, unknown
from pertcast_serve.schemas.analysis import (
    DroppedSet,
    EnrichmentRequest,
    EnrichmentResponse,
    EnrichmentRow,
    RunningSum,
)

CURVE_POINTS: Final = 400
"""Most points of a running sum: more cannot be told apart in a figure."""
PERMUTATIONS: Final = 1000
MOST_PERMUTED: Final = 2_500_000
"""Sets x genes that are permuted within a request: about a quarter of a minute."""
FEW_GENES: Final = 5_000
"""A profile with fewer genes shows sets in part; 978 landmarks do."""
_OWN: Final = "own sets"

Floats = NDArray[np.float64]


def enrich(request: EnrichmentRequest, shelf: SetShelf, profile: AskedProfile) -> EnrichmentResponse:
    """Return the gene sets of a profile, the largest |NES| first; a set of zeros alone has no score.

    Raises
    ------
    Refused
        All values are equal; the collection, or a set whose running sum is asked for, is not known; the
        permutation test would take too long.
    SchemaError
        No set has enough genes in the profile.
    """
    profile.require_ranking()
    name, sets = (_OWN, own_sets(request.sets)) if request.sets else shelf.named(request.gene_sets)
    for term in request.curves:
        if term not in sets.members:
            raise unknown("gene set", term, sets.members, f"`curves` names sets of {name}.")
    prepared = shelf.prepared(sets, profile.genes, request.min_size)
    scores = enrichment_scores(profile.values[None, :], prepared.index)[0]
    has_score = np.isfinite(scores)
    rows = _rows(request, prepared, profile, scores)
    return EnrichmentResponse(
        profile=profile.words,
        gene_sets=name,
        method=request.method,
        n_genes=len(profile.genes),
        rows=sorted(rows, key=lambda row: (row.nes is None, -abs(row.nes or 0), row.term)),
        dropped=_dropped(prepared.index, has_score),
        curves=_curves(request.curves, prepared.index, profile, has_score),
        remarks=[*profile.remarks, *_remarks(request, sets, profile)],
    )


def _rows(
    request: EnrichmentRequest, prepared: PreparedSets, profile: AskedProfile, scores: Floats
) -> list[EnrichmentRow]:
    index = prepared.index
    tested = (_permuted if request.method == "prerank" else _size_matched)(prepared, profile, scores)
    order = ranked_order(profile.values[None, :])[0]
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return [
        EnrichmentRow(
            term=term,
            es=es,
            nes=_known(nes),
            pval=_known(pval),
            fdr=_known(fdr),
            size=int(index.sizes[number]),
            n_in_set=int(index.full_sizes[number]),
            lead_genes=[
                profile.genes[gene]
                for gene in lead_genes(profile.values, place, index.members_of(number), es)
            ],
        )
        for number, (term, es, nes, pval, fdr) in enumerate(zip(index.names, *tested, strict=True))
        if np.isfinite(scores[number])
    ]


def _size_matched(prepared: PreparedSets, profile: AskedProfile, scores: Floats) -> Sequence[list[float]]:
    found = prepared.null.normalise(profile.values[None, :], scores[None, :])
    return [each.tolist() for each in (scores, found.nes[0], found.pval[0], found.fdr[0])]


def _permuted(prepared: PreparedSets, profile: AskedProfile, scores: Floats) -> Sequence[list[float]]:
    index = prepared.index
    if len(index) * index.n_genes > MOST_PERMUTED:
        most = max(MOST_PERMUTED // index.n_genes, 1)
        raise refused(
            f"Permuting {index.n_genes:,} genes for {len(index):,} sets takes longer than a request may. "
            f"Ask with method size_matched, which is a thousand times faster, or for at most {most:,} sets."
        )
    found = prerank(profile.values, profile.genes, index, PERMUTATIONS, SEED)
    return [found[column].fill_null(np.nan).to_list() for column in ("es", "nes", "pval", "fdr")]


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def lead_genes(
    profile: NDArray[np.float32], place: NDArray[np.int64], members: NDArray[np.integer], es: float
) -> list[int]:
    """Return the leading edge of a set: its genes before the peak of the running sum, the extreme first.

    Parameters
    ----------
    profile
        (G,) finite response.
    place
        (G,) place of each gene from 0 = highest.
    members
        (K,) genes of the set, not all zero.
    es
        Its enrichment score: below 0, the genes behind the trough lead.
    """
    ordered = members[np.argsort(place[members])]
    weights = np.abs(profile[ordered].astype(np.float64))
    share = weights / weights.sum()
    fallen = (place[ordered] - np.arange(len(ordered))) / (len(profile) - len(ordered))
    after = np.cumsum(share) - fallen
    if es >= 0:
        return [int(gene) for gene in ordered[: int(after.argmax()) + 1]]
    return [int(gene) for gene in ordered[int((after - share).argmin()) :][::-1]]


def _dropped(index: SetIndex, has_score: NDArray[np.bool_]) -> list[DroppedSet]:
    found = [
        DroppedSet(term=each.name, reason=f"{each.reason} ({each.genes_in_space:,} of {each.size:,})")
        for each in index.dropped
    ]
    flat = [index.names[number] for number in np.flatnonzero(~has_score)]
    return found + [DroppedSet(term=term, reason="all its genes are exactly 0") for term in flat]


def _curves(
    terms: Sequence[str], index: SetIndex, profile: AskedProfile, has_score: NDArray[np.bool_]
) -> list[RunningSum]:
    """Return the running sums of named sets; those that were dropped have none."""
    number_of = {name: number for number, name in enumerate(index.names)}
    wanted = [number_of[term] for term in dict.fromkeys(terms) if term in number_of]
    order = ranked_order(profile.values[None, :])[0]
    found = []
    for number in wanted:
        if not has_score[number]:
            continue
        members = index.members_of(number)
        whole = running_sum(profile.values, members)
        points = curve_points(whole)
        found.append(
            RunningSum(
                term=index.names[number],
                position=points.tolist(),
                running_sum=whole[points].tolist(),
                hits=np.flatnonzero(np.isin(order, members)).tolist(),
            )
        )
    return found


def curve_points(whole: Floats, most: int = CURVE_POINTS) -> NDArray[np.int64]:
    """Return at most `most` rising places of a running sum: evenly spaced, both ends and both extremes."""
    if len(whole) <= most:
        return np.arange(len(whole), dtype=np.int64)
    even = np.linspace(0, len(whole) - 1, most - 2).astype(np.int64)
    return np.union1d(even, [int(whole.argmax()), int(whole.argmin())])


def _remarks(request: EnrichmentRequest, sets: GeneSets, profile: AskedProfile) -> list[str]:
    told = []
    if len(profile.genes) < FEW_GENES:
        told.append(
            f"The profile measures {len(profile.genes):,} genes: sets are seen in part, and a score "
            "is that of their measured genes."
        )
    if request.method == "size_matched":
        told.append(
            "p and FDR compare with random sets of the same size in the same profile; genes of a set are "
            "correlated, random ones are not, so they are optimistic."
        )
    if sets.source and not request.sets:
        told.append(f"Gene sets of {sets.source}.")
    return told
