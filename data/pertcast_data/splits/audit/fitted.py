"""Checks of what was fitted on what: by the user before the ingest, and by a model in training.

A model's claims are not believed: the rows of the fold are looked up again and their hash is compared.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.splits.audit.report import Finding, few
from pertcast_data.splits.audit.subject import Subject
from pertcast_data.splits.identity import control_rows
from pertcast_data.splits.provenance import FittedOn, Role, row_hash


def fitted_check(name: str, roles: tuple[Role, ...]) -> Callable[[Subject], list[Finding]]:
    """Return the check of steps with some roles; its name is that of the findings."""

    def check(subject: Subject) -> list[Finding]:
        declared = [
            _declared(subject, name, step) for step in subject.store.preprocessing if step.role in roles
        ]
        fitted = subject.provenance.fitted if subject.provenance else ()
        claimed = [_claimed(subject, name, each) for each in fitted if each.role in roles]
        return [finding for finding in (*declared, *claimed) if finding is not None]

    return check


def _declared(subject: Subject, check: str, step: PreprocessingStep) -> Finding | None:
    """Judge a step that a user declared: of the held-out rows nothing may have been used."""
    split = subject.split
    if not subject.rule.holds_out_test or step.fitted_on in ("nothing", "controls"):
        return None
    if step.fitted_on == "all":
        message = (
            f"{step.step!r} was fitted on all profiles before the ingest (so its declaration says), among "
            f"them those that {subject.where} tests. Fit it on training profiles only and ingest again, or "
            "hold out nothing (--kind all)."
        )
        return Finding(check, "error", message)
    if step.split is None:
        message = (
            f"{step.step!r} was fitted on the training profiles of some split before the ingest; its "
            f"declaration does not say which, so it may know what {subject.where} tests. Add its `split` "
            "(hash) and `fold`."
        )
        return Finding(check, "warning", message)
    if step.split != split.hash or (step.fold is not None and step.fold != subject.fold):
        message = (
            f"{step.step!r} was fitted on the training profiles of fold {step.fold} of split "
            f"{step.split[:12]}, not of {subject.where} ({split.hash[:12]}): it may know what is tested. Use "
            "that split and fold."
        )
        return Finding(check, "error", message)
    return None


def _claimed(subject: Subject, check: str, fitted: FittedOn) -> Finding | None:
    """Compare what a model says it was fitted on with the rows of the fold."""
    where = subject.provenance.where if subject.provenance else ""
    allowed = _allowed_rows(subject, fitted)
    if fitted.part == "controls" and subject.split.controls == "separate":
        return None  # `separate_controls` judges it.
    if allowed is not None and row_hash(allowed) == fitted.rows_hash:
        return None
    asked = "no held-out row" if allowed is None else f"{len(allowed)} rows may be used"
    message = (
        f"{fitted.name} of {where}: fitted on {fitted.n_rows} rows{_recognised(subject, fitted)}, not on the "
        f"rows ({fitted.part}) of {subject.where} ({asked}). Train anew with this split and fold."
    )
    return Finding(check, "error", message)


def _allowed_rows(subject: Subject, fitted: FittedOn) -> NDArray[np.int64] | None:
    """Return the rows that a transform may have been fitted on by its own claim, None where by none."""
    split, store = subject.split, subject.store
    if fitted.part == "train" or (fitted.part == "validation" and fitted.role == "early_stopping"):
        return split.rows(store, subject.fold, "train" if fitted.part == "train" else "validation")
    if fitted.part == "controls":
        allowed = split.training_controls(store, subject.fold)
        return control_rows(store) if allowed is None else allowed
    return None


def _recognised(subject: Subject, fitted: FittedOn) -> str:
    """Say which rows a hash stands for, where it is one of the usual mistakes."""
    rows = {
        part: subject.split.rows(subject.store, subject.fold, part)
        for part in ("train", "validation", "test")
    }
    everything = np.arange(len(subject.store.condition_of_row))
    usual = {
        "all rows of the store": everything,
        "all treated rows, those of the test among them": np.concatenate(list(rows.values())),
        "training and test rows": np.concatenate([rows["train"], rows["test"]]),
        "training and validation rows": np.concatenate([rows["train"], rows["validation"]]),
        "test rows": rows["test"],
    }
    return next((f" ({what})" for what, each in usual.items() if row_hash(each) == fitted.rows_hash), "")


def trained_conditions(subject: Subject) -> list[Finding]:
    """Require a model to know as trained only conditions of the fold's training part."""
    if subject.provenance is None:
        return []
    allowed = set(subject.parts["train"])
    foreign = [name for name in subject.provenance.trained_conditions if name not in allowed]
    if not foreign:
        return []
    message = (
        f"{subject.provenance.where} was trained on {len(foreign)} conditions that are not in train of "
        f"{subject.where}: {few(foreign)}. Evaluate it on its own split and fold, or train anew."
    )
    return [Finding("trained_conditions", "error", message)]


def stated_rows(subject: Subject) -> list[Finding]:
    """Ask a model what it was fitted on at all."""
    if subject.provenance is None or subject.provenance.fitted:
        return []
    message = (
        f"{subject.provenance.where} does not say on which rows its features were fitted (it was written "
        "by an older Pertcast): that none was held out cannot be checked. Train anew to have it checked."
    )
    return [Finding("stated_rows", "warning", message)]


def undeclared_selection(subject: Subject) -> list[Finding]:
    """Genes that bear the mark of a selection by variance, of which nobody says on what it was fitted."""
    var = subject.store.var
    declared = any(step.role == "gene_selection" for step in subject.store.preprocessing)
    if declared or not subject.rule.holds_out_test or "highly_variable" not in var.columns:
        return []
    marks = var["highly_variable"].cast(pl.String).str.to_lowercase()
    if not bool(marks.is_in(["true", "1"]).all()):
        return []
    message = (
        f"All {var.height:,} genes are marked highly_variable: somebody selected them, probably on all "
        f"profiles, among them those that the {subject.split.kind} split tests. Declare it "
        "(`preprocessing:` in the mapping file, docs/splits.md), or ingest all genes."
    )
    return [Finding("undeclared_selection", "warning", message)]
