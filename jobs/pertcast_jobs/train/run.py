"""One training from configuration to bundle; which launcher trains is a matter of configuration."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from pertcast.models.contract import ResponseModel
from pertcast.training.bundle import save_bundle
from pertcast.training.storage_faults import StorageUnavailable, patiently, reason_of, remedy_of
from pertcast_data.errors import ConfigError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore

from pertcast_jobs.environment import environment_hash
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_config.flat import flat
from pertcast_jobs.run_folder import RunFolder, now, refuse_existing
from pertcast_jobs.train.checkpoint_place import make_storage_folder
from pertcast_jobs.train.hit_calibration import calibrate_bundle
from pertcast_jobs.train.in_process import choose_device, train_in_process
from pertcast_jobs.train.mlflow_run import require_mlflow
from pertcast_jobs.train.outcome import Trained, TrainingOutcome
from pertcast_jobs.train.prepare import PreparedRun, build_seeded_model, prepare
from pertcast_jobs.train.start_kept import with_kept_bundle
from pertcast_jobs.train.tracking import track_bundle

log = logging.getLogger(__name__)

_MAY_DIFFER_ON_RESUME = (
    "cluster.collective_timeout_s",
    "cluster.cpus_per_worker",
    "cluster.launcher",
    "cluster.look_for_nodes_every_s",
    "cluster.max_failures",
    "cluster.min_workers",
    "cluster.num_workers",
    "cluster.stop_grace_s",
    "cluster.use_gpu",
    "data.store",
    "data.split",
    "encoder.compound_embedding",
    "encoder.gene_embedding",
    "encoder.gene_network",
    "init_from",
    "train.accumulate",
    "train.activation_checkpointing",
    "train.checkpoint_every_steps",
    "train.compile",
    "train.engine.name",
    "train.engine.offload",
    "train.engine.zero_stage",
    "train.keep_checkpoints",
    "train.log_every_steps",
    "train.peak_tflops",
    "train.prefetch",
    "train.storage_patience_s",
    "tracking.",
)
"""The rest decides the numbers. Store, split and files of features may move: their hashes are compared.

Where a run trains may change: the numbers stay the same up to rounding.
"""


Launch = Callable[[PreparedRun, RunFolder, ProgressCallback], Trained]


def launch_by_config(prepared: PreparedRun, run: RunFolder, progress: ProgressCallback) -> Trained:
    """Train in this process or on Ray, as the configuration says."""
    if prepared.config.cluster.launcher == "in_process":
        return train_in_process(prepared, run, progress)
    # Ray takes seconds to import, and reads its environment as it is imported.
    with ray_session(dashboard=False):
        from pertcast_jobs.train.on_ray import train_on_ray

        return train_on_ray(prepared, run, progress)


def accept_any(prepared: PreparedRun) -> None:
    """Find nothing to say against a training."""


def run_training(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: ProgressCallback = no_progress,
    launch: Launch = launch_by_config,
    accept: Callable[[PreparedRun], None] = accept_any,
) -> TrainingOutcome:
    """Train and leave a run folder with a bundle.

    Parameters
    ----------
    config
        What to train, on what, how and where.
    out
        Folder of the run.
    resume
        Continue the run at `out` where it stopped; where there is none, begin it.
    progress
        Told of the steps done.
    launch
        Starts the training; Tune brings its own.
    accept
        Shown what is about to be trained before anything is written; raises what speaks against it.

    Raises
    ------
    ConfigError
        `out` is taken, or holds a run of another configuration.
    LeakageError
        The split does not fit the store.
    StorageUnavailable
        The run's folder or its checkpoints could not be written or read for `train.storage_patience_s`.
    """
    out = Path(out).absolute()
    if not resume:
        refuse_existing(out)
    if config.cluster.launcher == "in_process":
        choose_device(config.cluster.use_gpu)
    require_mlflow(config)
    prepared = prepare(with_kept_bundle(config, RunFolder(out)))
    accept(prepared)
    run = _continue(prepared, out) if resume and out.exists() else None
    if run is not None and run.is_done:
        return outcome_of(run)
    if run is None:
        run = _begin(prepared, out)
    prepared = prepared.starting_from(run)
    return _finish(prepared, run, launch(prepared, run, progress))


def _begin(prepared: PreparedRun, out: Path) -> RunFolder:
    """Make the folders of a new run; what is made when the disk is full is removed."""
    try:
        make_storage_folder(prepared.config.cluster.storage_path)
        return RunFolder.create(out, prepared.config, prepared.manifest())
    except OSError as error:
        shutil.rmtree(out, ignore_errors=True)
        reason = reason_of(error)
        raise StorageUnavailable(
            f"The run's folder {out} cannot be written: {reason}. {remedy_of(reason)}, or choose another "
            "folder for --out."
        ) from error


def _continue(prepared: PreparedRun, out: Path) -> RunFolder | None:
    """Return the run at `out` if it is the same training; None for an empty folder."""
    if not any(out.iterdir()):
        return None
    run = RunFolder.open(out)
    if members := run.manifest().members:
        raise ConfigError(f"{out} holds an ensemble: continue it with --ensemble {len(members)} --resume.")
    _require_same(run, prepared)
    return run


def differing_keys(
    before: Mapping[str, Any], asked: Mapping[str, Any], may_differ: Collection[str] = _MAY_DIFFER_ON_RESUME
) -> list[str]:
    """Return what decides a training's numbers and differs between two configurations, in words.

    Parameters
    ----------
    before, asked
        `RunConfig` as plain JSON, with absolute paths.
    may_differ
        Dotted keys that are not compared; one that ends with a dot stands for all below it.
    """
    old, new = flat(before), flat(asked)
    return [
        f"{key} ({old.get(key)!r} before, {new.get(key)!r} now)"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
        and key not in may_differ
        and f"{key.partition('.')[0]}." not in may_differ
    ]


def differing_content(run: RunFolder, prepared: PreparedRun) -> list[str]:
    """Return which files that decide a training's numbers hold something else than for a run, in words."""
    differing = []
    manifest = run.manifest()
    if manifest.data_hash != prepared.data_hash:
        differing.append(f"the store's data ({manifest.data_hash} before, {prepared.data_hash} now)")
    if manifest.split_hash != prepared.split_hash:
        differing.append(f"the split ({manifest.split_hash} before, {prepared.split_hash} now)")
    tables = [
        None if each is None else each.sha256
        for each in (manifest.compound_embedding, prepared.encoder.coverage)
    ]
    if tables[0] != tables[1]:
        differing.append(f"the embedding table's content ({tables[0]} before, {tables[1]} now)")
    files = [
        [each.sha256s for each in found] for found in (manifest.gene_features, prepared.encoder.gene_coverage)
    ]
    if files[0] != files[1]:
        differing.append("the content of the files of gene features")
    return differing


