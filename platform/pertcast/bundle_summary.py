"""What a loaded predictor knows of the bundle it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pertcast.models.registry import MODELS
from pertcast.training.bundle import BundleFacts, BundleFiles


def title_of(model_name: str, n_members: int = 0) -> str:
    """Return what people call a registered model, or an ensemble of so many of it."""
    title = MODELS[model_name].title if model_name in MODELS else model_name
    return f"Ensemble of {n_members}: {title}" if n_members else title


@dataclass(frozen=True)
class BundleSummary:
    """What a predictor knows of the bundle it came from.

    Attributes
    ----------
    path
        The bundle's folder.
    model_name, model_config
        Registered name and plain configuration of the model.
    facts
        Provenance and held-out metrics.
    version
        Pertcast version that wrote the bundle.
    content_hash
        Hash of everything in it but the metrics.
    members
        Of an ensemble: member -> its seed and the content hash of its own bundle. Empty for one model.
    """

    path: Path
    model_name: str
    model_config: dict[str, Any]
    facts: BundleFacts
    version: str
    content_hash: str
    members: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, files: BundleFiles) -> BundleSummary:
        """Return what is told of a bundle in memory."""
        return cls(
            path=files.path,
            model_name=files.model_name,
            model_config=files.model_config,
            facts=files.facts,
            version=files.version,
            content_hash=files.content_hash,
            members=files.members,
        )

    @property
    def hash(self) -> str:
        """The content hash."""
        return self.content_hash

    @property
    def title(self) -> str:
        """What people call the model, or the ensemble of it."""
        return title_of(self.model_name, len(self.members))
