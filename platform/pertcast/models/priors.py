"""What a model may know of genes and of untreated cells before it is trained: knowledge, not rows.

Made from the training fold's controls and from the user's files by `pertcast.encoding`; see
`ResponseModel.take_up`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TrainingPriors:
    """Controls and gene knowledge over the G genes of a `ModelSpace`; every part may be empty.

    Attributes
    ----------
    controls
        (M, G) float32: training controls, each minus the mean of its control group, drawn by the seed.
    control_context
        (M,) int64, row of each in `ModelSpace.contexts`, ascending; -1 for another one.
    gene_embedding
        (G, D) float32: what is known of each gene beside this screen's features; zero where nothing is.
    edges
        (E, 2) int64: connected genes, each pair once, first < second.
    edge_weight
        (E,) float32, positive.
    pathways
        (P, G) float32 of 0 and 1: members of gene sets.
    pathway_names
        Names of the P gene sets.
    """

    controls: Tensor
    control_context: Tensor
    gene_embedding: Tensor
    edges: Tensor
    edge_weight: Tensor
    pathways: Tensor
    pathway_names: tuple[str, ...] = ()

    @classmethod
    def empty(cls, n_genes: int) -> TrainingPriors:
        """Return priors that say nothing about `n_genes` genes."""
        return cls(
            controls=torch.zeros(0, n_genes),
            control_context=torch.zeros(0, dtype=torch.int64),
            gene_embedding=torch.zeros(n_genes, 0),
            edges=torch.zeros(0, 2, dtype=torch.int64),
            edge_weight=torch.zeros(0),
            pathways=torch.zeros(0, n_genes),
        )
