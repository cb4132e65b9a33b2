"""A trained model that answers tables: encodes, predicts in batches of one shape, flags its limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError
from torch import Tensor

from pertcast.bundle_summary import BundleSummary
from pertcast.encoding.basal import BasalProfiles
from pertcast.encoding.encoder import ConditionEncoder
from pertcast.encoding.problems import Fault, RowProblem, report
from pertcast.evaluation.hit_calibration.calibration import HitCalibration
from pertcast.models.batch import ConditionBatch, ModelSpace, Prediction
from pertcast.models.contract import ResponseModel
from pertcast.models.noise import KeyedNoise
from pertcast.training.bundle import build_model, load_bundle_files

Values = NDArray[np.float32]
CALIBRATION: Final = "hit_calibration"
"""Name of the supplement of a bundle that its hits are calibrated by."""


@dataclass(frozen=True)
class PredictedConditions:
    """Predictions for the N good rows of a table.

    Attributes
    ----------
    table
        The good rows with all their columns, and sig_id, seen_pert, seen_cell, nn_train_dist, is_in_domain.
    rows
        (N,) int64, their rows in the table that was asked for.
    mean
        (N, G) float32 predicted responses.
    sd
        (N, G) float32 spread of single profiles, or None.
    samples
        (N, K, G) float32, or None.
    basal
        (N, G) float32 basal profiles; zero for measure "response".
    problems
        What was wrong with the other rows; empty unless they were collected.
    sd_between
        (N, G) float32, of an ensemble what its members disagree on: the standard deviation of their means,
        which is part of `sd`. None for one model.
    """

    table: pl.DataFrame
    rows: NDArray[np.int64]
    mean: Values
    sd: Values | None
    samples: Values | None
    basal: Values
    problems: tuple[RowProblem, ...]
    sd_between: Values | None = None


class Predictor:
    """Predicts tables of conditions with one model.

    Parameters
    ----------
    model
        A trained model; set to evaluation here.
    encoder, basal
        What it was trained with.
    device
        Where it runs.
    bundle
        Where it came from, if from a bundle.
    hit_calibration
        What gives p-values to its predicted effects; None where nobody calibrated it.
    """

    def __init__(
        self,
        model: ResponseModel,
        encoder: ConditionEncoder,
        basal: BasalProfiles,
        device: torch.device | str = "cpu",
        bundle: BundleSummary | None = None,
        hit_calibration: HitCalibration | None = None,
    ) -> None:
        self.model = model.to(device).eval()
        self.encoder = encoder
        self.basal = basal
        self.device = torch.device(device)
        self._bundle = bundle
        self.hit_calibration = hit_calibration

    @classmethod
    def from_bundle(cls, path: Path | str, device: torch.device | str = "cpu") -> Predictor:
        """Load a bundle; raises CorruptBundle where a file is missing or damaged."""
        files = load_bundle_files(path)
        encoder = ConditionEncoder.from_state(*files.encoder_state)
        basal = BasalProfiles.from_state(*files.basal_state)
        saved = files.supplements.get(CALIBRATION)
        calibration = None if saved is None else HitCalibration.from_bytes(saved)
        return cls(build_model(files, device), encoder, basal, device, BundleSummary.of(files), calibration)

    @property
    def bundle(self) -> BundleSummary:
        """The bundle; raises ConfigError for a predictor that came from none."""
        if self._bundle is None:
            raise ConfigError("This predictor was made from a model in memory: there is no bundle to name.")
        return self._bundle

    @property
    def members(self) -> tuple[Predictor, ...]:
        """The predictors that answer: this one; of an ensemble, all of them."""
        return (self,)

    @property
    def space(self) -> ModelSpace:
        """Facts of the training store."""
        return self.encoder.space

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the G genes, in the order of every profile."""
        return self.space.genes

    def warm_up(self, batch_size: int = 256) -> None:
        """Predict one training condition, so that the first request is not the slow one."""
        conditions = self.encoder.training_conditions.take(torch.zeros(1, dtype=torch.int64))
        self.predict_encoded(conditions, np.zeros((1, self.space.n_genes), np.float32), batch_size=batch_size)

    def predict(
        self,
        table: pl.DataFrame,
        n_samples: int = 0,
        seed: int = 0,
        batch_size: int = 256,
        on_error: Literal["raise", "collect"] = "raise",
    ) -> PredictedConditions:
        """Predict the conditions of a table.

        Parameters
        ----------
        table
            CMap columns: cell_iname, pert_type, pert_id (or cmap_name, targets, canonical_smiles), pert_dose
            (uM or pert_dose_unit), pert_time (hours or pert_time_unit), batch_id where a plate of the
            training is meant. Other columns are carried along.
        n_samples
            Sampled profiles a condition.
        seed
            Of the samples; a sample depends on (seed, condition) alone.
        batch_size
            Conditions a batch; every batch is padded to it.
        on_error
            "collect" predicts the good rows and lists the others.

        Raises
        ------
        UnknownGene, UnknownCompound, UnknownContext, UnitError, SchemaError
            The first row that cannot be predicted ("raise"), or a missing column.
        """
        encoded = self.encoder.encode_table(table)
        basal, faults = self.basal.lookup_lenient(table)
        faults.update(encoded.faults)
        if faults and on_error == "raise":
            row = min(faults)
            raise faults[row].exception(row)
        chosen = np.flatnonzero(~np.isin(encoded.rows, list(faults)))
        rows = encoded.rows[chosen]
        basal = basal[rows] if faults else basal
        conditions = encoded.conditions.take(torch.from_numpy(chosen))
        prediction = self.predict_encoded(conditions, basal, n_samples, seed, batch_size)
        described = _with_sig_id(table[rows], [encoded.names[i] for i in chosen])
        flags = self.encoder.flags(encoded)[chosen]
        return PredictedConditions(
            table=described.with_columns(flags.get_columns()),
            rows=rows,
            mean=prediction.mean.numpy(),
            sd=_values(prediction.sd),
            samples=_values(prediction.samples),
            basal=basal,
            problems=_problems(faults),
            sd_between=_values(prediction.sd_between),
        )

    @torch.inference_mode()
    def predict_encoded(
        self,
        conditions: ConditionBatch,
        basal: Values,
        n_samples: int = 0,
        seed: int = 0,
        batch_size: int = 256,
    ) -> Prediction:
        """Predict N encoded conditions from their (N, G) basal profiles; tensors are on the CPU."""
        noise = KeyedNoise(seed)
        whole = Prediction(mean=torch.zeros(0, self.space.n_genes))
        for index, size in _padded_indices(len(conditions), batch_size):
            start = int(index[0])
            asked = _own_features(conditions.take(index)).to(self.device)
            # A full batch is a view of the profiles; only the last one is filled up.
            profiles = basal[start : start + size] if size == batch_size else basal[index.numpy()]
            found = self.model.predict(asked, torch.from_numpy(profiles).to(self.device), n_samples, noise)
            if start == 0:
                whole = _room(found, len(conditions))
            _write(found, whole, start, size)
        return whole


