"""One training from configuration to bundle; which launcher trains is a matter of configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pertcast.training.bundle import save_bundle
from pertcast_data.errors import ConfigError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore

from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_folder import RunFolder, now, refuse_existing
from pertcast_jobs.train.hit_calibration import calibrate_bundle
from pertcast_jobs.train.in_process import choose_device, train_in_process
from pertcast_jobs.train.outcome import Trained, TrainingOutcome
from pertcast_jobs.train.prepare import PreparedRun, build_seeded_model, prepare

log = logging.getLogger(__name__)

_MAY_DIFFER_ON_RESUME = (
    "cluster.max_failures",
    "cluster.cpus_per_worker",
    "data.store",
    "data.split",
    "encoder.compound_embedding",
    "encoder.gene_embedding",
    "encoder.gene_network",
    "train.keep_checkpoints",
)
"""The rest decides the numbers. Store, split and files of features may move: their hashes are compared."""


Launch = Callable[[PreparedRun, RunFolder, ProgressCallback], Trained]


def launch_by_config(prepared: PreparedRun, run: RunFolder, progress: ProgressCallback) -> Trained:
    """Train in this process or on Ray, as the configuration says."""
    if prepared.config.cluster.launcher == "in_process":
        return train_in_process(prepared, run, progress)
    # Ray takes seconds to import, and reads its environment as it is imported.
    with ray_session(dashboard=False):
        from pertcast_jobs.train.on_ray import train_on_ray

        return train_on_ray(prepared, run, progress)


def run_training(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: ProgressCallback = no_progress,
    launch: Launch = launch_by_config,
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

    Raises
    ------
    ConfigError
        `out` is taken, or holds a run of another configuration.
    LeakageError
        The split does not fit the store.
    """
    out = Path(out).absolute()
    if not resume:
        refuse_existing(out)
    if config.cluster.launcher == "in_process":
        choose_device(config.cluster.use_gpu)
    prepared = prepare(config)
    run = _continue(prepared, out) if resume and out.exists() else None
    if run is not None and run.is_done:
        return outcome_of(run)
    if run is None:
        run = RunFolder.create(out, prepared.config, prepared.manifest())
    return _finish(prepared, run, launch(prepared, run, progress))


def _continue(prepared: PreparedRun, out: Path) -> RunFolder | None:
    """Return the run at `out` if it is the same training; None for an empty folder."""
    if not any(out.iterdir()):
        return None
    run = RunFolder.open(out)
    if members := run.manifest().members:
        raise ConfigError(f"{out} holds an ensemble: continue it with --ensemble {len(members)} --resume.")
    _require_same(run, prepared)
    return run


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def differing_keys(before: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Return what decides a training's numbers and differs between two configurations, in words.

    Parameters
    ----------
    before, asked
        `RunConfig` as plain JSON, with absolute paths.
    """
    old, new = _flat(before), _flat(asked)
    return [
        f"{key} ({old.get(key)!r} before, {new.get(key)!r} now)"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key not in _MAY_DIFFER_ON_RESUME
    ]


def _require_same(run: RunFolder, prepared: PreparedRun) -> None:
    differing = differing_keys(run.config().model_dump(mode="json"), prepared.config.model_dump(mode="json"))
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
    done = {"validation": dict(trained.result.validation), **result}
    run.write_manifest(
        run.manifest().model_copy(update={"status": "done", "finished": now(), "result": done})
    )
    log.info("bundle written to %s", run.bundle_path)
    return outcome_of(run)


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
    )
