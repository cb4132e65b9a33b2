"""Many trainings of one configuration, a fold and a seed each: ordinary run folders side by side.

OUT/fold0-seed0, OUT/fold0-seed1... and OUT/many.json that names them. How they are trained (beside each
other on Ray, or one after another) changes no number: each has its own threads, seed and folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertcast_data.errors import ConfigError, PertcastError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.progress import told_regularly
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.run_config import ClusterConfig, RunConfig
from pertcast_jobs.run_folder import RunFolder, now, refuse_existing
from pertcast_jobs.train.many_member import Ended, Job, train_member
from pertcast_jobs.train.many_record import MANIFEST, NETWORKS, ManyRuns, Member, read_many
from pertcast_jobs.train.outcome import TrainingOutcome
from pertcast_jobs.train.prepare import open_checked
from pertcast_jobs.train.run import differing_keys, outcome_of
from pertcast_jobs.train.worker_notes import WorkerNote, read_note

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ManyOutcome:
    """What many trainings leave.

    Attributes
    ----------
    path
        The folder that holds them.
    trained
        Member -> its outcome, for those that are done.
    failed
        Member -> why it failed.
    """

    path: Path
    trained: Mapping[str, TrainingOutcome]
    failed: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain JSON."""
        trained = {name: outcome.to_json() for name, outcome in self.trained.items()}
        return {"path": str(self.path), "trained": trained, "failed": dict(self.failed)}


def members(path: Path | str) -> list[Path] | None:
    """Return the run folders of many trainings, by fold and seed; None where `path` is no such folder.

    Whether each is done, the run folder itself tells.

    Raises
    ------
    ConfigError
        many.json is damaged.
    """
    found = read_many(Path(path))
    return None if found is None else [Path(path) / member.name for member in found.members]


def train_many(
    config: RunConfig,
    out: Path,
    folds: Sequence[int],
    seeds: Sequence[int],
    *,
    resume: bool = False,
    progress: ProgressCallback = no_progress,
) -> ManyOutcome:
    """Train one configuration on several folds with several seeds.

    Parameters
    ----------
    config
        What they have in common; its fold and seed are replaced. With ``cluster.launcher=ray`` they train
        beside each other, each on ``cluster.cpus_per_worker`` CPUs (and one GPU with ``use_gpu``), else one
        after another.
    out
        Folder of the run folders and of many.json.
    folds, seeds
        Every fold is trained with every seed.
    resume
        Continue the trainings at `out`: finished ones stay, others go on at their checkpoints. Folds and
        seeds that are new are added.
    progress
        Told of the steps over all members.

    Returns
    -------
    ManyOutcome
        A member that fails is reported with its reason while the others finish.

    Raises
    ------
    ConfigError
        `out` is taken or holds other trainings; more than one worker a member; the cluster is too small.
    LeakageError
        The split does not fit the store.
    """
    _require_one_worker(config.cluster)
    out = Path(out).absolute()
    if not resume:
        refuse_existing(out)
    config = _sharing_networks(config.with_absolute_paths(), out)
    many = _begin(config, out, [Member.of(fold, seed) for fold in folds for seed in seeds])
    jobs = [(member, member.config(config), out / member.name) for member in many.members]
    done = [(member.name, path) for member, _, path in jobs if _is_done(path)]
    trained = {name: outcome_of(RunFolder.open(path)) for name, path in done}
    missing = [job for job in jobs if job[0].name not in trained]
    failed: dict[str, str] = {}
    with _followed(missing, failed, progress):
        for member, ended in _launcher(config.cluster)(missing):
            if isinstance(ended, TrainingOutcome):
                trained[member.name] = ended
            else:
                failed[member.name] = reason_of(ended)
                log.error("training failed", extra={"member": member.name, "reason": failed[member.name]})
    many.model_copy(update={"failed": failed}).write(out)
    ordered = {member.name: trained[member.name] for member in many.members if member.name in trained}
    return ManyOutcome(path=out, trained=ordered, failed=failed)


