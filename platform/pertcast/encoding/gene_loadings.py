"""Features of genes from the training profiles: components of how genes vary together."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pertcast_data.store import ExpressionStore
from pertcast_data.store.readers import RowReader

from pertcast.encoding.spec import EncoderSpec
from pertcast.models.baselines.linear_algebra import leading_components


def fit_gene_loadings(
    store: ExpressionStore, reader: RowReader, train_rows: NDArray[np.int64], spec: EncoderSpec
) -> NDArray[np.float32]:
    """Return (G, L) float32 features of the store's genes.

    Principal components of a seeded sample of training profiles, each centred on its context, on the
    genes' side and weighted by their singular values; scaled to a mean square length of 1.
    """
    count = min(spec.gene_components, len(train_rows), store.n_genes)
    if count == 0:
        return np.zeros((store.n_genes, 0), np.float32)
    size = min(len(train_rows), max(64, spec.sampled_values // store.n_genes))
    chosen = np.random.default_rng(spec.seed).choice(train_rows, size, replace=False)
    chosen.sort()
    profiles = reader.dense(chosen).astype(np.float64)
    _, context = np.unique(store.obs["cell_iname"].fill_null("").to_numpy()[chosen], return_inverse=True)
    for each in range(int(context.max()) + 1):
        profiles[context == each] -= profiles[context == each].mean(axis=0)
    rows = torch.from_numpy(profiles)
    components = leading_components(rows, count)
    loadings = (components * (rows @ components.T).norm(dim=0).unsqueeze(1)).T.numpy()
    length = np.sqrt(np.square(loadings).sum(axis=1).mean())
    return np.ascontiguousarray(loadings / max(length, 1e-12), dtype=np.float32)
