"""What a launcher hands back, and what a training leaves for who asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pertcast.encoding.compound_embedding import EmbeddingCoverage
from pertcast.encoding.gene_features import GeneCoverage
from pertcast.training.reports import FitResult
from torch import Tensor

from pertcast_jobs.environment import describe_environment
from pertcast_jobs.start_record import StartRecord


@dataclass(frozen=True)
class Trained:
    """A trained model as it leaves the process that trained it.

    Attributes
    ----------
    weights
        The model's state dict, on the CPU.
    result
        How training went.
    environment
        On what it was trained: facts of the process that makes this object.
    """

    weights: Mapping[str, Tensor]
    result: FitResult
    environment: Mapping[str, Any] = field(default_factory=describe_environment)


@dataclass(frozen=True)
class TrainingOutcome:
    """What a finished training leaves.

    Attributes
    ----------
    run
        The run's folder.
    bundle
        The trained model's folder.
    validation
        Held-out losses of the kept weights by name; empty for models without.
    result
        Steps, seconds, stages: `FitResult` as plain JSON.
    compound_embedding
        What the embedding table knows of the store's compounds; None without a table.
    gene_features
        What each file of gene features knows of the store's genes; empty without files.
    start
        What was taken over of a trained bundle; None for fresh weights.
    """

    run: Path
    bundle: Path
    validation: Mapping[str, float]
    result: Mapping[str, Any]
    compound_embedding: EmbeddingCoverage | None = None
    gene_features: tuple[GeneCoverage, ...] = ()
    start: StartRecord | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain JSON."""
        return {
            "run": str(self.run),
            "bundle": str(self.bundle),
            "validation": dict(self.validation),
            "result": dict(self.result),
            "compound_embedding": plain_coverage(self.compound_embedding),
            "gene_features": [plain_coverage(each) for each in self.gene_features],
            "start": None if self.start is None else self.start.summary(),
        }


def plain_coverage(coverage: EmbeddingCoverage | GeneCoverage | None) -> dict[str, Any] | None:
    """Return the report of a file of features as plain JSON, with its one line as "text"."""
    return None if coverage is None else {**coverage.model_dump(mode="json"), "text": coverage.text()}
