"""Ensembles: members that differ in their seed alone, trained beside each other, and one bundle of them.

RUN/members holds the members' runs (`many`), RUN/bundle the ensemble: RUN goes wherever a run goes. Of
several folds OUT/members holds all members, and OUT/fold0... the ensembles that OUT/many.json names.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pertcast.training.bundle import load_bundle_files
from pertcast.training.bundle_ensemble import FEWEST_MEMBERS, save_ensemble
from pertcast.training.bundle_manifest import members_of, read_manifest
from pertcast_data.errors import ConfigError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_folder import RunFolder, now, refuse_existing
from pertcast_jobs.train.hit_calibration import calibrate_bundle
from pertcast_jobs.train.many import ManyOutcome, train_many
from pertcast_jobs.train.many_record import ManyRuns, Member
from pertcast_jobs.train.outcome import TrainingOutcome
from pertcast_jobs.train.prepare import prepare
from pertcast_jobs.train.run import outcome_of

log = logging.getLogger(__name__)

MEMBERS: Final = "members"
"""Folder of the members' runs."""


@dataclass(frozen=True)
class EnsembleOutcome:
    """What training ensembles leaves.

    Attributes
    ----------
    path
        The folder that was asked for.
    ensembles
        The ensembles that are done; those of a failed member are not written.
    members
        How each member fared.
    """

    path: Path
    ensembles: tuple[TrainingOutcome, ...]
    members: ManyOutcome

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain JSON."""
        return {
            "path": str(self.path),
            "ensembles": [each.to_json() for each in self.ensembles],
            "members": self.members.to_json(),
        }


def require_size(size: int) -> None:
    """Raise ConfigError for an ensemble of one."""
    if size < FEWEST_MEMBERS:
        raise ConfigError(
            f"--ensemble {size} is no ensemble: give at least {FEWEST_MEMBERS} members, or train one model "
            "without --ensemble."
        )


def member_seeds(config: RunConfig, size: int) -> list[int]:
    """Return the seeds of the members: from train.seed on."""
    return list(range(config.train.seed, config.train.seed + size))


def train_ensembles(
    config: RunConfig,
    out: Path,
    folds: Sequence[int],
    size: int,
    *,
    resume: bool = False,
    progress: ProgressCallback = no_progress,
) -> EnsembleOutcome:
    """Train an ensemble on each fold; all members of all folds train as `train_many` trains.

    Parameters
    ----------
    config
        Of every member but for its seed, and of every fold.
    out
        Folder of the ensemble's run; of several folds, of their runs.
    folds
        Each gets an ensemble.
    size
        K, at least 2. The seeds are train.seed, train.seed + 1...
    resume
        Continue what is at `out`: only what is missing is trained. A larger K adds members.
    progress
        Told of the steps over all members.

    Returns
    -------
    EnsembleOutcome
        A member that fails is reported while the others finish; its ensemble is not written.

    Raises
    ------
    ConfigError
        As of `train_many`; fewer than two members, or fewer than the ensemble at `out` has.
    LeakageError
        The split does not fit the store.
    """
    require_size(size)
    out = Path(out).absolute()
    if not resume:
        refuse_existing(out)
    config, seeds = config.with_absolute_paths(), member_seeds(config, size)
    runs = {
        fold: _begin(config, out if len(folds) == 1 else out / f"fold{fold}", out, fold, seeds)
        for fold in folds
    }
    trained = train_many(config, out / MEMBERS, folds, seeds, resume=resume, progress=progress)
    done = []
    for fold, run in runs.items():
        names = [Member.of(fold, seed).name for seed in seeds]
        if all(name in trained.trained for name in names):
            done.append(_finished(run, [trained.trained[name] for name in names]))
    if len(folds) > 1:
        _name_folds(config, out, runs, trained.failed)
    return EnsembleOutcome(path=out, ensembles=tuple(done), members=trained)


def _begin(config: RunConfig, path: Path, out: Path, fold: int, seeds: Sequence[int]) -> RunFolder:
    """Return the ensemble's run, made where there is none."""
    members = tuple(_relative(out, path, Member.of(fold, seed).name) for seed in seeds)
    if not path.exists() or not any(path.iterdir()):
        own = config.model_copy(update={"data": config.data.model_copy(update={"fold": fold})})
        manifest = prepare(own).manifest()
        return RunFolder.create(path, own, manifest.model_copy(update={"members": members}))
    run = RunFolder.open(path)
    before = run.manifest()
    if not before.members:
        raise ConfigError(f"{path} holds a run of one model. Choose another folder for the ensemble.")
    if not set(before.members) <= set(members):
        raise ConfigError(
            f"{path} is an ensemble of {len(before.members)} with other members than the {len(members)} of "
            "--ensemble and train.seed. Resume it with as many or more, or choose another folder."
        )
    if before.members != members:
        run.write_manifest(before.model_copy(update={"members": members, "status": "running"}))
    return run


def _relative(out: Path, path: Path, name: str) -> str:
    return f"{MEMBERS}/{name}" if path == out else f"../{MEMBERS}/{name}"


def _finished(run: RunFolder, members: Sequence[TrainingOutcome]) -> TrainingOutcome:
    """Write the bundle, calibrate its hits and mark the run as done; leave one that is done."""
    bundles = [load_bundle_files(member.bundle) for member in members]
    hashes = [bundle.content_hash for bundle in bundles]
    if run.is_done and _hashes_of(run) == hashes:
        return outcome_of(run)
    save_ensemble(run.bundle_path, bundles)
    data = run.config().data
    store_path, split_path = data.require()
    store = ExpressionStore.open(store_path)
    calibrate_bundle(run.bundle_path, store, Split.load(split_path), data.fold, store.reader("disk"))
    done = {"status": "done", "finished": now(), "result": _together(members)}
    run.write_manifest(run.manifest().model_copy(update=done))
    log.info("bundle of %d members written to %s", len(members), run.bundle_path)
    return outcome_of(run)


def _hashes_of(run: RunFolder) -> list[str]:
    """Return the content hashes of the bundles that the ensemble was made of."""
    records = members_of(read_manifest(run.bundle_path))
    return [str(record["content_hash"]) for record in records.values()]


def _together(members: Sequence[TrainingOutcome]) -> dict[str, Any]:
    """Return the steps and seconds of all members, and the validation of each."""
    results: list[Mapping[str, Any]] = [member.result for member in members]
    return {
        "global_step": sum(int(result.get("global_step", 0)) for result in results),
        "seconds": sum(float(result.get("seconds", 0.0)) for result in results),
        "members": {member.run.name: dict(member.validation) for member in members},
    }


def _name_folds(
    config: RunConfig, out: Path, runs: Mapping[int, RunFolder], failed: Mapping[str, str]
) -> None:
    """Write many.json, so that the folder of ensembles goes where one of runs goes."""
    facts = next(iter(runs.values())).manifest()
    ManyRuns(
        created=facts.created,
        model=facts.model,
        data_hash=facts.data_hash,
        split_hash=facts.split_hash,
        split_kind=facts.split_kind,
        config=config.model_dump(mode="json"),
        members=tuple(Member(name=run.path.name, fold=fold, seed=facts.seed) for fold, run in runs.items()),
        failed=dict(failed),
    ).write(out)