def _room(like: Prediction, count: int) -> Prediction:
    """Return room for the predictions of so many conditions, on the CPU; nothing is joined afterwards."""

    def room(part: Tensor | None) -> Tensor | None:
        return None if part is None else torch.empty((count, *part.shape[1:]), dtype=part.dtype)

    mean = torch.empty((count, *like.mean.shape[1:]), dtype=like.mean.dtype)
    return Prediction(mean, room(like.sd), room(like.samples), room(like.sd_between))


def _write(found: Prediction, whole: Prediction, start: int, size: int) -> None:
    """Write the first rows of a padded batch into their place."""
    for name in ("mean", "sd", "samples", "sd_between"):
        part, into = getattr(found, name), getattr(whole, name)
        if part is not None and into is not None:
            into[start : start + size] = part[:size]


def _padded_indices(count: int, batch_size: int) -> Iterator[tuple[Tensor, int]]:
    """Yield (batch_size,) indices, the last ones filled up by repeating, and how many of them count."""
    for start in range(0, count, batch_size):
        index = torch.arange(start, start + batch_size)
        yield index.clamp(max=count - 1), min(batch_size, count - start)


def _own_features(conditions: ConditionBatch) -> ConditionBatch:
    """Give every slot its own row of features: the shape then depends on the batch size alone."""
    slot = conditions.slot
    features = conditions.features
    if features.shape[0] == 0:
        features = features.new_zeros(1, features.shape[1])
    own = torch.arange(slot.numel()).view_as(slot)
    return replace(
        conditions,
        slot=torch.where(slot >= 0, own, -1),
        features=features.index_select(0, slot.clamp(min=0).flatten()),
    )


def _with_sig_id(table: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    named = pl.Series("sig_id", names, dtype=pl.String)
    if "sig_id" not in table.columns:
        return table.with_columns(named)
    return table.with_columns(pl.col("sig_id").cast(pl.String).fill_null(named))


def _values(part: Tensor | None) -> Values | None:
    return None if part is None else part.numpy()


def _problems(faults: dict[int, Fault]) -> tuple[RowProblem, ...]:
    return tuple(report(faults.items()))
