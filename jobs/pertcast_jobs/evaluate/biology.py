"""The biology of evaluated runs: pathways, dose and time, drug sensitivity, wells, latent space.

What follows from kept predictions is made for pooled folds too; what needs a model is made run by run. A part
that the data do not allow is a note with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import polars as pl
from pertcast.analysis.compared import ComparedResponses
from pertcast.analysis.dose_response import DoseResponse, dose_response
from pertcast.analysis.dose_response.curves import CURVE_KEY, MIN_DOSES, find_curves
from pertcast.analysis.epistasis import PairEpistasis
from pertcast.analysis.gene_sets import GeneSets
from pertcast.analysis.pathways import PathwayAgreement, pathway_agreement
from pertcast.evaluation.sensitivity.drug_sensitivity import DrugSensitivity
from pertcast.evaluation.wells.populations import WellPopulations
from pertcast.naming import response_unit
from pertcast.report.biology import PARTS, Biology
from pertcast_data.errors import ConfigError, ControlsMissing, SchemaError, UnitError, UnknownName
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.evaluate.biology_asked import BiologyAsked
from pertcast_jobs.evaluate.compared import compared_responses, compared_rows, replicate_halves
from pertcast_jobs.evaluate.dose_curves import generated_dose_curves
from pertcast_jobs.evaluate.epistasis import epistasis_of_run
from pertcast_jobs.evaluate.latent import latent_space_of_run
from pertcast_jobs.evaluate.modules import gene_modules_of_run, save_modules
from pertcast_jobs.evaluate.saving import Evaluation, save_biology
from pertcast_jobs.evaluate.sensitivity import SensitivityOptions, drug_sensitivity_of_runs
from pertcast_jobs.evaluate.thinning import whole_perturbations
from pertcast_jobs.evaluate.wells import well_populations_of_run
from pertcast_jobs.run_folder import RunFolder

FEWEST_TIMES: Final = 2
MOST_DOSE_CONDITIONS: Final = 2_000
"""Held-out conditions whose dose curves are fitted: a curve takes six milliseconds for each contender."""
MOST_SENSITIVITY_DRAWS: Final = 1_000
MOST_PAIR_DRAWS: Final = 500
MADE_BY_RUN: Final = ("well_populations", "latent_space", "gene_modules", "epistasis")
"""Parts that need one model."""

_TIME_KEY: Final = ("cell_iname", "pert_type", "pert_id", "pert_dose")
_FAULTS_OF_DATA: Final = (SchemaError, ConfigError, ControlsMissing, UnitError, UnknownName)
"""What a part may meet in data that are not made for it; anything else is raised."""


class _Found:
    """Collects parts by name, and notes where one cannot be made."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}
        self.notes: list[str] = []

    def attempt(self, name: str, make: Callable[[], Any]) -> None:
        """Make a part; what the data do not allow is noted."""
        try:
            self.parts[name] = make()
        except _FAULTS_OF_DATA as error:
            self.notes.append(f"{PARTS[name]}: left out. {error}")


def add_biology(
    evaluations: Sequence[Evaluation],
    asked: BiologyAsked,
    *,
    without_function: Mapping[str, Exception] | None = None,
    progress: ProgressCallback = no_progress,
) -> list[Evaluation]:
    """Return the evaluations with their biology; biology.json and trust.html are written anew.

    Of pooled runs, pathways and dose response are of all held-out conditions together, drug sensitivity of
    all folds together; populations of wells and latent space are the first run's.

    Parameters
    ----------
    evaluations
        Runs first, then what was pooled of them.
    asked
        Which parts.
    without_function
        Name of an evaluation -> why it has no gene function, for its notes.
    progress
        Told of the steps of each part.

    Raises
    ------
    LeakageError
        A store or split changed since the training.
    """
    pooled = {run for each in evaluations if len(each.runs) > 1 for run in each.runs}
    own: dict[Path, Biology] = {}
    result = []
    for evaluation in evaluations:
        found = _Found()
        reason = (without_function or {}).get(evaluation.name)
        if reason is not None:
            found.notes.append(f"Gene function: left out. {reason}")
        is_member = len(evaluation.runs) == 1 and evaluation.runs[0] in pooled
        _fill(found, evaluation, asked, is_member, own, _named(progress, evaluation.name))
        unit = response_unit(evaluation.trust.facts.normalisation)
        biology = Biology(**found.parts, notes=tuple(found.notes), unit=unit)
        if len(evaluation.runs) == 1:
            own[evaluation.runs[0]] = biology
        result.append(replace(evaluation, biology=None if biology.is_empty else biology))
        save_biology(result[-1], f"{evaluation.command}{asked.words()}")
        save_modules(result[-1])
    return result


def _fill(
    found: _Found,
    evaluation: Evaluation,
    asked: BiologyAsked,
    is_member: bool,
    own: Mapping[Path, Biology],
    progress: ProgressCallback,
) -> None:
    """Make the parts of one evaluation that are asked for."""
    runs, sets, table = evaluation.runs, asked.sets, asked.sensitivity
    if is_member and (sets or table):
        found.notes.append("Pathways and drug sensitivity are of all runs together: see the pooled report.")
    elif sets:
        found.attempt("pathways", lambda: _pathways(evaluation, sets, asked, progress))
    if asked.by_default and runs:
        found.attempt("dose_response", lambda: _dose_response(found, evaluation, asked, progress))
    if table and runs and not is_member:
        found.attempt("drug_sensitivity", lambda: _sensitivity(runs, table, asked, progress))
    if not asked.by_default or not runs:
        return
    if len(runs) == 1:
        found.attempt("well_populations", lambda: _wells(runs[0], asked.seed, progress))
        found.attempt(
            "latent_space", lambda: latent_space_of_run(runs[0], seed=asked.seed, progress=progress)
        )
        found.attempt(
            "gene_modules",
            lambda: gene_modules_of_run(evaluation, sets, n_draws=asked.n_draws, seed=asked.seed),
        )
        found.attempt("epistasis", lambda: _epistasis(evaluation, asked, progress))
    else:
        _of_first(found, evaluation, own)


