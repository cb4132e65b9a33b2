"""The facts of the training rows that every model is built from: vocabularies, widths, sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.store import ExpressionStore

from pertcast.encoding.descriptions import Description, training_members
from pertcast.encoding.perturbations import Perturbations
from pertcast.models.batch import FeatureBlock, ModelSpace


def fit_space(
    store: ExpressionStore,
    rows: NDArray[np.int64],
    frame: pl.DataFrame,
    descriptions: Sequence[Description],
    training: NDArray[np.int32],
    perturbations: Perturbations,
) -> ModelSpace:
    """Return the space of the training rows.

    Parameters
    ----------
    store, rows
        The training store and its treated training rows.
    frame, descriptions
        Every condition of the store, and what it says of its perturbation.
    training
        Which of the conditions are trained on.
    perturbations
        The training perturbations.
    """
    known = frozenset(perturbations.compound_index)
    sizes = [len(training_members(row, known)) for row in descriptions if not row.is_control]
    genes = set(store.genes)
    return ModelSpace(
        genes=store.genes,
        measure=store.measure,
        contexts=tuple(sorted(frame["cell_iname"].fill_null("").gather(training).unique().to_list())),
        groups=tuple(sorted(store.obs["batch_id"].gather(rows).drop_nulls().unique().to_list())),
        perturbations=perturbations.names,
        pert_types=tuple(sorted(frame["pert_type"].gather(training).drop_nulls().unique().to_list())),
        feature_width=perturbations.feature_width,
        feature_blocks=tuple(
            FeatureBlock(name=name, start=columns.start, stop=columns.stop)
            for name, columns in perturbations.blocks.items()
            if columns.stop > columns.start
        ),
        own_genes=any(gene in genes for gene in perturbations.gene_index),
        n_conditions=len(training),
        max_slots=max([1, *sizes]),
    )
