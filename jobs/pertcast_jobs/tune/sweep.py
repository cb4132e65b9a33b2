"""The driver of a sweep: starts or restores Ray Tune, follows the trials, keeps the best bundle."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertcast.training.bundle import load_bundle_files
from pertcast.training.files import new_folder, write_json
from pertcast_data.errors import ConfigError, PertcastError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.progress import told_regularly
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.run_config import SweepConfig, dump_config, load_sweep
from pertcast_jobs.run_folder import RunFolder, write_text
from pertcast_jobs.train.prepare import open_checked
from pertcast_jobs.train.worker_notes import read_note
from pertcast_jobs.tune.outcome import SweepOutcome, TrialOutcome, held_out_metrics, ranked

if TYPE_CHECKING:
    from ray import tune

log = logging.getLogger(__name__)

_DRIVER_CPUS = 0.01
"""CPUs of a trial that only waits for its Ray Train workers."""


class SweepFailed(PertcastError):
    """No trial of a sweep ended with a bundle."""


def run_sweep(
    sweep: SweepConfig, out: Path, *, resume: bool = False, progress: ProgressCallback = no_progress
) -> SweepOutcome:
    """Try configurations and keep the best bundle.

    Parameters
    ----------
    sweep
        The runs' configuration, the space and how it is searched.
    out
        Folder of the sweep: sweep.yaml, sweep.json, trials/<id>/ (run folders), bundle/, tune/ (Ray Tune's).
    resume
        Continue the sweep at `out`: finished trials stay, others continue at their checkpoints.
    progress
        Told of the steps over all trials.

    Raises
    ------
    ConfigError
        `out` is taken or holds another sweep; the cluster is too small for one trial.
    SweepFailed
        No trial ended with a bundle.
    """
    out = Path(out).absolute()
    config_path = out / "sweep.yaml"
    sweep = sweep.with_absolute_paths()
    open_checked(sweep)
    if out.exists() and any(out.iterdir()):
        _require_same(sweep, out, config_path, resume)
    else:
        (out / "trials").mkdir(parents=True)
        write_text(config_path, dump_config(sweep))
    with ray_session() as session, _followed(out / "trials", sweep.search.trials, progress):
        results = _tuner(sweep, out, session.num_cpus).fit()
        trials = ranked(
            [_trial_outcome(result, out, sweep.search.metric) for result in results], sweep.search.mode
        )
    return _keep_best(sweep, out, trials)


def _require_same(sweep: SweepConfig, out: Path, config_path: Path, resume: bool) -> None:
    if not config_path.is_file():
        raise ConfigError(f"{out} exists and is not a sweep. Choose another folder for --out.")
    if not resume:
        raise ConfigError(
            f"{out} holds a sweep already. Continue it with --resume, or choose another folder for --out."
        )
    if load_sweep(config_path) != sweep:
        raise ConfigError(
            f"{out} holds another sweep: {config_path} is not what was asked for now. Continue it with "
            f"`pertcast tune {config_path} --out {out} --resume`, or choose another folder for --out."
        )


def _tuner(sweep: SweepConfig, out: Path, num_cpus: float) -> tune.Tuner:
    """Return a new tuner, or the restored one where the folder holds its state."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Ray prints its own progress over ours
    from ray import tune

    from pertcast_jobs.tune.space import scheduler, search_algorithm, search_space, trial_folder_name
    from pertcast_jobs.tune.trial import run_trial

    resources = trial_resources(sweep, num_cpus)
    trainable = tune.with_resources(
        tune.with_parameters(
            run_trial,
            base=sweep.run_mapping(),
            trials_path=str(out / "trials"),
            metric=sweep.search.metric,
        ),
        resources,
    )
    state, space = str(out / "tune"), search_space(sweep.space)
    if tune.Tuner.can_restore(state):
        return tune.Tuner.restore(state, trainable, resume_errored=True, param_space=space)
    search = sweep.search
    return tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=search.metric,
            mode=search.mode,
            num_samples=search.trials,
            search_alg=search_algorithm(search, concurrent_trials(sweep, num_cpus)),
            scheduler=scheduler(search),
            trial_dirname_creator=trial_folder_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(out),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=sweep.cluster.max_failures),
        ),
    )