def _require_same(run: RunFolder, prepared: PreparedRun) -> None:
    before, asked = run.config(), prepared.config
    differing = differing_keys(before.model_dump(mode="json"), asked.model_dump(mode="json"))
    differing += differing_content(run, prepared)
    if differing:
        raise ConfigError(
            f"{run.path} cannot be resumed, it is another training: {'; '.join(differing)}. "
            f"Resume with `pertcast train {run.config_path} --out {run.path} --resume`, "
            "or choose another folder for --out."
        )


def _finish(prepared: PreparedRun, run: RunFolder, trained: Trained) -> TrainingOutcome:
    """Write the bundle and calibrate its hits, then mark the run as done."""
    model = build_seeded_model(prepared.config, prepared.encoder)
    model.load_state_dict(dict(trained.weights), strict=True)
    patiently(
        lambda: _write_results(prepared, run, trained, model),
        prepared.config.train.storage_patience_s,
        f"write the bundle {run.bundle_path}",
        f"Then `pertcast train {run.config_path} --out {run.path} --resume` goes on from the last good "
        "checkpoint.",
    )
    log.info("bundle written to %s", run.bundle_path)
    track_bundle(prepared.config, run)
    return outcome_of(run)


def _write_results(prepared: PreparedRun, run: RunFolder, trained: Trained, model: ResponseModel) -> None:
    # A folder that is away is not made anew: it would be another one than the run's.
    run.manifest_path.stat()
    result = trained.result.to_json()
    save_bundle(
        run.bundle_path,
        model_name=prepared.config.model.name,
        model=model,
        conditions=prepared.encoder.training_conditions,
        encoder_state=prepared.encoder.state(),
        basal_state=prepared.basal_state,
        facts=prepared.bundle_facts(trained.result.validation, result),
    )
    _calibrate(prepared, run)
    facts = {
        "status": "done",
        "finished": now(),
        "environment": dict(trained.environment),
        "environment_hash": environment_hash(trained.environment),
        "result": {"validation": dict(trained.result.validation), **result},
    }
    run.write_manifest(run.manifest().model_copy(update=facts))


def _calibrate(prepared: PreparedRun, run: RunFolder) -> None:
    """Give the bundle what its hits are calibrated by."""
    data = prepared.config.data
    store_path, split_path = data.require()
    store = ExpressionStore.open(store_path)
    calibrate_bundle(run.bundle_path, store, Split.load(split_path), data.fold, store.reader("disk"))


def outcome_of(run: RunFolder) -> TrainingOutcome:
    """Return what a finished run left."""
    manifest = run.manifest()
    result = dict(manifest.result)
    return TrainingOutcome(
        run=run.path,
        bundle=run.bundle_path,
        validation=result.pop("validation", {}),
        result=result,
        compound_embedding=manifest.compound_embedding,
        gene_features=manifest.gene_features,
        start=manifest.start,
    )
