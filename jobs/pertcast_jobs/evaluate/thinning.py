"""Fewer conditions where an analysis grows faster than they do: whole perturbations, evenly spaced."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray


def whole_perturbations(conditions: pl.DataFrame, most: int) -> NDArray[np.int64]:
    """Return the rows of evenly spaced perturbations, in order: about `most` of N, all of them if fewer.

    A perturbation is kept with all its doses, times and cell lines, or not at all; measured or generated
    responses have no say in which.

    Parameters
    ----------
    conditions
        N rows with pert_id.
    most
        Conditions, at least those of one perturbation.
    """
    names = conditions["pert_id"].cast(pl.String).fill_null("")
    if len(names) <= most:
        return np.arange(len(names), dtype=np.int64)
    distinct = names.unique().sort()
    count = max(1, int(len(distinct) * most / len(names)))
    chosen = distinct.gather(np.linspace(0, len(distinct) - 1, count).astype(np.int64))
    return np.flatnonzero(names.is_in(chosen.to_list()).to_numpy()).astype(np.int64)
