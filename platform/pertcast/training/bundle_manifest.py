"""The manifest of a bundle: plain facts, sealed with their own hash so that a changed byte is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pertcast_data.errors import CorruptBundle

from pertcast.training.files import sha256_of

FORMAT: Final = "pertcast-bundle"
FORMAT_VERSION: Final = 1
MANIFEST: Final = "bundle.json"
TENSOR_FILES: Final = (
    "weights.safetensors",
    "conditions.safetensors",
    "encoder.safetensors",
    "basal.safetensors",
)
"""Of one model. Each member of an ensemble has weights of its own, and shares the rest."""


def weights_file(member: str = "") -> str:
    """Return the name of the file of weights: of the only model, or of the ensemble's member of that name."""
    return f"weights-{member}.safetensors" if member else TENSOR_FILES[0]


def members_of(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a manifest says of an ensemble's members, by name; nothing for one model."""
    return dict(content["model"].get("members", {}))


def tensor_files(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the files of tensors that a bundle must hold."""
    weights = [weights_file(name) for name in members_of(content)] or [weights_file()]
    return (*weights, *TENSOR_FILES[1:])


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain facts, whatever the order of their names."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of plain facts: with their hash, which `read_manifest` takes off again."""
    plain = json.loads(json.dumps(content, allow_nan=False))
    return {**plain, "manifest_sha256": digest(plain)}


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the facts of the bundle in a folder, without their seal.

    Raises
    ------
    CorruptBundle
        There is no manifest, or it is another format's, another version's, or was changed.
    """
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise CorruptBundle(f"{path} is not a bundle: {MANIFEST} is missing. Name the folder that holds it.")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptBundle(
            f"{manifest} cannot be read ({error}); copy or train the bundle again."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CorruptBundle(f"{manifest} does not describe a bundle; name a bundle's folder.")
    if content.get("format_version") != FORMAT_VERSION:
        raise CorruptBundle(
            f"{manifest} has format version {content.get('format_version')}; this Pertcast reads "
            f"{FORMAT_VERSION}. Install the Pertcast that wrote it ({content.get('pertcast_version')})."
        )
    seal = content.pop("manifest_sha256", None)
    if seal != digest(content):
        raise CorruptBundle(f"{manifest} was changed or damaged (its hash is wrong); copy the bundle again.")
    return content


def content_hash(content: Mapping[str, Any]) -> str:
    """Return the hash of everything but what is known only after training: metrics and supplements."""
    kept = {name: value for name, value in content.items() if name != "supplements"}
    return digest({**kept, "facts": {**content["facts"], "metrics": {}}})


def file_record(path: Path) -> dict[str, Any]:
    """Return what the manifest says of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def verify_files(path: Path, content: Mapping[str, Any]) -> None:
    """Compare the files of tensors with the manifest; raises CorruptBundle."""
    for name in tensor_files(content):
        file, record = path / name, content["files"].get(name)
        if record is None or not file.is_file():
            raise CorruptBundle(f"{file} is missing; copy the bundle again, whole.")
        if file.stat().st_size != record["bytes"] or sha256_of(file) != record["sha256"]:
            raise CorruptBundle(f"{file} is damaged (its SHA-256 is not the recorded one); copy it again.")
