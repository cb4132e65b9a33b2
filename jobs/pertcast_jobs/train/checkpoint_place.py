"""Where a run's checkpoints live, whoever starts its workers: the run folder, a shared folder, a bucket."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from pertcast.training.checkpoint import CheckpointStore
from pertcast.training.checkpoint_local import LocalCheckpointStore
from pertcast_data.storage import is_remote, parse_location

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.remote_checkpoints import RemoteCheckpointStore


def open_checkpoint_store(config: RunConfig, run: RunFolder) -> CheckpointStore:
    """Return the store of a run's checkpoints: the same for every launcher, rank and attempt.

    Parameters
    ----------
    config
        Its `cluster.storage_path` says where: a folder that all machines see, or a location in a bucket; the
        run folder where null.
    run
        The run, which is there already.
    """
    shared, keep = config.cluster.storage_path, config.train.keep_checkpoints
    if shared is None:
        return LocalCheckpointStore(run.checkpoints_path, keep)
    if is_remote(shared):
        return RemoteCheckpointStore(f"{parse_location(shared).url}/{_name_of(run)}", keep)
    return LocalCheckpointStore(shared / _name_of(run), keep)


def make_storage_folder(storage_path: Path | None) -> None:
    """Make `cluster.storage_path` for a new run; a resumed one that does not find it waits for it instead."""
    if storage_path is not None and not is_remote(storage_path):
        storage_path.mkdir(parents=True, exist_ok=True)


def _name_of(run: RunFolder) -> str:
    """Return the name of a run's part of a storage that it shares with others: its alone, at each attempt."""
    identity = f"{run.path}|{run.manifest().created}".encode()
    return f"{run.path.name}-{blake2b(identity, digest_size=6).hexdigest()}"
