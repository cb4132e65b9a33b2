"""A question to a library that is searched: a signature, or one of its own profiles, against the rest of it.

The command line and the server ask through this one function, so that both give the same answer.
"""

from __future__ import annotations

import numpy as np
from pertcast_data.gene_tables.gene_names import GeneNames
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.analysis.connectivity import (
    MappingReport,
    QueryOptions,
    QueryResult,
    Signature,
    ask_library,
    profile_query,
)
from pertcast.analysis.connectivity.prepared import PreparedQuery
from pertcast.analysis.connectivity.significance import NullReader, random_scores
from pertcast.screens.library import SearchedLibrary


def ask_searched(
    library: SearchedLibrary,
    signature: Signature | str,
    *,
    score: str | None = None,
    cells: tuple[str, ...] | None = None,
    types: tuple[str, ...] | None = None,
    names: GeneNames | None = None,
    options: QueryOptions | None = None,
    progress: ProgressCallback = no_progress,
    null_of: NullReader = random_scores,
) -> QueryResult:
    """Rank a library by its connectivity with a signature.

    Parameters
    ----------
    library
        What is searched.
    signature
        Genes with signs or values; or the sig_id of a profile of this library, which is then left out.
    score
        A name of `SCORES`; what fits the signature where None.
    cells, types
        Cell lines and types that are searched; all where None.
    names
        A table of genes that translates ids and older symbols.
    options
        What is reported.
    progress
        Told of profiles compared.
    null_of
        As of `ask_library`.

    Raises
    ------
    ConfigError
        A score, cell line or type is not known.
    UnknownName
        There is no profile of that sig_id.
    SchemaError
        The signature cannot be compared; too few of its genes are measured (`TooFewGenes`).
    """
    rows = library.rows(cells, types)
    remarks = library.remarks
    mapping: MappingReport | None = None
    prepared: PreparedQuery
    if isinstance(signature, str):
        own = library.row_of(signature)
        prepared = profile_query(library.index.take(np.array([own])).values[0], score)
        rows = rows[rows != own]
        remarks = (*remarks, f"The signature is the profile {signature} itself, which is left out.")
    else:
        prepared, mapping = signature.prepare(library.genes, score, names)
    return ask_library(
        library.index,
        library.table,
        prepared,
        library=library.words,
        rows=rows,
        mapping=mapping,
        options=options,
        remarks=remarks,
        progress=progress,
        null_of=null_of,
    )
