"""What a run brings to the question of drug sensitivity: compounds, responses generated and measured.

Expression is generated for every pair at one dose and time; measured responses are those of the store at the
nearest dose and time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.encoding import make_training_data
from pertcast.evaluation.from_store.contenders import SharedSums, fit_baselines, forecast
from pertcast.evaluation.from_store.held_out_part import held_out_part
from pertcast.evaluation.from_store.store_truth import measure_responses
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.rowwise import by_rows, pearson
from pertcast.evaluation.units import lay_out_units
from pertcast.predictor import Predictor
from pertcast_data.compounds import inchi_key_14
from pertcast_data.errors import SchemaError
from pertcast_data.loading import pair_controls
from pertcast_data.progress import ProgressCallback
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore

from pertcast_jobs.evaluate.runs import BASELINE_BATCH, OpenRun

COMPOUND_TYPE: Final = "trt_cp"
MOST_DOSE_RATIO: Final = 10**0.5
"""A measured profile stands for a pair if its dose differs by no more than half a power of ten."""
MOST_TIME_RATIO: Final = 2.0


def compound_conditions(store: ExpressionStore) -> pl.DataFrame:
    """Return a store's conditions with a compound."""
    return store.conditions.filter((pl.col("pert_type") == COMPOUND_TYPE) & pl.col("pert_id").is_not_null())


def store_compounds(store: ExpressionStore) -> pl.DataFrame:
    """Return the compounds of a store: pert_id, cmap_name, canonical_smiles."""
    found = compound_conditions(store).group_by("pert_id", maintain_order=True)
    return found.agg(pl.col(name).drop_nulls().first() for name in ("cmap_name", "canonical_smiles"))


def _of_parts(conditions: pl.DataFrame, split: Split, fold: int, parts: Sequence[str]) -> pl.DataFrame:
    names = {name for part in parts for name in getattr(split.fold(fold), part)}
    return conditions.filter(pl.col("condition_id").is_in(list(names)))


def seen_compounds(run: OpenRun, compounds: pl.DataFrame) -> NDArray[np.bool_]:
    """Return (C,) whether a run saw a compound: trained on it, or was stopped early by it.

    Parameters
    ----------
    run
        The run.
    compounds
        compound (InChIKey-14) and pert_id; either one counts.
    """
    seen = _of_parts(compound_conditions(run.store), run.split, run.fold, ("train", "validation"))
    ids = set(seen["pert_id"].to_list())
    skeletons = {inchi_key_14(key) for key in seen["inchi_key"].drop_nulls().to_list()}
    known = compounds.select(pl.col("compound").is_in(list(skeletons)) | pl.col("pert_id").is_in(list(ids)))
    return known.to_series().to_numpy().astype(np.bool_)