def _sharing_networks(config: RunConfig, out: Path) -> RunConfig:
    """Return the configuration with a folder in which its members find integrated networks."""
    encoder = config.encoder
    if not encoder.gene_network or encoder.gene_network_cache is not None:
        return config
    encoder = encoder.model_copy(update={"gene_network_cache": out / NETWORKS})
    return config.model_copy(update={"encoder": encoder})


def reason_of(error: BaseException) -> str:
    """Return why a training ended, in one line: the error's own message, or its last line and type."""
    if isinstance(error, PertcastError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


def _begin(config: RunConfig, out: Path, asked: Sequence[Member]) -> ManyRuns:
    """Write many.json, or add to the one that is there if it is of the same configuration."""
    store, split = open_checked(asked[0].config(config))
    before = read_many(out)
    if before is None and out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} holds no {MANIFEST}: it is not a folder of several trainings.")
    begun = () if before is None else before.members
    everyone = sorted({*begun, *asked}, key=lambda member: (member.fold, member.seed))
    many = ManyRuns(
        created=before.created if before else now(),
        model=config.model.name,
        data_hash=store.data_hash,
        split_hash=split.hash,
        split_kind=split.kind,
        config=(begun or tuple(asked))[0].config(config).model_dump(mode="json"),
        members=tuple(everyone),
    )
    if before is not None:
        _require_same(before, many, out)
        many = many.model_copy(update={"config": before.config})
    out.mkdir(parents=True, exist_ok=True)
    many.write(out)
    return many


def _require_same(before: ManyRuns, asked: ManyRuns, out: Path) -> None:
    differing = [
        key
        for key in differing_keys(before.config, asked.config)
        if not key.startswith(("data.fold ", "train.seed "))
    ]
    for name in ("data_hash", "split_hash"):
        old, new = getattr(before, name), getattr(asked, name)
        if old != new:
            differing.append(f"{name} ({old} before, {new} now)")
    if differing:
        raise ConfigError(
            f"{out} cannot be resumed, it holds other trainings: {'; '.join(differing)}. Give the same "
            "configuration, or choose another folder for --out."
        )


def _require_one_worker(cluster: ClusterConfig) -> None:
    if cluster.num_workers != 1:
        raise ConfigError(
            f"cluster.num_workers={cluster.num_workers}: folds and seeds train beside each other, with one "
            "worker each. Set cluster.num_workers=1, or train them one by one."
        )


def _is_done(path: Path) -> bool:
    return (path / "run.json").is_file() and RunFolder.open(path).is_done


def _launcher(cluster: ClusterConfig) -> Callable[[Sequence[Job]], Iterable[Ended]]:
    return _one_after_another if cluster.launcher == "in_process" else _on_ray


def _one_after_another(jobs: Sequence[Job]) -> Iterator[Ended]:
    for job in jobs:
        try:
            yield job[0], train_member(job)
        except Exception as error:  # noqa: BLE001 (reported with the member; the others train on)
            yield job[0], error


def _on_ray(jobs: Sequence[Job]) -> Iterator[Ended]:
    if not jobs:
        return
    # Ray takes seconds to import, and reads its environment as it is imported.
    with ray_session(dashboard=False):
        from pertcast_jobs.train.many_on_ray import train_beside_each_other

        yield from train_beside_each_other(jobs)


@contextmanager
def _followed(jobs: Sequence[Job], failed: Mapping[str, str], progress: ProgressCallback) -> Iterator[None]:
    """Pass on the steps of all members while the block runs; those not begun count as the others' mean."""

    def tell() -> None:
        notes = {member.name: read_note(RunFolder(path).workers_path, 0) for member, _, path in jobs}
        begun = {name: note for name, note in notes.items() if note is not None and note.total_steps}
        if not begun:
            return
        done = {member.name for member, _, path in jobs if _is_done(path)}
        steps = sum(_steps(note, name in done or name in failed) for name, note in begun.items())
        total = round(sum(note.total_steps for note in begun.values()) / len(begun) * len(jobs))
        words = f"{len(done)} of {len(jobs)} trained"
        progress(steps, total, f"{words}, {len(failed)} failed" if failed else words)

    with told_regularly(tell):
        yield


def _steps(note: WorkerNote, has_ended: bool) -> int:
    return note.total_steps if has_ended else note.step
