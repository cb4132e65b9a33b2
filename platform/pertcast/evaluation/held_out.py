"""The truth that predictions are scored against: held-out conditions as one table and a few arrays.

Controls always come from the truth's own store, never from a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

FloatArray = NDArray[np.floating[Any]]
IndexArray = NDArray[np.int64]


@dataclass(frozen=True)
class GeneTests:
    """Tests of every gene in N conditions, condition against its own controls.

    Attributes
    ----------
    statistic
        (N, G) signed: positive where the gene rises; NaN where it cannot be tested.
    q_value
        (N, G) Benjamini-Hochberg over the genes of a condition; NaN where it cannot be tested.
    method
        The test, in words.
    """

    statistic: FloatArray
    q_value: FloatArray
    method: str

    def take(self, index: IndexArray) -> GeneTests:
        """Return the tests of the conditions at `index`."""
        return replace(self, statistic=self.statistic[index], q_value=self.q_value[index])


@dataclass(frozen=True)
class HeldOut:
    """N held-out conditions over G genes.

    Attributes
    ----------
    conditions
        N rows; at least `condition_id`. Further columns (cell_iname, pert_id, n_rows, nn_train_dist...) are
        carried into the report and used for strata where present.
    genes
        Names of the G genes.
    truth
        (N, G) true responses: mean over the condition's rows of profile minus matched control mean.
    control
        (N, G) matched control means (all zero for measure "response").
    train_perturbed_mean
        (K, G) mean response over the training perturbations' centroids, one row a context and perturbation
        type, and those over all contexts and over all types.
    train_mean_index
        (N,) row of `train_perturbed_mean` that belongs to each condition.
    pool
        (N,) conditions are told apart (centroid accuracy, discrimination) within their pool: the context and
        the type of perturbation.
    cluster
        (N,) conditions that are resampled together: the held-out perturbation.
    own_gene
        (N, S) indices of the perturbation's own target genes, -1 for none; left out of discrimination.
    tests
        Which genes truly respond, tested on the truth's replicates or cells; None where there is nothing to
        test with.
    """

    conditions: pl.DataFrame
    genes: tuple[str, ...]
    truth: FloatArray
    control: FloatArray
    train_perturbed_mean: FloatArray
    train_mean_index: IndexArray
    pool: IndexArray
    cluster: IndexArray
    own_gene: IndexArray
    tests: GeneTests | None = None

    def __post_init__(self) -> None:
        n, g = self.truth.shape
        shapes = {
            "conditions": (self.conditions.height, n),
            "genes": (len(self.genes), g),
            "control": (self.control.shape, (n, g)),
            "train_perturbed_mean": (self.train_perturbed_mean.shape[1:], (g,)),
            "train_mean_index": (self.train_mean_index.shape, (n,)),
            "pool": (self.pool.shape, (n,)),
            "cluster": (self.cluster.shape, (n,)),
            "own_gene": (self.own_gene.shape[:1], (n,)),
        }
        for name, (found, wanted) in shapes.items():
            if found != wanted:
                raise SchemaError(
                    f"HeldOut.{name} has {found}, wanted {wanted} ({n} conditions, {g} genes); "
                    "build every array over the same held-out conditions and gene space."
                )

    @property
    def n_conditions(self) -> int:
        """N, the number of held-out conditions."""
        return int(self.truth.shape[0])

    @property
    def n_genes(self) -> int:
        """G, the number of genes."""
        return int(self.truth.shape[1])

    @property
    def n_clusters(self) -> int:
        """Number of distinct held-out perturbations: what the bootstrap resamples."""
        return len(np.unique(self.cluster))

    def train_means(self, rows: slice | IndexArray) -> FloatArray:
        """Return (M, G) the training mean response that belongs to each of `rows`."""
        means: FloatArray = self.train_perturbed_mean[self.train_mean_index[rows]]
        return means

    def check_prediction(self, name: str, prediction: FloatArray) -> None:
        """Raise SchemaError unless `prediction` is finite and of shape (N, G)."""
        if prediction.shape != self.truth.shape:
            raise SchemaError(
                f"Prediction {name!r} has shape {prediction.shape}, the truth {self.truth.shape}; "
                "predict every held-out condition over the truth's genes, in its order."
            )
        if not np.isfinite(prediction).all():
            row, gene = (int(i) for i in np.argwhere(~np.isfinite(prediction))[0])
            raise SchemaError(
                f"Prediction {name!r} is not finite for condition {self.conditions['condition_id'][row]!r}, "
                f"gene {self.genes[gene]!r}; a model must predict every gene."
            )

    def take(self, index: IndexArray, truth: FloatArray | None = None) -> HeldOut:
        """Return the conditions at `index`, with another truth for them where given (split halves)."""
        return replace(
            self,
            conditions=self.conditions[index],
            truth=self.truth[index] if truth is None else truth,
            control=self.control[index],
            train_mean_index=self.train_mean_index[index],
            pool=self.pool[index],
            cluster=self.cluster[index],
            own_gene=self.own_gene[index],
            tests=None if self.tests is None else self.tests.take(index),
        )
