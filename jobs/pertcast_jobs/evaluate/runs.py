"""Evaluate one run: the model beside every baseline on what its fold held out.

Baselines are fitted here, on the run's own training rows; the truth and its controls come from the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pertcast.encoding import make_training_data
from pertcast.evaluation.bootstrap import N_DRAWS
from pertcast.evaluation.ceilings.ceiling import Ceilings, score_ceilings
from pertcast.evaluation.cells.cell_board import MOST_CELL_CONDITIONS
from pertcast.evaluation.from_store.contenders import Forecast, SharedSums
from pertcast.evaluation.from_store.control_hits import control_cell_hits, control_hits
from pertcast.evaluation.from_store.held_out_counts import count_held_out
from pertcast.evaluation.from_store.held_out_part import (
    HeldOutPart,
    held_out_part,
    measured_cells,
    with_seen_members,
    with_tests,
)
from pertcast.evaluation.from_store.store_cells import StoreCells
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.parts import ControlHits, TrustParts
from pertcast.evaluation.scores.negative_controls import PERMUTED, permuted_labels
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard
from pertcast.evaluation.trust.evidence import KEPT_BASELINES, Evidence
from pertcast.evaluation.trust.table import TrustFacts, TrustTable, make_board, trust_table
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast.training.bundle_metrics import add_metrics
from pertcast_data.errors import LeakageError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits import Provenance, Split
from pertcast_data.store import ExpressionStore, RowReader
from pertcast_data.vocabulary import Normalisation

from pertcast_jobs.evaluate.ensemble_gain import ensemble_gain
from pertcast_jobs.evaluate.entrants import Entrant, forecast_all, gather_entrants, score_populations
from pertcast_jobs.evaluate.oracle import CONTENDER, oracle_responses
from pertcast_jobs.evaluate.saving import Evaluation, save_predictions, save_trust
from pertcast_jobs.evaluate.uncertainty import measure_uncertainty
from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.start_record import StartRecord, start_of
from pertcast_jobs.train.hit_calibration import calibrate_bundle

BASELINE_BATCH: Final = 1024


@dataclass(frozen=True)
class OpenRun:
    """A finished run with the data it was trained on; `warnings` say what to know of its test."""

    folder: RunFolder
    config: RunConfig
    store: ExpressionStore
    reader: RowReader
    split: Split
    fold: int
    predictor: Predictor
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """How a run is to be evaluated; see `evaluate_run`."""

    n_draws: int
    seed: int
    oracle: Path | None
    most_cell_conditions: int


def open_run(path: Path) -> OpenRun:
    """Open a finished run; raises ConfigError where there is none, LeakageError where its data changed."""
    folder = RunFolder.open(path)
    bundle = find_bundle(folder.path)
    config = folder.config()
    store_path, split_path = config.data.require()
    store, split, fold = ExpressionStore.open(store_path), Split.load(split_path), config.data.fold
    predictor = Predictor.from_bundle(bundle)
    facts = predictor.bundle.facts
    if (facts.data_hash, facts.split_hash, facts.fold) != (store.data_hash, split.hash, fold):
        raise LeakageError(
            f"{path} was trained on other data than {store_path} and {split_path} hold now (store "
            f"{facts.data_hash[:12]} -> {store.data_hash[:12]}, split {str(facts.split_hash)[:12]} -> "
            f"{split.hash[:12]}): what is held out here may have been trained on. Restore the files, or "
            "train anew."
        )
    trained = predictor.encoder.training_index
    audit = split.check(store, fold, Provenance.from_facts(str(path), facts.fitted_on, trained))
    start = start_of(facts)
    warnings = (*([] if start is None else start.remarks()), *audit.warnings)
    return OpenRun(folder, config, store, store.reader(), split, fold, predictor, warnings)


def _config_hash(config: RunConfig, n_members: int, start: StartRecord | None) -> str:
    """Return a hash of what decides a training but its seed, its fold and where it ran."""
    plain = config.model_dump(mode="json", include={"model", "encoder", "train"})
    plain["train"].pop("seed")
    if n_members:
        plain["members"] = n_members
    if start is not None:
        plain["start"] = start.content_hash
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _facts(run: OpenRun, part: HeldOutPart, remarks: Sequence[str]) -> TrustFacts:
    bundle = run.predictor.bundle
    return TrustFacts(
        model=bundle.model_name,
        title=bundle.title,
        bundle=bundle.content_hash[:12],
        store=run.store.path.name,
        data_hash=run.store.data_hash,
        split_kind=run.split.kind,
        split_hash=run.split.hash,
        folds=(run.fold,),
        measure=run.store.measure,
        normalisation=run.store.normalisation,
        n_genes=run.store.n_genes,
        n_training_conditions=run.predictor.space.n_conditions,
        n_held_out_rows=len(part.inputs.units.rows),
        left_out=part.left_out,
        remarks=tuple(remarks),
        seeds=(run.config.train.seed,),
        config_hash=_config_hash(run.config, len(bundle.members), start_of(bundle.facts)),
    )


def _sums(run: OpenRun, seed: int, progress: ProgressCallback) -> SharedSums:
    data = make_training_data(
        run.store, run.split, run.fold, run.predictor.encoder, batch_size=BASELINE_BATCH, seed=seed, rank=0,
        world_size=1, reader=run.reader,
    )  # fmt: skip
    return SharedSums(data.statistics, progress)


def _beside(
    part: HeldOutPart, model_mean: FloatArray, asked: Asked, normalisation: Normalisation
) -> dict[Contender, FloatArray]:
    """Return the contenders that are made and not fitted: labels permuted, and the oracle where asked for."""
    found = {PERMUTED: permuted_labels(model_mean, part.held, asked.seed)}
    if asked.oracle is not None:
        found[CONTENDER] = oracle_responses(asked.oracle, part.held, normalisation)
    return found


def _board(
    entrants: Sequence[Entrant],
    beside: Mapping[Contender, FloatArray],
    part: HeldOutPart,
    forecasts: Mapping[str, Forecast],
    ceilings: Ceilings,
) -> ScoreBoard:
    means = {name: found.mean for name, found in forecasts.items()}
    means |= {contender.name: mean for contender, mean in beside.items()}
    contenders = [*(entrant.contender for entrant in entrants), *beside]
    board = make_board(part.held, means, contenders, ceilings=ceilings)
    if not len(part.inputs.wells):
        return board
    wells = {contender: found.well_scores for contender, found in forecasts.items()}
    return board.with_wells(part.well_cluster, wells)


def _false_hits(run: OpenRun, part: HeldOutPart, cells: StoreCells | None) -> ControlHits | None:
    if cells is not None:
        return control_cell_hits(cells)
    return control_hits(part.inputs.units, run.reader, part.pairing, part.held.n_genes)


def _judge(run: OpenRun, asked: Asked, progress: ProgressCallback) -> tuple[TrustTable, Evidence]:
    seed, encoder = asked.seed, run.predictor.encoder
    sums = _sums(run, seed, progress)
    statistics = sums.statistics(encoder.space)
    rows = run.split.rows(run.store, run.fold, "test")
    part = held_out_part(run.store, run.reader, rows, encoder, statistics, seed)
    part = with_seen_members(part, run.split.seen(run.fold))
    cells = measured_cells(part, run.store, run.reader, seed)
    part, tests = with_tests(part, run.reader, cells, progress)
    entrants = gather_entrants(run.predictor, part, sums, seed)
    forecasts = forecast_all(entrants, part, progress)
    said = forecasts[entrants[0].contender.name]
    beside = _beside(part, said.mean, asked, run.store.normalisation)
    ceilings = score_ceilings(part.measured, part.held, seed)
    board = _board(entrants, beside, part, forecasts, ceilings)
    remarks = [*part.remarks, *run.warnings, *([ceilings.remark] if ceilings.remark else [])]
    if cells is not None and tests is not None and asked.most_cell_conditions:
        board, thinned = score_populations(
            board, entrants, forecasts, part, cells, tests, {c.name: mean for c, mean in beside.items()},
            most_conditions=asked.most_cell_conditions, seed=seed, progress=progress,
        )  # fmt: skip
        remarks += thinned
    evidence = Evidence(
        part.held,
        part.measured.halves,
        {name: found.mean for name, found in forecasts.items()},
        measure_uncertainty(
            run.predictor, run.store, run.reader, run.split.rows(run.store, run.fold, "validation"),
            statistics, (part, said), run.split.kind, seed,
        ),
    )  # fmt: skip
    trust = trust_table(
        board,
        _facts(run, part, remarks),
        n_draws=asked.n_draws,
        seed=seed,
        parts=TrustParts(
            held_out=count_held_out(run.split, run.store, run.fold),
            control_hits=_false_hits(run, part, cells),
            ensemble=ensemble_gain(run.predictor, part, board, n_draws=asked.n_draws, seed=seed),
        ),
        evidence=evidence,
    )
    return trust, evidence


def _calibrate_where_missing(run: OpenRun) -> None:
    """Calibrate the hits of a bundle that was trained before bundles were calibrated."""
    if run.predictor.hit_calibration is None:
        calibrate_bundle(run.folder.bundle_path, run.store, run.split, run.fold, run.reader, run.predictor)


def evaluate_run(
    path: Path | str,
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    oracle: Path | None = None,
    most_cell_conditions: int = MOST_CELL_CONDITIONS,
    progress: ProgressCallback = no_progress,
) -> Evaluation:
    """Evaluate a run on the conditions that its fold held out.

    Writes RUN/evaluation/{trust.json, trust.html, scores.parquet, predictions.npz} and notes the model's
    held-out metrics in its bundle, and what calibrates its hits where the bundle lacks that.

    Parameters
    ----------
    path
        Folder of a finished run.
    n_draws, seed
        Of the bootstrap; the seed also deals the split halves and shuffles features.
    oracle
        truth.npz of the simulated atlas that the store was ingested from: its noise-free responses join the
        table as a ceiling.
    most_cell_conditions
        For stores of single cells: conditions whose cells are scored as populations; 0 for none.
    progress
        Told of training rows summed, then of contenders done, then of populations scored.

    Raises
    ------
    ConfigError
        There is no finished run.
    LeakageError
        Store or split are not those of the training.
    """
    run = open_run(Path(path))
    _calibrate_where_missing(run)
    trust, evidence = _judge(run, Asked(n_draws, seed, oracle, most_cell_conditions), progress)
    folder = run.folder.evaluation_path
    command = f"pertcast evaluate {run.folder.path.name}"
    save_trust(trust, folder, command)
    save_predictions(folder, evidence.held, evidence.predictions, trust)
    model = trust.board.model.name
    scored = trust.summary[model]
    add_metrics(run.folder.bundle_path, {f"test_{name}": e.mean for name, e in scored.items()})
    strongest = [c.name for c in trust.order if c.role == "baseline"][:KEPT_BASELINES]
    kept = evidence.keep([model, *strongest])
    return Evaluation(run.folder.path.name, folder, trust, kept, (run.folder.path,), command)
