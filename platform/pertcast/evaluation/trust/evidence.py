"""Truth and predictions as arrays: what the parts of a report beside the table are made from.

Kept beside a score board while folds and seeds are pooled; scores alone cannot show a profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from pertcast.evaluation.ceilings.ceiling import SplitHalves
from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.scores.score_board import CLUSTER
from pertcast.evaluation.uncertainty.calibration import Judged

KEPT_BASELINES: Final = 3
"""The strongest baselines whose predictions are kept; the strongest of pooled folds is one of them."""


@dataclass(frozen=True)
class Uncertainty:
    """Stated and calibrated intervals, judged in one or several folds and training seeds.

    Attributes
    ----------
    judged
        One a fold and seed.
    is_exchangeable
        Whether validation and test conditions were dealt by one rule.
    remarks
        Sentences for the reader.
    """

    judged: tuple[Judged, ...]
    is_exchangeable: bool = True
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """N held-out conditions with what was measured and what was said about them.

    Attributes
    ----------
    held
        The truth.
    halves
        Split halves of the truth, or None.
    predictions
        Contender -> (N, G) predicted responses; the model and some baselines.
    uncertainty
        What became of the model's intervals; None where it was not measured.
    """

    held: HeldOut
    halves: SplitHalves | None
    predictions: Mapping[str, FloatArray]
    uncertainty: Uncertainty | None = None

    def keep(self, names: Sequence[str]) -> Evidence:
        """Return the same with the predictions of `names` only."""
        return replace(self, predictions={name: self.predictions[name] for name in names})


def _numbered_apart(parts: Sequence[IndexArray]) -> IndexArray:
    """Return the labels of all parts, those of different parts apart."""
    starts = np.cumsum([0, *(int(part.max(initial=-1)) + 1 for part in parts)])
    return np.concatenate([part + start for part, start in zip(parts, starts[:-1], strict=True)])


def _same_width(parts: Sequence[IndexArray]) -> list[IndexArray]:
    width = max(part.shape[1] for part in parts)
    return [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in parts]


def _stack_held(parts: Sequence[HeldOut]) -> HeldOut:
    rows = np.cumsum([0, *(len(part.train_perturbed_mean) for part in parts)])
    conditions = pl.concat([part.conditions for part in parts], how="diagonal_relaxed")
    return HeldOut(
        conditions=conditions,
        genes=parts[0].genes,
        truth=np.concatenate([part.truth for part in parts]),
        control=np.concatenate([part.control for part in parts]),
        train_perturbed_mean=np.concatenate([part.train_perturbed_mean for part in parts]),
        train_mean_index=np.concatenate(
            [part.train_mean_index + row for part, row in zip(parts, rows[:-1], strict=True)]
        ),
        pool=_numbered_apart([part.pool for part in parts]),
        cluster=_clusters(conditions, parts),
        own_gene=np.concatenate(_same_width([part.own_gene for part in parts])),
    )


def _clusters(conditions: pl.DataFrame, parts: Sequence[HeldOut]) -> IndexArray:
    """Return (N,) one number a perturbation, the same in every fold that tests it where it has a name."""
    if CLUSTER in conditions.columns and not conditions[CLUSTER].has_nulls():
        return np.unique(conditions[CLUSTER].to_numpy(), return_inverse=True)[1].astype(np.int64)
    return _numbered_apart([part.cluster for part in parts])


def _stack_halves(parts: Sequence[Evidence]) -> SplitHalves | None:
    halves = [part.halves for part in parts if part.halves is not None]
    if len(halves) != len(parts):
        return None
    starts = np.cumsum([0, *(part.held.n_conditions for part in parts)])
    return SplitHalves(
        index=np.concatenate([half.index + start for half, start in zip(halves, starts[:-1], strict=True)]),
        first=np.concatenate([half.first for half in halves]),
        second=np.concatenate([half.second for half in halves]),
    )


def join_uncertainties(parts: Sequence[Evidence]) -> Uncertainty | None:
    """Return the uncertainties of several folds or seeds as one; None where one was not measured."""
    found = [part.uncertainty for part in parts if part.uncertainty is not None]
    if not found or len(found) != len(parts):
        return None
    return Uncertainty(
        judged=tuple(judged for each in found for judged in each.judged),
        is_exchangeable=all(each.is_exchangeable for each in found),
        remarks=tuple(dict.fromkeys(remark for each in found for remark in each.remarks)),
    )


def stack_evidence(parts: Sequence[Evidence]) -> Evidence:
    """Stack the evidence of several folds; contenders that a fold lacks are left out."""
    shared = [name for name in parts[0].predictions if all(name in part.predictions for part in parts)]
    return Evidence(
        held=_stack_held([part.held for part in parts]),
        halves=_stack_halves(parts),
        predictions={name: np.concatenate([part.predictions[name] for part in parts]) for name in shared},
        uncertainty=join_uncertainties(parts),
    )