def trial_resources(sweep: SweepConfig, num_cpus: float) -> dict[str, float]:
    """Return what Tune sets aside for a trial itself; raises ConfigError where one does not fit."""
    cluster = sweep.cluster
    if cluster.launcher == "ray":
        resources = {"CPU": _DRIVER_CPUS}
    else:
        resources = {"CPU": cluster.cpus_per_worker, **({"GPU": 1.0} if cluster.use_gpu else {})}
    if _cpus_of_trial(sweep) > num_cpus:
        raise ConfigError(
            f"A trial needs {_cpus_of_trial(sweep):g} CPUs, Ray has {num_cpus:g}. Lower "
            "cluster.cpus_per_worker (fractions such as 0.9 are possible) or cluster.num_workers."
        )
    return resources


def _cpus_of_trial(sweep: SweepConfig) -> float:
    cluster = sweep.cluster
    own = _DRIVER_CPUS if cluster.launcher == "ray" else 0.0
    return own + cluster.num_workers * cluster.cpus_per_worker


def concurrent_trials(sweep: SweepConfig, num_cpus: float) -> int:
    """Return how many trials run at a time: a trial whose workers find no CPU would time out."""
    fitting = max(1, int(num_cpus / _cpus_of_trial(sweep)))
    return min(fitting, sweep.search.max_concurrent or fitting)


def _trial_outcome(result: Any, out: Path, metric: str) -> TrialOutcome:
    """Return what became of a trial; one that is done counts by its kept weights, not its last epoch."""
    trial = Path(result.path).name
    folder = out / "trials" / trial
    error = None if result.error is None else str(result.error).strip().splitlines()[-1]
    metrics = dict(result.metrics or {})
    is_done = (folder / "run.json").is_file() and RunFolder.open(folder).is_done
    if is_done:
        metrics |= held_out_metrics(RunFolder.open(folder).manifest().result["validation"])
    return TrialOutcome(
        trial=trial,
        status="failed" if error else "done" if is_done else "stopped",
        values=dict(result.config or {}),
        objective=metrics.get(metric),
        epochs=int(metrics.get("epoch", 0)),
        error=error,
    )


def _keep_best(sweep: SweepConfig, out: Path, trials: tuple[TrialOutcome, ...]) -> SweepOutcome:
    best = trials[0] if trials and trials[0].status == "done" else None
    if best is None or best.objective is None:
        reasons = "; ".join(f"{trial.trial}: {trial.error or trial.status}" for trial in trials)
        raise SweepFailed(f"No trial of {out} ended with a bundle. {reasons}. Mend it and run with --resume.")
    source = load_bundle_files(RunFolder.open(out / "trials" / best.trial).bundle_path).path
    with new_folder(out / "bundle") as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    outcome = SweepOutcome(
        path=out,
        metric=sweep.search.metric,
        mode=sweep.search.mode,
        trials=trials,
        best=best.trial,
        bundle=out / "bundle",
    )
    write_json(out / "sweep.json", json.loads(json.dumps(outcome.to_json())))
    log.info("best trial %s, bundle in %s", best.trial, outcome.bundle)
    return outcome


@contextmanager
def _followed(trials_path: Path, n_trials: int, progress: ProgressCallback) -> Iterator[None]:
    """Pass on the steps of all trials while the block runs; those not begun count as the others' mean."""

    def tell() -> None:
        notes = [read_note(path / "workers", 0) for path in sorted(trials_path.iterdir())]
        known = [note for note in notes if note is not None and note.total_steps]
        if not known:
            return
        done = sum(note.step for note in known)
        total = round(sum(note.total_steps for note in known) / len(known) * max(n_trials, len(known)))
        progress(done, total, f"{len(known)} of {n_trials} trials begun")

    with told_regularly(tell):
        yield
