"""The bundle that a run starts from, kept in the run's folder: workers start, and runs resume, from there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pertcast.training.bundle import find_bundle
from pertcast.training.bundle_manifest import content_hash, read_manifest
from pertcast.training.files import new_folder
from pertcast_data.errors import ConfigError

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.start_record import StartRecord


def keep_bundle(source: Path, destination: Path) -> None:
    """Copy a bundle into a run's folder, whole or not at all; files are linked where the disk is the same."""
    if destination.exists():
        return
    with new_folder(destination) as folder:
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            target = folder / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, target)
            except OSError:
                shutil.copy2(file, target)


def with_kept_bundle(config: RunConfig, run: RunFolder) -> RunConfig:
    """Return the configuration of a begun run that starts from the bundle that the run keeps.

    Raises
    ------
    ConfigError
        The bundle that is asked for is another one than the run started from.
    """
    if config.init_from is None or not run.start_path.exists():
        return config
    kept = _content_hash(run.start_path)
    if config.init_from.exists() and _content_hash(find_bundle(config.init_from)) != kept:
        raise ConfigError(
            f"{run.path} cannot be resumed, it is another training: it started from a bundle {kept[:12]}, "
            f"and {config.init_from} is another one. Choose another folder for --out."
        )
    return config.model_copy(update={"init_from": run.start_path})


def keep_start(config: RunConfig, run: RunFolder, record: StartRecord | None) -> RunConfig:
    """Keep a run's bundle in its folder; return the configuration that starts from it there.

    Raises
    ------
    ConfigError
        The bundle is another one than the run began with.
    """
    if config.init_from is None or record is None:
        return config
    begun = run.manifest().start
    if begun is not None and begun.content_hash != record.content_hash:
        raise ConfigError(
            f"{run.path} started from a bundle {begun.content_hash[:12]}, and {config.init_from} is "
            f"{record.content_hash[:12]}. Bring the bundle back, or choose another folder for --out."
        )
    keep_bundle(find_bundle(config.init_from), run.start_path)
    return config.model_copy(update={"init_from": run.start_path})


def _content_hash(bundle: Path) -> str:
    return content_hash(read_manifest(bundle))
