"""Checks of splits by a column: no plate on both sides, and no control of a held-out plate in training."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.splits.audit.report import Finding, few
from pertcast_data.splits.audit.subject import Subject
from pertcast_data.splits.provenance import FittedOn, row_hash


def shared_group(subject: Subject) -> list[Finding]:
    """In a split by a column, no value of it has profiles both in training and held out."""
    column = subject.split.group_column
    if subject.split.kind != "group":
        return []
    if column is None or column not in subject.store.obs.columns:
        message = (
            f"{subject.where} is by column {column!r}, which the store does not have. Make the split anew "
            "with `data split --group-column`."
        )
        return [Finding("shared_group", "error", message)]
    easier: set[str] = set()
    found = []
    for part, listed in subject.parts.items():
        values = _values(subject, column, listed)
        if shared := sorted(easier & values):
            message = (
                f"{subject.where} leaks a held-out group (values of column {column}): {few(shared)} with "
                f"profiles in {part} and in an easier part. Hold whole groups out: make the split anew with "
                "`data split`."
            )
            found.append(Finding("shared_group", "error", message))
        easier |= values
    return found


def separate_controls(subject: Subject) -> list[Finding]:
    """Where controls are declared separate, each has a group and none of a tested one is trained with."""
    if subject.split.controls == "shared":
        return []
    column = subject.split.control_column
    obs = subject.store.obs
    nameless = (
        obs.filter(pl.Series(_is_control(subject)) & obs[column].is_null()).height
        if column in obs.columns
        else 0
    )
    found = []
    if nameless:
        message = (
            f"{subject.where} declares controls separate, but {nameless} control profiles have no {column}: "
            "they belong to no side. Fill the column, or split with shared controls."
        )
        found.append(Finding("separate_controls", "error", message))
    allowed = subject.split.training_controls(subject.store, subject.fold)
    for fitted in _fitted_on_controls(subject):
        if allowed is not None and fitted.rows_hash != row_hash(allowed):
            message = (
                f"{fitted.name} of {_of(subject)}: fitted on {fitted.n_rows} controls, some of them of the "
                f"tested {column} of {subject.where}, which declares controls separate ({len(allowed)} may "
                "be used). Train anew with this split."
            )
            found.append(Finding("separate_controls", "error", message))
    return found


def _values(subject: Subject, column: str, listed: tuple[str, ...]) -> set[str]:
    rows = subject.store.obs.filter(pl.col("condition_id").is_in(list(listed)))
    return set(rows[column].cast(pl.String).drop_nulls().to_list())


def _is_control(subject: Subject) -> NDArray[np.bool_]:
    flags = subject.store.conditions["is_control"].to_numpy().astype(np.bool_)
    of_row: NDArray[np.bool_] = flags[subject.store.condition_of_row]
    return of_row


def _fitted_on_controls(subject: Subject) -> list[FittedOn]:
    if subject.provenance is None:
        return []
    return [fitted for fitted in subject.provenance.fitted if fitted.part == "controls"]


def _of(subject: Subject) -> str:
    return subject.provenance.where if subject.provenance else "the model"
