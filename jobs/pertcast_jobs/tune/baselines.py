"""The baselines of a sweep: fitted once, on the training rows, before the first trial begins.

`baselines.json` keeps their scores by condition, so that trials on any node need no baseline themselves.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
from pertcast.encoding import ConditionEncoder
from pertcast.evaluation.scores.score_board import CLUSTER
from pertcast.training.files import write_json
from pertcast_data.errors import ConfigError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore

from pertcast_jobs.evaluate.part_scores import BaselineScores, open_part, score_baselines
from pertcast_jobs.run_config import SweepConfig

BASELINES_FILE = "baselines.json"


def baselines_of(sweep: SweepConfig, out: Path, progress: ProgressCallback = no_progress) -> BaselineScores:
    """Return the baselines' scores on the fold's validation conditions, from `out` where they are there.

    Conditions are named as the sweep's own configuration says (`encoder`), whatever a trial tries of it.

    Raises
    ------
    ConfigError
        The split holds out no validation conditions, or no baseline applies.
    """
    path = out / BASELINES_FILE
    if path.is_file():
        return read_baselines(path)
    store_path, split_path = sweep.data.require()
    store, split, fold = ExpressionStore.open(store_path), Split.load(split_path), sweep.data.fold
    if len(split.folds[fold].validation) < 2:
        raise ConfigError(
            f"Fold {fold} of {split_path} has {len(split.folds[fold].validation)} validation conditions, and "
            "a sweep chooses by them. Make a split with more: `pertcast data split --help`."
        )
    encoder = ConditionEncoder.fit(
        store, split.rows(store, fold, "train"), sweep.encoder, store.reader("disk")
    )
    metric = sweep.search.scored_by
    opened = open_part(store_path, split_path, fold, "validation", encoder, metric, progress=progress)
    found = score_baselines(opened, metric, leave_out=sweep.model.name)
    _write(path, found, sweep)
    return found


def _write(path: Path, found: BaselineScores, sweep: SweepConfig) -> None:
    write_json(
        path,
        {
            "metric": found.metric,
            "part": "validation",
            "fold": sweep.data.fold,
            "best": found.best,
            "means": found.means,
            "titles": dict(found.titles),
            "condition_id": found.conditions["condition_id"].to_list(),
            "cluster": found.conditions[CLUSTER].to_list(),
            "scores": {
                name: [None if math.isnan(value) else float(value) for value in scores]
                for name, scores in found.scores.items()
            },
        },
    )


def read_baselines(path: Path) -> BaselineScores:
    """Return what `baselines_of` wrote."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return BaselineScores(
        metric=found["metric"],
        conditions=pl.DataFrame({"condition_id": found["condition_id"], CLUSTER: found["cluster"]}),
        scores={name: np.array(values, dtype=np.float64) for name, values in found["scores"].items()},
        titles=found["titles"],
    )