def usual_dose_and_time(run: OpenRun) -> tuple[float | None, float | None]:
    """Return the dose (uM) and time (h) that half of a run's training compounds reach; None where unknown.

    Where every compound has the same doses and times these are the highest and the longest; a few compounds
    at extreme doses do not count.
    """
    trained = _of_parts(compound_conditions(run.store), run.split, run.fold, ("train",))
    highest = trained.group_by("pert_id").agg(pl.col("pert_dose").max(), pl.col("pert_time").max())
    found = []
    for name in ("pert_dose", "pert_time"):
        reached = np.sort(highest[name].drop_nulls().to_numpy().astype(np.float64))
        found.append(float(reached[len(reached) // 2]) if len(reached) else None)
    return found[0], found[1]


@dataclass(frozen=True)
class Generators:
    """One generator a run.

    Attributes
    ----------
    title
        For people.
    predictors
        One a run, in the order of the runs.
    """

    title: str
    predictors: tuple[Predictor, ...]


def strongest_baseline(runs: Sequence[OpenRun], seed: int, progress: ProgressCallback) -> Generators | None:
    """Fit every baseline on each run's training rows; return the one that does best on validation.

    By the mean correlation of responses (an undefined one counts as 0) over the runs' validation conditions;
    None where a run has none that can be judged.
    """
    scores: dict[str, float] = {}
    fitted: dict[str, list[Predictor]] = {}
    titles: dict[str, str] = {}
    for run in runs:
        try:
            found = _baselines(run, seed, progress)
        except SchemaError:
            return None
        for name, (title, score, predictor) in found.items():
            scores[name] = scores.get(name, 0.0) + score
            fitted.setdefault(name, []).append(predictor)
            titles[name] = title
    common = [name for name, predictors in fitted.items() if len(predictors) == len(runs)]
    if not common:
        return None
    best = max(common, key=lambda name: scores[name])
    return Generators(titles[best], tuple(fitted[best]))


def _baselines(
    run: OpenRun, seed: int, progress: ProgressCallback
) -> dict[str, tuple[str, float, Predictor]]:
    """Return name -> (title, mean validation correlation, predictor) of each baseline but the model."""
    encoder = run.predictor.encoder
    data = make_training_data(
        run.store, run.split, run.fold, encoder, batch_size=BASELINE_BATCH, seed=seed, reader=run.reader
    )
    sums = SharedSums(data.statistics, progress)
    rows = run.split.rows(run.store, run.fold, "validation")
    part = held_out_part(run.store, run.reader, rows, encoder, sums.statistics(encoder.space), seed)
    own = run.predictor.bundle.model_name
    result = {}
    for each in fit_baselines(encoder.space, encoder.training_conditions, sums, leave_out=own):
        said = forecast(each.model, part.inputs.conditions, part.inputs).mean
        score = float(np.nan_to_num(by_rows(pearson, said, part.held.truth)).mean())
        predictor = Predictor(each.model, encoder, run.predictor.basal)
        result[each.contender.name] = (each.contender.title, score, predictor)
    return result


@dataclass(frozen=True)
class Generated:
    """Responses of the pairs that every generator could make.

    Attributes
    ----------
    rows
        (N,) of the pairs that were asked for.
    responses
        Title -> (N, G).
    basal
        (N, G).
    is_near
        (N,) whether the compound is as near to the training of each run that generated it as training
        compounds are to each other (`is_in_domain`).
    refused
        Sentences about the pairs that were refused.
    """

    rows: IndexArray
    responses: Mapping[str, FloatArray]
    basal: FloatArray
    is_near: NDArray[np.bool_]
    refused: tuple[str, ...]


def generate(
    generators: Sequence[Generators],
    table: pl.DataFrame,
    generates: NDArray[np.bool_],
    seed: int,
    progress: ProgressCallback,
) -> Generated:
    """Generate the response of every pair: the mean of what the runs that are to generate it say.

    Parameters
    ----------
    generators
        The model's first; each with one predictor a run.
    table
        M rows, one a pair, with the columns that `Predictor.predict` reads.
    generates
        (runs, M) which runs are to generate a pair, one at least.
    seed
        Of models that sample.

    Raises
    ------
    SchemaError
        No pair can be generated.
    """
    n_genes = len(generators[0].predictors[0].genes)
    sums = np.zeros((len(generators) + 1, table.height, n_genes))
    is_near, counts = np.ones(table.height, dtype=bool), np.zeros((len(generators), table.height))
    refused: list[str] = []
    for number, asked in enumerate(generates):
        rows = np.flatnonzero(asked)
        for place, each in enumerate(generators):
            progress(number, len(generates), f"generating {len(rows):,} pairs, {each.title}")
            found = each.predictors[number].predict(table[rows], seed=seed, on_error="collect")
            made = rows[found.rows]
            sums[place, made] += found.mean
            counts[place, made] += 1
            if place == 0:
                sums[-1, made] += found.basal
                is_near[made] &= found.table["is_in_domain"].to_numpy()
                refused += [problem.message for problem in found.problems]
    good = np.flatnonzero((counts == generates.sum(axis=0)).all(axis=0)).astype(np.int64)
    first = f", e.g. {refused[0]}" if refused else ""
    if not len(good):
        raise SchemaError(f"The model can generate none of the {table.height:,} joined pairs{first}")
    left_out = table.height - len(good)
    means = sums[:, good] / generates.sum(axis=0)[good, None]
    return Generated(
        rows=good,
        responses={each.title: means[place] for place, each in enumerate(generators)},
        basal=means[-1],
        is_near=is_near[good],
        refused=(f"{left_out:,} joined pairs cannot be generated{first}",) if left_out else (),
    )


def measured_responses(
    run: OpenRun, pairs: pl.DataFrame, dose: float | None, time: float | None
) -> tuple[FloatArray | None, int]:
    """Return (N, G) measured responses of pairs, NaN where there are none, and how many are at another dose.

    Parameters
    ----------
    run
        Its store is looked up.
    pairs
        compound, pert_id, cell_iname.
    dose, time
        Wanted; of a compound's conditions the nearest one counts, within half a power of ten of the dose and
        a factor of two of the time.
    """
    condition, elsewhere = _nearest_conditions(run.store, pairs, dose, time)
    asked = np.unique(condition[condition >= 0])
    if not len(asked):
        return None, 0
    rows = np.flatnonzero(np.isin(run.store.condition_of_row, asked)).astype(np.int64)
    pairing = pair_controls(run.store) if run.store.measure == "expression" else None
    units = lay_out_units(run.store, rows, pairing)
    means = pairing.means(run.reader) if pairing else None
    truth = measure_responses(units, run.reader, run.store.n_genes, pairing, means).truth
    place = {index: row for row, index in enumerate(units.conditions["condition_index"].to_list())}
    found = np.full((pairs.height, run.store.n_genes), np.nan)
    for row in np.flatnonzero(condition >= 0).tolist():
        found[row] = truth[place[int(condition[row])]]
    return found, elsewhere


def _nearest_conditions(
    store: ExpressionStore, pairs: pl.DataFrame, dose: float | None, time: float | None
) -> tuple[IndexArray, int]:
    """Return (N,) condition_index of each pair, -1 for none, and how many differ in dose or time."""
    known = compound_conditions(store).with_columns(
        _log_ratio("pert_dose", dose).alias("dose_apart"),
        _log_ratio("pert_time", time).alias("time_apart"),
        pl.col("inchi_key").str.slice(0, 14).alias("skeleton"),
    )
    near = known.filter(
        (pl.col("dose_apart") <= math.log(MOST_DOSE_RATIO) + 1e-9)
        & (pl.col("time_apart") <= math.log(MOST_TIME_RATIO) + 1e-9)
    ).sort(pl.col("dose_apart") + pl.col("time_apart"), "condition_index", descending=[True, True])
    best: dict[tuple[str, str], tuple[int, bool]] = {}
    for row in near.iter_rows(named=True):
        found = (int(row["condition_index"]), row["dose_apart"] + row["time_apart"] > 1e-6)
        for name in (row["pert_id"], row["skeleton"]):
            if name is not None:
                best[name, row["cell_iname"]] = found
    chosen = [
        best.get((compound, line), best.get((pert_id, line), (-1, False)))
        for compound, pert_id, line in pairs.select("compound", "pert_id", "cell_iname").iter_rows()
    ]
    return np.array([index for index, _ in chosen], np.int64), sum(other for _, other in chosen)


def _log_ratio(column: str, wanted: float | None) -> pl.Expr:
    """Return how far a dose or time is from the wanted one, as a natural log; 0 where none is wanted."""
    if not wanted:
        return pl.lit(0.0)
    return (pl.col(column).log() - math.log(wanted)).abs().fill_null(math.inf)
