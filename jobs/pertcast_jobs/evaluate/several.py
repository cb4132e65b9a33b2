"""Several runs at once: folders of trainings as their members, one after another or beside each other on Ray.

Where they are evaluated changes no number: every task computes with as many threads as this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from pertcast.evaluation.bootstrap import N_DRAWS
from pertcast.evaluation.cells.cell_board import MOST_CELL_CONDITIONS
from pertcast.evaluation.trust.comparison import Comparison
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.evaluate.pooling import can_be_pooled, compare, groups, pool
from pertcast_jobs.evaluate.runs import evaluate_run
from pertcast_jobs.evaluate.saving import Evaluation
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.train.many import members


def expand(paths: Sequence[Path]) -> list[Path]:
    """Return the runs that are meant: a folder of trainings of several folds or seeds is all its members."""
    found: list[Path] = []
    for path in paths:
        inside = members(path)
        found += [path] if inside is None else inside
    return list(dict.fromkeys(found))


def told_apart(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the evaluations with the names of their folders where run names alone are not distinct."""
    names = [evaluation.name for evaluation in evaluations]
    if len(set(names)) == len(names):
        return list(evaluations)
    return [
        replace(evaluation, name=f"{evaluation.folder.parent.parent.name}/{evaluation.name}")
        for evaluation in evaluations
    ]


def pool_and_compare(
    evaluations: Sequence[Evaluation], out: Path | None, *, n_draws: int = N_DRAWS, seed: int = 0
) -> tuple[list[Evaluation], list[Comparison]]:
    """Pool what differs in fold and seed alone, and compare the models.

    Parameters
    ----------
    evaluations
        Of runs.
    out
        Folder of the pooled reports, with one folder a model where several are pooled; RUN/evaluation/pooled
        of the first run of each by default.
    n_draws, seed
        Of the bootstrap.

    Returns
    -------
    tuple
        The pooled evaluations, and every two models on the same held-out conditions.
    """
    together = groups(evaluations)
    pooled, final = [], []
    for number, kin in enumerate(together):
        if not can_be_pooled(kin):
            final += kin
            continue
        name = "pooled" if len(together) == 1 else f"{kin[0].trust.facts.model} pooled {number + 1}"
        folder = kin[0].folder / "pooled" if out is None else out
        if out is not None and len(together) > 1:
            folder = out / name.replace(" ", "_")
        pooled.append(replace(pool(kin, folder, n_draws=n_draws, seed=seed), name=name))
        final.append(pooled[-1])
    return pooled, compare(final, n_draws=n_draws, seed=seed)


def evaluate_runs(
    paths: Sequence[Path],
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    oracle: Path | None = None,
    most_cell_conditions: int = MOST_CELL_CONDITIONS,
    parallel: int = 1,
    progress: ProgressCallback = no_progress,
) -> list[Evaluation]:
    """Evaluate runs, in the order given.

    Parameters
    ----------
    paths
        Folders of finished runs.
    n_draws, seed, oracle, most_cell_conditions
        As in `evaluate_run`.
    parallel
        Runs at a time; beside each other on Ray where it is more than 1.
    progress
        Told of the steps of each run where they go one after another, else of the runs done.

    Raises
    ------
    ConfigError, LeakageError
        Of the first run that cannot be evaluated.
    """
    evaluate = partial(
        evaluate_run, n_draws=n_draws, seed=seed, oracle=oracle, most_cell_conditions=most_cell_conditions
    )
    if parallel == 1 or len(paths) == 1:
        found = [evaluate(path, progress=_named(progress, path)) for path in paths]
        return told_apart(found)
    done: dict[int, Evaluation] = {}
    with ray_session(num_cpus=min(parallel, len(paths)), dashboard=False):
        for place, evaluation in _beside_each_other(paths, evaluate):
            done[place] = evaluation
            progress(len(done), len(paths), evaluation.name)
    return told_apart([done[place] for place in range(len(paths))])


def _named(progress: ProgressCallback, path: Path) -> ProgressCallback:
    def tell(done: int, total: int, note: str = "") -> None:
        progress(done, total, f"{path.name}: {note}")

    return tell


def _beside_each_other(
    paths: Sequence[Path], evaluate: Callable[[Path], Evaluation]
) -> Iterator[tuple[int, Evaluation]]:
    # Ray takes seconds to import, and reads its environment as it is imported.
    import ray
    from ray.exceptions import RayTaskError

    def run(path: Path) -> Evaluation:
        return evaluate(path)

    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    task = ray.remote(run).options(num_cpus=1, max_retries=0, runtime_env={"env_vars": threads})
    waiting = {task.remote(path.absolute()): place for place, path in enumerate(paths)}
    try:
        while waiting:
            ended, _ = ray.wait(list(waiting))
            place = waiting.pop(ended[0])
            try:
                yield place, ray.get(ended[0])
            except RayTaskError as error:
                raise error.cause or error from None
    finally:
        for reference in waiting:
            ray.cancel(reference)
