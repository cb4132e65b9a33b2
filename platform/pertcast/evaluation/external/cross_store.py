"""A model on another lab's or assay's store: which conditions it can be asked about, over which genes.

Truth and controls are the external store's. Another assay has another scale, so responses are compared by
ranks, and what the two sides do not share is counted and said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pertcast_data.errors import ControlsMissing, SchemaError
from pertcast_data.loading import ControlPairing, pair_controls
from pertcast_data.store import ExpressionStore, RowReader

from pertcast.encoding import ConditionEncoder
from pertcast.evaluation.external.gene_match import FEWEST_SHARED, GeneMatch, SharedGenes, match_genes
from pertcast.evaluation.external.scales import SCALE_BOUND, same_scale
from pertcast.evaluation.from_store.contenders import HeldOutInputs
from pertcast.evaluation.from_store.held_out_part import first_units, held_out_table
from pertcast.evaluation.from_store.store_truth import MeasuredResponses, measure_responses
from pertcast.evaluation.from_store.training_facts import mean_rows, pools, train_mean_index, with_other_types
from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.units import Units, lay_out_units
from pertcast.naming import condition_name
from pertcast.predictor import Predictor

_FEWEST_CONDITIONS: Final = 2
_NAMED: Final = 4


@dataclass(frozen=True)
class ExternalPart:
    """The conditions of an external store that a model can be asked about.

    Attributes
    ----------
    held
        The truth over the shared genes; `conditions` also tells what training held: `seen_pert`, `seen_cell`,
        `seen_condition`.
    measured
        The truth with its halves and its noise, for the ceilings.
    inputs
        What contenders are given, over the model's own genes.
    genes
        Which genes are shared.
    left_out
        Names of the conditions that no features can be made for.
    remarks
        What a reader must know.
    """

    held: HeldOut
    measured: MeasuredResponses
    inputs: HeldOutInputs
    genes: GeneMatch
    left_out: tuple[str, ...]
    remarks: tuple[str, ...]


def external_part(
    store: ExpressionStore,
    reader: RowReader,
    predictor: Predictor,
    train_means: FloatArray,
    *,
    fewest_genes: int = FEWEST_SHARED,
    seed: int = 0,
) -> ExternalPart:
    """Measure the truth of a store in the terms of a model that was trained on another.

    Parameters
    ----------
    store, reader
        The external store: every treated row with controls is judged.
    predictor
        The model, from its bundle.
    train_means
        (K + 1, R + 1, G) mean training response of each of the model's contexts and perturbation types, and
        over all (`mean_training_responses`); or (K + 1, G) by context alone.
    fewest_genes
        Shared genes that are needed.
    seed
        Of the split halves.

    Raises
    ------
    SchemaError
        Too few genes are shared, or fewer than two conditions can be predicted.
    ControlsMissing
        No treated row of the store has controls.
    """
    match = match_genes(store, predictor.genes, fewest_genes)
    pairing = pair_controls(store) if store.measure == "expression" else None
    rows, without_controls = _rows_with_controls(store, pairing)
    units = _as_strangers(lay_out_units(store, rows, pairing), store, predictor)
    basal = _Basal.choose(store, predictor, match)
    units, left_out, remarks = _predictable(units, predictor, basal)
    shared = SharedGenes(reader, match.of_store)
    means = None if pairing is None else pairing.means(shared)
    measured = measure_responses(units, shared, len(match.genes), pairing, means, seed)
    inputs = _inputs(units, predictor, basal, means, match, shared)
    held = _held(units, predictor.encoder, measured, match, inputs, train_means)
    said = (match.text, basal.text, *without_controls, *remarks, *_overlap(held, store, predictor))
    return ExternalPart(
        held, measured, inputs, match, left_out, tuple(sentence for sentence in said if sentence)
    )


def _rows_with_controls(
    store: ExpressionStore, pairing: ControlPairing | None
) -> tuple[IndexArray, tuple[str, ...]]:
    treated = np.flatnonzero(~store.is_control).astype(np.int64)
    if pairing is None:
        return treated, ()
    found = pairing.group_of_row[treated] >= 0
    if not found.any():
        raise ControlsMissing(
            f"No treated profile of {store.path} has a control of its cell line. Add control profiles "
            "(ctl_vehicle, ctl_vector or ctl_untrt) to the store."
        )
    if found.all():
        return treated, ()
    lines = store.obs["cell_iname"].gather(treated[~found]).fill_null("(no cell line)").unique().sort()
    return treated[found], (
        f"{int((~found).sum()):,} profiles have no control of their cell line ({_few(lines.to_list())}) and "
        "are not judged.",
    )


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _as_strangers(units: Units, store: ExpressionStore, predictor: Predictor) -> Units:
    """Forget plate names: "plate 1" of another lab is not the plate 1 of training."""
    if store.data_hash == predictor.bundle.facts.data_hash:
        return units
    return replace(units, table=units.table.with_columns(batch_id=pl.lit(None, dtype=pl.String)))


@dataclass(frozen=True)
class _Basal:
    """Where the profiles come from that predictions start at.

    Attributes
    ----------
    source
        "store": the external store's own controls; "bundle": the training store's, by cell line; "none": the
        model needs none.
    text
        A sentence for the reader, or "".
    """

    source: str
    text: str

    @classmethod
    def choose(cls, store: ExpressionStore, predictor: Predictor, match: GeneMatch) -> _Basal:
        """Take the store's own controls where they hold every gene on the scale of training."""
        if predictor.space.measure == "response":
            return cls("none", "")
        if same_scale(store, predictor) and match.is_complete:
            return cls("store", "Predictions start from the external store's own controls.")
        reason = (
            "do not hold every gene of the model" if same_scale(store, predictor) else "have another scale"
        )
        return cls(
            "bundle",
            f"Predictions start from the training store's controls of the cell line: those of the external "
            f"store {reason}.",
        )


