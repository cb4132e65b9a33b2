"""Held-out metrics of a finished bundle: evaluation writes them beside what training knew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pertcast.training.bundle import BundleFacts
from pertcast.training.bundle_manifest import MANIFEST, read_manifest, sealed
from pertcast.training.files import write_json


def add_metrics(path: Path | str, metrics: Mapping[str, float | None]) -> BundleFacts:
    """Write held-out metrics into a bundle's facts, replacing those of the same names."""
    path = Path(path)
    content = read_manifest(path)
    facts = BundleFacts.model_validate(content["facts"])
    facts = BundleFacts.model_validate({**facts.model_dump(), "metrics": {**facts.metrics, **metrics}})
    write_json(path / MANIFEST, sealed({**content, "facts": facts.model_dump(mode="json")}))
    return facts
