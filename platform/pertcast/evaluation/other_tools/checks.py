"""What is checked before a file of predictions is believed, and what is said of what was changed.

Every function either raises an error that names the remedy, or returns sentences for the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from pertcast_data.errors import ControlsMissing, SchemaError, UnitError

from pertcast.evaluation.from_store.store_truth import MeasuredResponses
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.other_tools.file import CellFile

_FEWEST_CONDITIONS: Final = 2
_NAMED: Final = 5
_SCALE_RATIO: Final = 1.5
_DIFFERENCE_RATIO: Final = 0.5


def named(names: Sequence[str]) -> str:
    """Return the first names, quoted, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name) for name in names[:_NAMED]) + more


def require_controls(true: CellFile) -> None:
    """Raise ControlsMissing where a context has no controls, SchemaError for fewer than two conditions."""
    labels = true.labels
    if labels.conditions.height < _FEWEST_CONDITIONS:
        raise SchemaError(
            f"{true.path}: obs[{true.columns.perturbation!r}] names {labels.conditions.height} perturbed "
            f"condition(s), and {_FEWEST_CONDITIONS} are needed to judge a prediction. Is the control label "
            f"{true.columns.control!r} right?"
        )
    controls = np.bincount(labels.context_of_row[labels.control_rows], minlength=len(labels.contexts))
    without = [name for name, count in zip(labels.contexts, controls, strict=True) if count == 0]
    if not without:
        return
    where = "" if len(labels.contexts) == 1 else f" in context {named(without)}"
    found = labels.conditions["pert_id"].unique().sort().to_list()
    raise ControlsMissing(
        f"{true.path}: no cell has the control label {true.columns.control!r} in obs"
        f"[{true.columns.perturbation!r}]{where}; labels there: {named(found)}. Name the right label "
        "(--control), or add the controls: they are taken from the truth only."
    )


def match_conditions(said: CellFile, true: CellFile) -> list[str]:
    """Raise SchemaError unless every condition of the truth is predicted; say which others were."""
    wanted = set(true.labels.conditions["condition_id"])
    given = set(said.labels.conditions["condition_id"])
    missing, extra = sorted(wanted - given), sorted(given - wanted)
    if missing:
        raise SchemaError(
            f"{said.path}: {len(missing):,} of the {len(wanted):,} conditions of {true.path} are not "
            f"predicted: {named(missing)}. The prediction has: {named(sorted(given))}. Predict every "
            "condition, or make a truth file of only those that were held out: a choice of what is scored "
            "is not the prediction's to make."
        )
    if not extra:
        return []
    return [f"Ignored: {len(extra):,} predicted conditions that the truth does not have ({named(extra)})."]


def scale_remarks(said: CellFile, true: CellFile) -> list[str]:
    """Raise UnitError for a negative truth; say which file holds counts and how they are scaled."""
    if true.values.minimum < 0:
        raise UnitError(
            f"{true.path}: X reaches down to {true.values.minimum:.4g}; counts and log1p values are never "
            "negative. Give measured cells, neither centred nor scaled."
        )
    converted = [(who, cells) for who, cells in (("truth", true), ("prediction", said))]
    return [
        f"The {who} holds counts: scaled to {true.values.typical_total:,.6g} a cell, the truth's median, "
        "then log(1 + x)."
        for who, cells in converted
        if cells.values.scale == "counts"
    ]


def shared_genes(said: CellFile, true: CellFile) -> tuple[tuple[str, ...], list[str]]:
    """Return the genes of both files in the truth's order; SchemaError where fewer than half are shared."""
    if said.genes == true.genes:
        return true.genes, []
    given = set(said.genes)
    shared = tuple(gene for gene in true.genes if gene in given)
    if 2 * len(shared) < len(true.genes):
        raise SchemaError(
            f"{said.path} has {len(shared):,} of the {len(true.genes):,} genes of {true.path}. Its genes are "
            f"called {named(said.genes)}, the truth's {named(true.genes)}: use the same identifiers, and "
            "predict all genes of the truth."
        )
    lost, extra = len(true.genes) - len(shared), len(said.genes) - len(shared)
    if not lost and not extra:
        return shared, ["The prediction has its genes in another order: aligned by name."]
    parts = [f"{lost:,} of the truth are not predicted and are left out" if lost else ""]
    parts.append(f"{extra:,} of the prediction are not in the truth and are ignored" if extra else "")
    told = "; ".join(part for part in parts if part)
    return shared, [f"Genes were aligned by name, {len(shared):,} are scored: {told}."]


def _natural(means: FloatArray) -> float:
    return float(np.expm1(means).sum(axis=1).mean())


def check_profiles(said: CellFile, means: FloatArray, responses: MeasuredResponses) -> list[str]:
    """Refuse differences in place of profiles; say where the prediction is on another scale."""
    ratio = _natural(means) / _natural(responses.truth.astype(np.float64) + responses.control)
    remarks = []
    if said.values.minimum < 0 and ratio < _DIFFERENCE_RATIO:
        raise UnitError(
            f"{said.path}: {said.values.share_negative:.0%} of X is negative and its profiles sum to "
            f"{ratio:.2g} of the truth's: these look like differences from control. Add the mean control "
            "profile of the truth to every row."
        )
    if said.values.minimum < 0:
        remarks.append(
            f"{said.values.share_negative:.2%} of the predicted values are negative (down to "
            f"{said.values.minimum:.3g}), which no log1p value can be; they are scored as they are."
        )
    if not 1 / _SCALE_RATIO < ratio < _SCALE_RATIO:
        remarks.append(
            f"Predicted profiles sum to {ratio:.3g} times the truth's in natural space. If the two files "
            "were normalised to different totals, every error is that: normalise both alike."
        )
    return remarks


def control_remarks(said: CellFile, is_bulk: bool) -> list[str]:
    """Say that controls of the prediction are ignored, and what bulk predictions cannot be scored by."""
    count = int(said.labels.control_rows.sum())
    remarks = []
    if count:
        remarks.append(f"{count:,} controls of the prediction are ignored: controls are the truth's.")
    if is_bulk:
        remarks.append("The prediction has one profile a condition: no metric of cells is scored.")
    return remarks
