"""The noise-free responses of a simulated atlas as a contender: what nobody can do better than.

Only for stores ingested from an atlas; the store itself never holds the truth.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from pertcast.evaluation.held_out import FloatArray, HeldOut
from pertcast.evaluation.scores.score_board import ORACLE, Contender
from pertcast_data.errors import SchemaError
from pertcast_data.simulate import load_truth
from pertcast_data.simulate.oracle import Measured
from pertcast_data.vocabulary import Normalisation

CONTENDER: Final = Contender(ORACLE, "Noise-free atlas (oracle)", "ceiling")

_MEASURED: Final[MappingProxyType[Normalisation, Measured]] = MappingProxyType(
    {"log2_intensity": "wells", "counts": "cells", "log1p_cpm": "cells", "z_score": "signatures"}
)


def oracle_responses(truth: Path, held: HeldOut, normalisation: Normalisation) -> FloatArray:
    """Return the (N, G) float32 noise-free responses of held-out conditions.

    Parameters
    ----------
    truth
        truth.npz of the atlas that the store was ingested from.
    held
        The held-out conditions.
    normalisation
        Of the store: tells wells, cells and signatures apart.

    Raises
    ------
    FormatError, UnknownGene
        The file is no truth of an atlas, or of another gene space.
    SchemaError
        It does not hold the held-out conditions.
    """
    if normalisation not in _MEASURED:
        raise SchemaError(
            f"A store of {normalisation} is not part of a simulated atlas; leave out --oracle {truth}."
        )
    found = load_truth(truth)[_MEASURED[normalisation]].for_genes(held.genes)
    names = held.conditions["condition_id"].to_list()
    missing = [name for name in names if name not in found]
    if missing:
        raise SchemaError(
            f"{truth} does not know {len(missing):,} of {len(names):,} held-out conditions (first: "
            f"{missing[0]}); name the truth.npz of the atlas that the store was ingested from."
        )
    return np.stack([found[name] for name in names]).astype(np.float32)
