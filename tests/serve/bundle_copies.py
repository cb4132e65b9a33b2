"""Other versions of a bundle, and links that are turned to them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import safetensors.numpy
from pertcast.training.bundle_manifest import file_record, read_manifest, sealed
from pertcast.training.files import write_json


def changed_copy(bundle: Path, folder: Path, factor: float = 1.5) -> Path:
    """Write a bundle with other weights, so that it is another version."""
    shutil.copytree(bundle, folder)
    weights = folder / "weights.safetensors"
    arrays = safetensors.numpy.load_file(weights)
    scaled = {name: np.asarray(each * factor, each.dtype) for name, each in arrays.items()}
    safetensors.numpy.save_file(scaled, weights)
    manifest = read_manifest(folder)
    manifest["files"]["weights.safetensors"] = file_record(weights)
    write_json(folder / "bundle.json", sealed(manifest))
    return folder


def point(link: Path, target: Path) -> None:
    """Turn a link to another folder in one step, as deployments do."""
    made = link.with_name(f"{link.name}.new")
    made.symlink_to(target)
    os.replace(made, link)
