"""From tables of conditions to tensors; fitted on training rows, carried in the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError
from pertcast_data.splits import FittedOn
from pertcast_data.store import ExpressionStore
from pertcast_data.store.readers import RowReader
from pertcast_data.vocabulary import PERTURBATION_KINDS

from pertcast.encoding.applicability import Applicability
from pertcast.encoding.compound_embedding import EmbeddingCoverage
from pertcast.encoding.condition_frame import (
    PERTURBATION_COLUMNS,
    condition_frame,
    convert_units,
    row_faults,
)
from pertcast.encoding.condition_tensors import (
    ConditionTensors,
    EncodedTable,
    condition_names,
    no_conditions,
)
from pertcast.encoding.descriptions import Single, descriptions_of
from pertcast.encoding.encoder_state import EncoderParts, parts_from_state, state_of
from pertcast.encoding.feature_space import continued_feature_space, fit_feature_space, fitted_parts
from pertcast.encoding.fit_space import fit_space
from pertcast.encoding.gene_features import GeneCoverage
from pertcast.encoding.perturbations import Perturbations
from pertcast.encoding.problems import Fault, RowProblem, report
from pertcast.encoding.spec import EncoderSpec
from pertcast.models.batch import ConditionBatch, ModelSpace


class ConditionEncoder:
    """Encodes conditions as the training conditions were encoded; made by `fit` or `from_state`.

    Attributes
    ----------
    spec
        Widths of the features.
    space
        Facts that models are built from.
    training_conditions
        The C training conditions, without groups.
    training_index
        condition_id -> 0..C-1.
    perturbations
        The training perturbations and their feature space.
    fitted_on
        What was fitted on which rows; empty for an encoder that was restored.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        space: ModelSpace,
        perturbations: Perturbations,
        training_conditions: ConditionBatch,
        condition_ids: Sequence[str],
        applicability: Applicability,
        fitted_on: tuple[FittedOn, ...] = (),
    ) -> None:
        self.spec = spec
        self.space = space
        self.perturbations = perturbations
        self.training_conditions = training_conditions
        self.training_index = {name: index for index, name in enumerate(condition_ids)}
        self.fitted_on = fitted_on
        self._domain = applicability
        self._tensors = ConditionTensors(space)

    @classmethod
    def fit(
        cls,
        store: ExpressionStore,
        train_rows: NDArray[np.int64],
        spec: EncoderSpec | None = None,
        reader: RowReader | None = None,
        base: ConditionEncoder | None = None,
    ) -> ConditionEncoder:
        """Fit vocabularies and features on the treated rows `train_rows` of a store.

        Parameters
        ----------
        store
            The training store.
        train_rows
            Rows that are trained on; nothing else is looked at (but how many perturbations a condition of
            the store combines at most).
        spec
            Widths of the features.
        reader
            Reader of the store; its own where None.
        base
            A trained encoder whose perturbations and feature space are kept (and its spec); the vocabularies
            of contexts, groups, types and genes are those of the store all the same.

        Raises
        ------
        ConfigError
            There is no treated row among `train_rows`, the embedding table lacks training compounds, or a
            source of gene features knows no training gene.
        FormatError, SchemaError
            A table or network cannot be used.
        """
        spec = (spec or EncoderSpec()) if base is None else base.spec
        rows = np.unique(np.asarray(train_rows, dtype=np.int64))
        rows = rows[~store.is_control[rows]]
        if not len(rows):
            raise ConfigError("There are no treated training rows. Check the split and its fold.")
        frame = condition_frame(store.conditions)
        descriptions = descriptions_of(frame)
        training = np.unique(store.condition_of_row[rows])
        named = [descriptions[i] for i in training]
        if base is None:
            perturbations = fit_feature_space(store, reader, rows, named, descriptions, spec)
        else:
            perturbations = continued_feature_space(base.perturbations, named)
        space = fit_space(store, rows, frame, descriptions, training, perturbations)
        features = perturbations.features(perturbations.singles())
        domain = Applicability.fit(perturbations, features)
        ids = store.conditions["condition_id"].gather(training).to_list()
        fitted_on = fitted_parts(perturbations, rows, is_continued=base is not None)
        spec, none = spec.without_folders(), no_conditions(space, features)
        encoder = cls(spec, space, perturbations, none, ids, domain, fitted_on)
        encoder.training_conditions = encoder._encode_training(store.conditions[training])
        return encoder

    def _encode_training(self, table: pl.DataFrame) -> ConditionBatch:
        """Encode the training conditions by name: slots index the training perturbations themselves."""
        by_name = table.with_columns(canonical_smiles=None, inchi_key=None)
        conditions = self.encode(by_name)
        return replace(
            conditions,
            slot=conditions.perturbation,
            group=torch.full_like(conditions.group, -1),
            features=self.training_conditions.features,
        )

    def encode(self, table: pl.DataFrame) -> ConditionBatch:
        """Encode a table with CMap columns (and batch_id, where its groups are of interest).

        Units default to uM and hours. A context, group or perturbation type never seen in training is -1.

        Raises
        ------
        SchemaError, UnitError, UnknownGene, UnknownCompound
            For the first row that cannot be encoded.
        """
        encoded = self.encode_table(table)
        if encoded.faults:
            row = min(encoded.faults)
            raise encoded.faults[row].exception(row)
        return encoded.conditions

    def encode_lenient(
        self, table: pl.DataFrame
    ) -> tuple[ConditionBatch, NDArray[np.int64], list[RowProblem]]:
        """Encode the good rows of a table.

        Returns
        -------
        conditions
            The good rows.
        rows
            Their rows in the table, int64.
        problems
            What is wrong with each other row.

        Raises
        ------
        SchemaError
            A column is missing.
        """
        encoded = self.encode_table(table)
        return encoded.conditions, encoded.rows, report(encoded.faults.items())

    def applicability(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return seen_pert, seen_cell, nn_train_dist and is_in_domain of each row; see `encode` for errors.

        seen_pert: training holds every perturbation of the row, done in the same way (pert_type).
        nn_train_dist is the distance (Tanimoto for compounds, cosine for genes) to the nearest training
        perturbation, 0 for a seen one, the largest over a combination; is_in_domain says that it is at most
        the 95th percentile of the training perturbations' own (leave-one-out) distances.
        """
        encoded = self.encode_table(table)
        if encoded.faults:
            row = min(encoded.faults)
            raise encoded.faults[row].exception(row)
        return self.flags(encoded)

    def flags(self, encoded: EncodedTable) -> pl.DataFrame:
        """Return the applicability of the good rows of an encoded table."""
        conditions = encoded.conditions
        distance, usual = self._domain.distances(
            self.perturbations, encoded.singles, conditions.features.numpy()
        )
        slot = conditions.slot.numpy()
        empty = slot < 0
        distances = np.where(empty, 0.0, np.append(distance, 0.0)[slot])
        inside = np.where(empty, True, np.append(usual, True)[slot])
        return pl.DataFrame(
            {
                "seen_pert": (empty | np.isin(_as_done(conditions), self._done)).all(axis=1),
                "seen_cell": conditions.context.numpy() >= 0,
                "nn_train_dist": distances.max(axis=1).astype(np.float32),
                "is_in_domain": inside.all(axis=1),
            }
        )

    @cached_property
    def _done(self) -> NDArray[np.int64]:
        """What training holds, as `_as_done` numbers it."""
        done = np.unique(_as_done(self.training_conditions))
        return done[done >= 0]

    def encode_table(self, table: pl.DataFrame) -> EncodedTable:
        """Encode a table and keep what was found out on the way."""
        only_type = self.space.pert_types[0] if len(self.space.pert_types) == 1 else None
        frame, faults = convert_units(condition_frame(table, only_type))
        faults |= row_faults(frame, self.space.contexts)
        sets, set_of_row, set_faults = self._resolve(frame)
        for row in np.flatnonzero(np.isin(set_of_row, list(set_faults))).tolist():
            faults.setdefault(row, set_faults[int(set_of_row[row])])
        good = np.setdiff1d(np.arange(frame.height), np.fromiter(faults, np.int64, len(faults)))
        singles = tuple(dict.fromkeys(single for each in sets for single in each))
        good_sets = [sets[number] for number in set_of_row[good]]
        names = condition_names(frame[good], good_sets)
        features = self.perturbations.features(singles)
        conditions = self._tensors(frame[good], good_sets, names, singles, features)
        return EncodedTable(conditions, good.astype(np.int64), names, faults, singles)

    def _resolve(
        self, frame: pl.DataFrame
    ) -> tuple[list[tuple[Single, ...]], NDArray[np.int64], dict[int, Fault]]:
        """Resolve each distinct perturbation once; return the sets, each row's set, the faults by set."""
        keys = list(PERTURBATION_COLUMNS)
        distinct = frame.select(keys).unique(maintain_order=True).with_row_index("set")
        set_of_row = frame.select(keys).join(
            distinct, on=keys, how="left", nulls_equal=True, maintain_order="left"
        )["set"]
        sets: list[tuple[Single, ...]] = []
        faults: dict[int, Fault] = {}
        for number, row in enumerate(descriptions_of(distinct)):
            found = self.perturbations.resolve(row) if row.pert_type else ()
            if isinstance(found, Fault):
                faults[number] = found
                found = ()
            sets.append(found)
        return sets, set_of_row.to_numpy().astype(np.int64), faults

    @property
    def coverage(self) -> EmbeddingCoverage | None:
        """What the embedding table knows of the training store's compounds; None without a table."""
        embedding = self.perturbations.embedding
        return None if embedding is None else embedding.coverage

    @property
    def gene_coverage(self) -> tuple[GeneCoverage, ...]:
        """What each file of gene features knows of the training store's genes; empty without files."""
        return tuple(block.coverage for block in self.perturbations.gene_blocks)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return (plain facts, arrays) from which `from_state` makes the same encoder."""
        conditions, ids = self.training_conditions, tuple(self.training_index)
        return state_of(
            EncoderParts(self.spec, self.space, self.perturbations, conditions, ids, self._domain)
        )

    @classmethod
    def from_state(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ConditionEncoder:
        """Make the encoder whose `state` this is."""
        parts = parts_from_state(facts, arrays)
        return cls(
            parts.spec, parts.space, parts.perturbations, parts.conditions, parts.condition_ids, parts.domain
        )


def _as_done(conditions: ConditionBatch) -> NDArray[np.int64]:
    """Return one number for each slot's perturbation and how it is done (N, S); -1 where either is unseen."""
    perturbation, kind = conditions.perturbation.numpy(), conditions.pert_type.numpy()
    return np.where((perturbation < 0) | (kind < 0), -1, perturbation * len(PERTURBATION_KINDS) + kind)
