"""Normalised enrichment scores of many profiles by gseapy, each distinct profile once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.analysis.association import FloatArray
from pertcast.analysis.enrichment import prerank
from pertcast.analysis.gene_sets import SetIndex


@dataclass(frozen=True)
class PathwayScores:
    """Enrichment of C profiles in S gene sets.

    Attributes
    ----------
    nes
        (C, S) normalised enrichment scores; NaN where undefined (a profile of one value has no ranking).
    fdr
        (C, S) false discovery rate over the sets of a profile, by permuted gene labels; NaN where undefined.
    """

    nes: FloatArray
    fdr: FloatArray

    @property
    def counted_nes(self) -> FloatArray:
        """(C, S) scores with 0 where undefined: a profile without a ranking says nothing, and wins nothing.

        All NaN where no profile has a score.
        """
        if not np.isfinite(self.nes).any():
            return np.full(self.nes.shape, np.nan)
        return np.where(np.isfinite(self.nes), self.nes, 0.0)


def score_profiles(
    profiles: Mapping[str, FloatArray],
    genes: Sequence[str],
    sets: SetIndex,
    *,
    permutations: int,
    seed: int,
    progress: ProgressCallback = no_progress,
) -> dict[str, PathwayScores]:
    """Score the profiles of every contender.

    Parameters
    ----------
    profiles
        Title -> (C, G) finite responses. Equal profiles (a baseline that says the same of all) are scored
        once: the permutations depend on the seed alone.
    genes
        Names of the G genes.
    sets
        S gene sets over them.
    permutations, seed
        Of gene labels, in each profile anew from the same seed.
    progress
        Told of profiles done.

    Raises
    ------
    SchemaError
        A profile holds NaN or infinity.
    """
    for title, values in profiles.items():
        _require_finite(title, values)
    keys = {title: [row.tobytes() for row in _plain(values)] for title, values in profiles.items()}
    total = len({key for rows in keys.values() for key in rows})
    known: dict[bytes, tuple[FloatArray, FloatArray]] = {}
    for title, values in profiles.items():
        for key, profile in zip(keys[title], _plain(values), strict=True):
            if key not in known:
                known[key] = _score(profile, genes, sets, permutations, seed)
                progress(len(known), total, title)
    return {
        title: PathwayScores(*(np.array([known[key][part] for key in rows]) for part in (0, 1)))
        for title, rows in keys.items()
    }


def _plain(values: FloatArray) -> NDArray[np.float64]:
    return np.ascontiguousarray(values, dtype=np.float64)


def _require_finite(title: str, values: FloatArray) -> None:
    if np.isfinite(values).all():
        return
    row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
    raise SchemaError(
        f"Responses of {title!r} hold NaN or infinite values (row {row}): such a profile has no ranking. "
        "Leave the condition out, or predict every gene of it."
    )


def _score(
    profile: NDArray[np.float64], genes: Sequence[str], sets: SetIndex, permutations: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    found = prerank(profile, genes, sets, permutations, seed)
    if found.is_empty():
        nothing = np.full(len(sets), np.nan)
        return nothing, nothing
    nes, fdr = (found[name].to_numpy().astype(np.float64) for name in ("nes", "fdr"))
    defined = np.isfinite(nes)
    return np.where(defined, nes, np.nan), np.where(defined, fdr, np.nan)