def _of_first(found: _Found, evaluation: Evaluation, own: Mapping[Path, Biology]) -> None:
    """Take what is made run by run from the first of several."""
    first = own.get(evaluation.runs[0])
    if first is None:
        return
    found.parts |= {name: getattr(first, name) for name in MADE_BY_RUN}
    further = [PARTS[name].lower() for name in MADE_BY_RUN[2:] if found.parts[name]]
    which = ["Populations of wells", "latent space", *further]
    found.notes.append(
        f"{', '.join(which[:-1])} and {which[-1]} are those of {evaluation.runs[0].name}, the first of "
        f"{len(evaluation.runs)} pooled runs; each run's own report has its own."
    )
    if evaluation.trust.board.n_seeds > 1:
        found.notes.append("Pathways, dose and time are those of the first seed of each fold.")


def _pathways(
    evaluation: Evaluation, sets: GeneSets, asked: BiologyAsked, progress: ProgressCallback
) -> PathwayAgreement:
    compared = compared_responses(evaluation)
    return pathway_agreement(
        compared,
        sets,
        halves=replicate_halves(evaluation),
        n_draws=asked.n_draws,
        seed=asked.seed,
        progress=progress,
    )


def _thinned(compared: ComparedResponses, notes: list[str]) -> ComparedResponses:
    """Return at most about `MOST_DOSE_CONDITIONS` conditions, and note how many they are of how many."""
    rows = whole_perturbations(compared.conditions, MOST_DOSE_CONDITIONS)
    if len(rows) == compared.conditions.height:
        return compared
    notes.append(
        f"{PARTS['dose_response']}: {len(rows):,} of {compared.conditions.height:,} held-out conditions, "
        "those of evenly spaced perturbations."
    )
    return compared_rows(compared, rows)


def _most_steps(conditions: pl.DataFrame, key: Sequence[str], varied: str) -> int:
    """Return the most distinct values of a column among conditions with a dose that share `key`."""
    dosed = conditions.filter(pl.col("pert_dose") > 0).drop_nulls(varied)
    if dosed.is_empty():
        return 0
    counts = dosed.group_by(key).agg(pl.col(varied).n_unique().alias("steps"))["steps"]
    return int(counts.to_numpy().max())


def _dose_response(
    found: _Found, evaluation: Evaluation, asked: BiologyAsked, progress: ProgressCallback
) -> DoseResponse:
    compared = _thinned(compared_responses(evaluation), found.notes)
    n_doses = _most_steps(compared.conditions, CURVE_KEY, "pert_dose")
    n_times = _most_steps(compared.conditions, _TIME_KEY, "pert_time")
    if n_doses < MIN_DOSES and n_times < FEWEST_TIMES:
        raise SchemaError(
            f"A held-out perturbation has at most {n_doses} doses and {n_times} times in one cell line; "
            f"{MIN_DOSES} doses (or {FEWEST_TIMES} times) are needed."
        )
    dense = None
    if len(evaluation.runs) == 1 and find_curves(compared):
        dense = generated_dose_curves(evaluation.runs[0], compared, seed=asked.seed, progress=progress)
    return dose_response(compared, dense=dense, n_draws=asked.n_draws, seed=asked.seed, progress=progress)


def _epistasis(
    evaluation: Evaluation, asked: BiologyAsked, progress: ProgressCallback
) -> PairEpistasis | None:
    n_draws = min(asked.n_draws, MOST_PAIR_DRAWS)
    return epistasis_of_run(evaluation, n_draws=n_draws, seed=asked.seed, progress=progress)


def _wells(run: Path, seed: int, progress: ProgressCallback) -> WellPopulations:
    found = well_populations_of_run(run, seed=seed, progress=progress)
    if found is None:
        raise SchemaError(
            "The store holds single cells (the trust table compares their populations), or the model gives "
            "no samples."
        )
    return found


def _sensitivity(
    runs: Sequence[Path], table: Path, asked: BiologyAsked, progress: ProgressCallback
) -> DrugSensitivity:
    """Ask the first run of each fold, all folds together."""
    of_fold: dict[int, Path] = {}
    for run in runs:
        of_fold.setdefault(RunFolder.open(run).manifest().fold, run)
    options = SensitivityOptions(
        library=asked.library,
        dose=asked.dose,
        time=asked.time,
        n_draws=min(asked.n_draws, MOST_SENSITIVITY_DRAWS),
        seed=asked.seed,
    )
    return drug_sensitivity_of_runs(list(of_fold.values()), table, options, progress=progress)


def _named(progress: ProgressCallback, name: str) -> ProgressCallback:
    def tell(done: int, total: int, note: str = "") -> None:
        progress(done, total, f"{name}: {note}")

    return tell