def _predictable(
    units: Units, predictor: Predictor, basal: _Basal
) -> tuple[Units, tuple[str, ...], tuple[str, ...]]:
    """Return the units of what can be predicted, names of what has no features, and what else is missing."""
    _, good, problems = predictor.encoder.encode_lenient(units.table)
    has_features = np.zeros(units.n_units, dtype=bool)
    has_features[np.asarray(good, dtype=np.int64)] = True
    has_basal = np.ones(units.n_units, dtype=bool)
    if basal.source == "bundle":
        _, faults = predictor.basal.lookup_lenient(units.table)
        has_basal[list(faults)] = False
    nameless = _conditions_with(units, ~has_features)
    baseless = _conditions_with(units, ~has_basal) & ~nameless
    keep = ~(nameless | baseless)
    if keep.sum() < _FEWEST_CONDITIONS:
        first = f" The first that cannot: {problems[0].message}" if problems else ""
        raise SchemaError(
            f"{int(keep.sum())} of the {units.n_conditions} conditions of the external store can be "
            f"predicted, {_FEWEST_CONDITIONS} are needed: {int(nameless.sum())} have no features, "
            f"{int(baseless.sum())} are of cell lines without basal profile.{first} The model knows the cell "
            f"lines {_few(predictor.basal.contexts)}."
        )
    missing: tuple[str, ...] = ()
    if baseless.any():
        lines = units.conditions.filter(pl.Series(baseless))["cell_iname"].fill_null("(no cell line)")
        missing = (
            f"{int(baseless.sum()):,} conditions are of cell lines for which the model has no basal profile "
            f"({_few(lines.unique().sort().to_list())}) and are not judged.",
        )
    return units.select_conditions(keep), _names(units, nameless), missing


def _conditions_with(units: Units, is_bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found = np.zeros(units.n_conditions, dtype=bool)
    found[units.condition[is_bad]] = True
    return found


def _names(units: Units, chosen: NDArray[np.bool_]) -> tuple[str, ...]:
    rows = units.conditions.filter(pl.Series(chosen)).iter_rows(named=True)
    return tuple(condition_name(row) for row in rows)


def _inputs(
    units: Units,
    predictor: Predictor,
    basal: _Basal,
    shared_means: FloatArray | None,
    match: GeneMatch,
    reader: RowReader,
) -> HeldOutInputs:
    """Lay out encoded units and their basal profiles, in the model's order of genes."""
    encoded = predictor.encoder.encode(units.table)
    nothing = np.empty(0, dtype=np.int64)
    if basal.source == "none":
        return HeldOutInputs(units, encoded, None, nothing, reader)
    if basal.source == "store" and shared_means is not None:
        whole = np.empty((len(shared_means), match.n_model), dtype=np.float32)
        whole[:, match.of_model] = shared_means
        return HeldOutInputs(units, encoded, whole, nothing, reader)
    keys = units.table.select("cell_iname", "pert_time")
    distinct = keys.unique(maintain_order=True).with_row_index("place")
    place = keys.join(distinct, on=keys.columns, how="left", nulls_equal=True, maintain_order="left")["place"]
    profiles = predictor.basal.lookup(distinct)
    own = replace(units, control_group=place.to_numpy().astype(np.int64))
    return HeldOutInputs(own, encoded, profiles, nothing, reader)


def _held(
    units: Units,
    encoder: ConditionEncoder,
    measured: MeasuredResponses,
    match: GeneMatch,
    inputs: HeldOutInputs,
    train_means: FloatArray,
) -> HeldOut:
    first = first_units(units)
    asked = inputs.conditions.take(torch.from_numpy(first))
    names = encoder.encode_table(units.table[first]).names
    seen = [name in encoder.training_index for name in names]
    table = held_out_table(units, encoder).with_columns(pl.Series("seen_condition", seen))
    table = with_other_types(table, asked, encoder)
    return HeldOut(
        conditions=table,
        genes=match.genes,
        truth=measured.truth,
        control=measured.control,
        train_perturbed_mean=mean_rows(train_means, encoder.space)[:, match.of_model],
        train_mean_index=train_mean_index(asked, encoder.space),
        pool=pools(table),
        cluster=np.unique(table["cluster"].to_numpy(), return_inverse=True)[1].astype(np.int64),
        own_gene=match.places(asked.own_gene.numpy()),
    )


def _overlap(held: HeldOut, store: ExpressionStore, predictor: Predictor) -> tuple[str, ...]:
    """Say what of the external conditions training held, and how the responses are compared."""
    table, total = held.conditions, held.n_conditions
    seen = {name: int(table[f"seen_{name}"].sum()) for name in ("condition", "pert", "cell")}
    sentences = [
        f"Of the {total:,} conditions judged, {seen['condition']:,} were trained on as such (same cell line, "
        f"perturbation, dose and time), {seen['pert']:,} hold perturbations seen in training and "
        f"{seen['cell']:,} cell lines seen in training."
    ]
    if store.data_hash == predictor.bundle.facts.data_hash:
        sentences.append(
            "This is the store that the model was trained on, not an external one: conditions of its "
            "training part are a fit, not a forecast."
        )
    facts = predictor.bundle.facts
    if not same_scale(store, predictor):
        sentences.append(
            f"The model was trained on {facts.measure} ({facts.normalisation}), the store holds "
            f"{store.measure} ({store.normalisation}): responses are compared by ranks and shapes, the "
            f"{len(SCALE_BOUND)} metrics of magnitude are left out."
        )
    return tuple(sentences)
