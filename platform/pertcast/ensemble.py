"""Several bundles that answer as one, though each encodes conditions in its own way: folds or families.

The mean of their means; what they disagree on is part of the spread. A condition that one of them cannot
predict is refused, and counts as seen only where all have seen it. Members that differ in their seed alone
are better trained as one bundle (`pertcast train --ensemble`), which encodes conditions once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch
from pertcast_data.errors import ConfigError

from pertcast.bundle_summary import BundleSummary
from pertcast.models.batch import ConditionBatch, Prediction
from pertcast.models.ensemble import combined
from pertcast.predictor import PredictedConditions, Predictor, Values

_FLAGS = ("seen_pert", "seen_cell", "is_in_domain")


class Ensemble(Predictor):
    """Predicts tables of conditions with several models.

    What a library may hold, and the gene space, are those of the first member.

    Parameters
    ----------
    members
        Predictors of bundles with the same genes, measure and normalisation; at least two.

    Raises
    ------
    ConfigError
        Fewer than two members, one bundle twice, or members of different profiles.
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        _require_alike(members)
        first = members[0]
        super().__init__(
            first.model, first.encoder, first.basal, first.device, _summary(members), hit_calibration=None
        )
        self._members = tuple(members)

    @property
    def members(self) -> tuple[Predictor, ...]:
        """The predictors whose mean this is."""
        return self._members

    def warm_up(self, batch_size: int = 256) -> None:
        """Predict one training condition with every member."""
        for member in self._members:
            member.warm_up(batch_size)

    def predict(
        self,
        table: pl.DataFrame,
        n_samples: int = 0,
        seed: int = 0,
        batch_size: int = 256,
        on_error: Literal["raise", "collect"] = "raise",
    ) -> PredictedConditions:
        """Predict the conditions of a table with every member; see `Predictor.predict`.

        mean, sd, sd_between: as of `pertcast.models.ensemble.combined`. samples: of one member after the
        other, `n_samples` each.
        """
        found = [each.predict(table, n_samples, seed, batch_size, on_error) for each in self._members]
        rows = found[0].rows
        for other in found[1:]:
            rows = np.intersect1d(rows, other.rows)
        kept = [_only(each, rows) for each in found]
        problems = {problem.row: problem for each in reversed(found) for problem in each.problems}
        spreads = [None if each.sd is None else torch.from_numpy(each.sd) for each in kept]
        mean, sd, between = combined([torch.from_numpy(each.mean) for each in kept], spreads)
        samples = [each.samples for each in kept if each.samples is not None]
        return PredictedConditions(
            table=_with_flags([each.table for each in kept]),
            rows=rows,
            mean=mean.numpy(),
            sd=sd.numpy(),
            samples=np.concatenate(samples, axis=1) if len(samples) == len(kept) else None,
            basal=np.stack([each.basal for each in kept]).mean(axis=0),
            problems=tuple(problems[row] for row in sorted(problems)),
            sd_between=between.numpy(),
        )

    def predict_encoded(
        self,
        conditions: ConditionBatch,
        basal: Values,
        n_samples: int = 0,
        seed: int = 0,
        batch_size: int = 256,
    ) -> Prediction:
        """Refuse: every member encodes conditions in its own way."""
        raise ConfigError("The members of an ensemble encode conditions each in its own way: use predict.")


def load_predictor(paths: Sequence[Path], device: torch.device | str = "cpu") -> Predictor:
    """Load one bundle, or an ensemble of several.

    Raises
    ------
    ConfigError
        As of `Ensemble`.
    CorruptBundle
        A file is missing or damaged.
    """
    members = [Predictor.from_bundle(path, device) for path in paths]
    return members[0] if len(members) == 1 else Ensemble(members)


def _require_alike(members: Sequence[Predictor]) -> None:
    if len(members) < 2:
        raise ConfigError("An ensemble needs at least two bundles.")
    first = members[0].bundle
    hashes = [member.bundle.content_hash for member in members]
    if len(set(hashes)) < len(hashes):
        raise ConfigError(f"An ensemble holds {first.path} or another bundle twice. Name each once.")
    for member in members[1:]:
        other = member.bundle
        for what, one, two in (
            ("genes", members[0].genes, member.genes),
            ("measure", first.facts.measure, other.facts.measure),
            ("normalisation", first.facts.normalisation, other.facts.normalisation),
        ):
            if one != two:
                raise ConfigError(
                    f"{first.path} and {other.path} do not have the same {what}: they predict different "
                    "profiles and cannot be averaged. Train them on one store."
                )


def _summary(members: Sequence[Predictor]) -> BundleSummary:
    """Describe the ensemble: no metrics, which were measured of its members."""
    first = members[0].bundle
    joined = "".join(member.bundle.content_hash for member in members)
    names = dict.fromkeys(member.bundle.model_name for member in members)
    return replace(
        first,
        model_name=f"ensemble of {len(members)} ({', '.join(names)})",
        facts=first.facts.model_copy(update={"metrics": {}}),
        content_hash=hashlib.sha256(joined.encode()).hexdigest(),
    )


def _only(found: PredictedConditions, rows: np.ndarray) -> PredictedConditions:
    if len(found.rows) == len(rows):
        return found
    place = np.searchsorted(found.rows, rows)
    return replace(
        found,
        table=found.table[place],
        rows=rows,
        mean=found.mean[place],
        sd=None if found.sd is None else found.sd[place],
        samples=None if found.samples is None else found.samples[place],
        basal=found.basal[place],
    )


def _with_flags(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the first table with the flags that hold for all: seen by every member, farthest distance."""
    flags = [
        pl.Series(name, np.logical_and.reduce([table[name].to_numpy() for table in tables]))
        for name in _FLAGS
    ]
    distance = np.maximum.reduce([table["nn_train_dist"].to_numpy() for table in tables])
    return tables[0].with_columns(*flags, pl.Series("nn_train_dist", distance))
