"""The driver of a sweep: scores the baselines, starts Ray Tune on what is left to try, keeps the best."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pertcast.training.bundle import load_bundle_files
from pertcast.training.files import new_folder, write_json
from pertcast_data.errors import ConfigError, PertcastError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.evaluate.part_scores import BaselineScores
from pertcast_jobs.progress import told_regularly
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.run_config import SweepConfig, dump_config, load_sweep
from pertcast_jobs.run_folder import RunFolder, write_text
from pertcast_jobs.train.prepare import open_checked
from pertcast_jobs.train.worker_notes import read_note
from pertcast_jobs.tune.baselines import baselines_of
from pertcast_jobs.tune.older_names import require_present_names
from pertcast_jobs.tune.outcome import SweepOutcome, TrialOutcome, front, ranked
from pertcast_jobs.tune.records import Records
from pertcast_jobs.tune.report import REPORT_FILE, write_sweep_report
from pertcast_jobs.tune.resources import concurrent_trials, trial_resources

if TYPE_CHECKING:
    from ray import tune

log = logging.getLogger(__name__)


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
        Folder of the sweep: sweep.yaml, baselines.json, records/, trials/<number>/ (run folders), then
        sweep.json, sweep.html and bundle/; tune/ is Ray Tune's own and not needed to continue.
    resume
        Continue the sweep at `out`: finished trials stay, others continue at their checkpoints.
    progress
        Told of the steps over all trials.

    Raises
    ------
    ConfigError
        `out` is taken or holds another sweep; there are no validation conditions; the cluster is too small
        for one trial.
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
    baselines = baselines_of(sweep, out, progress)
    records = Records(out)
    if waiting := records.waiting(sweep.search.trials):
        with ray_session(), _followed(out / "trials", sweep.search.trials, progress):
            _run(sweep, records, len(waiting))
    return _keep_best(sweep, records, baselines)


def _require_same(sweep: SweepConfig, out: Path, config_path: Path, resume: bool) -> None:
    if not config_path.is_file():
        raise ConfigError(f"{out} exists and is not a sweep. Choose another folder for --out.")
    if not resume:
        raise ConfigError(
            f"{out} holds a sweep already. Continue it with --resume, or choose another folder for --out."
        )
    require_present_names(out)
    if load_sweep(config_path) != sweep:
        raise ConfigError(
            f"{out} holds another sweep: {config_path} is not what was asked for now. Continue it with "
            f"`pertcast tune {config_path} --out {out} --resume`, or choose another folder for --out."
        )


def _run(sweep: SweepConfig, records: Records, n_waiting: int) -> None:
    """Run the trials that have not ended, and note why those that fail do."""
    shutil.rmtree(records.out / "tune", ignore_errors=True)
    for result in _tuner(sweep, records, n_waiting).fit():
        record = records.read(int((result.config or {})["number"]))
        if record is not None and record.status == "failed" and record.error is None:
            error = str(result.error or "it ended without a result").strip().splitlines()[-1]
            records.write(replace(record, error=error))


def _tuner(sweep: SweepConfig, records: Records, n_trials: int) -> tune.Tuner:
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Ray prints its own progress over ours
    import ray
    from ray import tune

    from pertcast_jobs.tune.searcher import RecordedSearch, Silence, scheduler, trial_folder_name
    from pertcast_jobs.tune.trial import run_trial

    available = ray.cluster_resources()
    trainable = tune.with_resources(
        tune.with_parameters(
            run_trial,
            base=sweep.run_mapping(),
            out=str(records.out),
            objectives=tuple(objective.metric for objective in sweep.search.objectives),
        ),
        trial_resources(sweep, available),
    )
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=n_trials,
            search_alg=RecordedSearch(sweep, records),
            max_concurrent_trials=concurrent_trials(sweep, available),
            scheduler=scheduler(sweep.search),
            trial_dirname_creator=trial_folder_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(records.out),
            verbose=0,
            callbacks=[Silence()],
            failure_config=tune.FailureConfig(max_failures=sweep.cluster.max_failures),
        ),
    )


def _outcomes(sweep: SweepConfig, records: Records) -> tuple[TrialOutcome, ...]:
    trials = [
        TrialOutcome(
            trial=record.name,
            status="failed" if record.status == "begun" else record.status,
            values=record.values,
            metrics=record.metrics,
            error=record.error,
        )
        for record in records.read_all(sweep.search.trials)
    ]
    objectives = sweep.search.objectives
    on_front = front(trials, objectives)
    return ranked([replace(trial, is_on_front=trial.trial in on_front) for trial in trials], objectives)


def _keep_best(sweep: SweepConfig, records: Records, baselines: BaselineScores) -> SweepOutcome:
    """Copy the best trial's bundle, and write the table and the report."""
    out, trials = records.out, _outcomes(sweep, records)
    if not trials or trials[0].status != "done":
        reasons = "; ".join(f"{trial.trial}: {trial.error or trial.status}" for trial in trials)
        raise SweepFailed(f"No trial of {out} ended with a bundle. {reasons}. Mend it and run with --resume.")
    source = load_bundle_files(RunFolder.open(out / "trials" / trials[0].trial).bundle_path).path
    with new_folder(out / "bundle") as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    outcome = SweepOutcome(
        path=out,
        objectives=sweep.search.objectives,
        scored_by=baselines.metric,
        baseline=baselines.titles[baselines.best],
        trials=trials,
        best=trials[0].trial,
        bundle=out / "bundle",
        report=out / REPORT_FILE,
    )
    write_json(out / "sweep.json", json.loads(json.dumps(outcome.to_json())))
    write_sweep_report(sweep, outcome, baselines)
    log.info("best trial %s, bundle in %s", outcome.best, outcome.bundle)
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
