"""Which profiles of a library are nearest and most opposite to one profile, by cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast.analysis.connectivity import Signature, profile_query
from pertcast.analysis.connectivity.prepared import PreparedQuery
from pertcast.analysis.neighbors.best import RunningBest
from pertcast.screens.library import SearchedLibrary
from pertcast_data.errors import ConfigError
from pertcast_data.text import counted

from pertcast_serve.analysis.profiles import AskedProfile
from pertcast_serve.analysis.refusals import refused
from pertcast_serve.analysis.shelf import OpenLibrary
from pertcast_serve.schemas.analysis import NeighborRow, NeighborsRequest, NeighborsResponse

_SCORE: Final = "cosine"


@dataclass(frozen=True)
class _Searched:
    """Rows of a library and what limits them."""

    rows: NDArray[np.int64]
    remarks: tuple[str, ...]


def nearest(request: NeighborsRequest, library: OpenLibrary, profile: AskedProfile) -> NeighborsResponse:
    """Return the nearest and the most opposite profiles of a library.

    A stored or predicted profile is compared within its cell line and type, unless the question asks
    everywhere; the same perturbation in the same cell line and type never counts. Cosines of exactly 0 are
    no neighbours; ties are in the order of the library.

    Raises
    ------
    Refused
        All values are zero, or the library knows nothing of this cell line and type.
    TooFewGenes
        Fewer than five genes are shared.
    """
    profile.require_direction()
    searched = library.searched()
    asked = _rows(searched, profile, request.everywhere)
    prepared, remarks = _query(searched, library, profile)
    cosine = np.clip(searched.index.scores(prepared.queries(), asked.rows), -1, 1)
    same = _same(searched, profile, profile.library == library.name)[asked.rows]
    cosine[0, same] = 0
    tails = (RunningBest.empty(1, request.per_tail), RunningBest.empty(1, request.per_tail))
    tails[0].offer(0, cosine, 0)
    tails[1].offer(0, -cosine, 0)
    return NeighborsResponse(
        profile=profile.words,
        library=library.name,
        library_kind=library.kind,
        n_searched=int(len(same) - same.sum()),
        rows=[
            *_tail_rows("nearest", searched, asked.rows, tails[0]),
            *_tail_rows("opposite", searched, asked.rows, tails[1]),
        ],
        remarks=[*profile.remarks, *searched.remarks, *asked.remarks, *remarks, *_left_out(profile, same)],
    )


def _rows(searched: SearchedLibrary, profile: AskedProfile, everywhere: bool) -> _Searched:
    if everywhere:
        told = ("Compared across cell lines and types: a cosine also shows what these have in common.",)
        return _Searched(searched.rows(None, None), told)
    if profile.cell_iname is None or profile.pert_type is None:
        told = ("The profile names no cell line and type: it is compared with all of the library.",)
        return _Searched(searched.rows(None, None), told)
    try:
        rows = searched.rows((profile.cell_iname,), (profile.pert_type,))
    except ConfigError as error:
        raise refused(f"{error} Or ask everywhere: all cell lines and types are compared then.") from error
    return _Searched(rows, ())


def _query(
    searched: SearchedLibrary, library: OpenLibrary, profile: AskedProfile
) -> tuple[PreparedQuery, tuple[str, ...]]:
    """Return the profile over the library's genes, and what is said of those that are not shared."""
    if profile.library == library.name and profile.genes == searched.genes:
        return profile_query(profile.values, _SCORE), ()
    signature = Signature.of_values(profile.genes, profile.values.tolist(), profile.words)
    prepared, report = signature.prepare(searched.genes, _SCORE)
    n_shared = len(report.lists[0].column)
    if n_shared == len(searched.genes) == len(profile.genes):
        return prepared, ()
    told = (
        f"{n_shared:,} genes are compared: the profile has {len(profile.genes):,}, the library "
        f"{len(searched.genes):,}."
    )
    return prepared, (told,)


def _same(searched: SearchedLibrary, profile: AskedProfile, is_own: bool) -> NDArray[np.bool_]:
    """Return (N,) whether a profile is of the same perturbation in the same cell line and type, or itself."""
    table = searched.table
    condition = {name: getattr(profile, name) for name in ("pert_id", "cell_iname", "pert_type")}
    same = np.full(table.height, None not in condition.values())
    if same.any():
        for column, value in condition.items():
            same &= table[column].eq(value).fill_null(False).to_numpy()
    if is_own and profile.sig_id is not None:
        same[searched.row_of(profile.sig_id)] = True
    return same


def _left_out(profile: AskedProfile, same: NDArray[np.bool_]) -> list[str]:
    n_same = int(same.sum())
    if not n_same:
        return []
    where = f" in {profile.cell_iname}" if profile.cell_iname else ""
    return [f"{counted(n_same, 'profile')} of the same perturbation{where} left out."]


def _tail_rows(
    tail: str, searched: SearchedLibrary, rows: NDArray[np.int64], best: RunningBest
) -> list[NeighborRow]:
    is_found = best.candidate[0] >= 0
    table = searched.table[rows[best.candidate[0][is_found]]]
    cosines = np.abs(best.similarity[0][is_found]).tolist()
    sign = 1 if tail == "nearest" else -1
    return [
        NeighborRow(tail=tail, rank=rank, cosine=sign * cosine, **facts)
        for rank, (cosine, facts) in enumerate(zip(cosines, table.iter_rows(named=True), strict=True), 1)
    ]
