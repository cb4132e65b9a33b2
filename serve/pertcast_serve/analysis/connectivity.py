"""What mimics and what reverses a signature: the tails of one library, and how the genes were mapped."""

from __future__ import annotations

from typing import Any, Final

import polars as pl
from pertcast.analysis.connectivity import MappingReport, QueryOptions, QueryResult, Signature, get_score
from pertcast.analysis.connectivity.mapping import GeneMapper
from pertcast.analysis.connectivity.signature import require_comparable
from pertcast.screens.asked import ask_searched
from pertcast_data.text import counted

from pertcast_serve.analysis.profiles import AskedProfile
from pertcast_serve.analysis.shelf import OpenLibrary
from pertcast_serve.schemas.analysis import (
    ConnectivityRequest,
    ConnectivityResponse,
    ConnectivityRow,
    MappedList,
)

_WORDS: Final = ("mimics", "reverses")
_ROW: Final = tuple(ConnectivityRow.model_fields)


def connect(
    request: ConnectivityRequest, library: OpenLibrary, stored: AskedProfile | None
) -> ConnectivityResponse:
    """Search a library with a signature.

    Parameters
    ----------
    request
        The question.
    library
        What is searched.
    stored
        The profile that the question names, where it names one.

    Raises
    ------
    ConfigError, UnknownName, SchemaError
        As `ask_searched`; a signature of which too few genes are measured brings its mapping (`TooFewGenes`).
    """
    score = None if request.score is None else get_score(request.score.strip().lower()).name
    searched = library.searched()
    found = ask_searched(
        searched,
        _signature(request, library, stored, score),
        score=score,
        cells=None if request.cell_iname is None else tuple(request.cell_iname),
        types=None if request.pert_type is None else tuple(request.pert_type),
        options=QueryOptions(per_tail=request.per_tail),
        null_of=library.random_queries,
    )
    n_searched = found.table.height
    if request.by_perturbation:
        found = found.summary()
    return ConnectivityResponse(
        library=library.name,
        library_kind=library.kind,
        score=found.score,
        n_searched=n_searched,
        rows=_rows(found),
        mapping=[] if found.mapping is None else _mapping(found.mapping, searched.genes),
        significance=found.significance,
        remarks=[*found.remarks, *_nearest(found.mapping, searched.genes)],
    )


def _signature(
    request: ConnectivityRequest, library: OpenLibrary, stored: AskedProfile | None, score: str | None
) -> Signature | str:
    """Return the signature; the name of a profile that the library itself holds, which is then left out."""
    if stored is not None:
        if stored.library == library.name and stored.sig_id is not None:
            return stored.sig_id
        return Signature.of_values(stored.genes, stored.values.tolist(), stored.words)
    if request.signature is not None:
        genes, values = request.signature.genes, request.signature.values
        require_comparable(genes, values, score)
        return Signature.of_values(genes, values)
    return Signature.of_sets(request.up or (), request.down or ())


def _rows(found: QueryResult) -> list[ConnectivityRow]:
    tails = pl.concat([found.tail(word) for word in _WORDS])
    known = tails.select([name for name in _ROW if name in tails.columns])
    missing: dict[str, Any] = dict.fromkeys(name for name in _ROW if name not in known.columns)
    return [ConnectivityRow(**missing, **row) for row in known.iter_rows(named=True)]


def _mapping(report: MappingReport, genes: tuple[str, ...]) -> list[MappedList]:
    return [
        MappedList(
            label=each.label,
            n_named=each.n_named,
            used=[genes[column] for column in each.column],
            not_measured=list(each.not_measured),
            invalid=list(each.invalid),
        )
        for each in report.lists
    ]


def _nearest(report: MappingReport | None, genes: tuple[str, ...]) -> list[str]:
    """Return what names that were not found may have meant, and how the report judged them."""
    if report is None:
        return []
    told = []
    mapper = GeneMapper(genes)
    for each in report.lists:
        if each.repeated:
            n_repeated = counted(len(each.repeated), "name")
            told.append(f"{each.label}: {n_repeated} of a gene that stands there before counted once.")
        if each.invalid or each.not_measured:
            told.append(f"{each.label}, not found: {mapper.nearest(each)}.")
    if any(each.invalid or each.not_measured for each in report.lists):
        told.append(f"What is a gene is judged by {report.judged_by}.")
    return [*told, *report.remarks]
