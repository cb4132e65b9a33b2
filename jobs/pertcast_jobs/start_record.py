"""What a run that starts from a trained bundle took over, and what the bundle had seen before."""

from __future__ import annotations

from typing import Any

from pertcast.training.bundle import BundleFacts
from pertcast_data.text import counted, listed
from pydantic import BaseModel, ConfigDict


class StartRecord(BaseModel):
    """Facts of a start from trained weights, in run.json and in the bundle.

    Attributes
    ----------
    path, content_hash
        The bundle, and its content.
    data_hash, split_kind
        What it was trained on.
    n_genes, n_genes_known, n_genes_lost
        Genes of the new store, those of them that the bundle knows, and genes of the bundle that the new
        store lacks.
    contexts_known, contexts_new, pert_types_known, pert_types_new
        Names in the new store that the bundle knows, and those that it does not.
    n_perturbations_known, n_perturbations_new
        Perturbations of the new training rows that the bundle was trained on, and others.
    n_taken, afresh
        Tensors that were taken over, and why each of the others was not.
    frozen
        Stages that keep the bundle's weights.
    trained_conditions
        Ids of all conditions that the bundle (and what it started from itself) was trained on.
    n_test_perturbations, n_test_perturbations_seen
        Perturbations of the conditions that the run holds out, and how many of them the bundle was trained on
        in other conditions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    content_hash: str
    data_hash: str
    split_kind: str | None
    n_genes: int
    n_genes_known: int
    n_genes_lost: int
    contexts_known: tuple[str, ...]
    contexts_new: tuple[str, ...]
    pert_types_known: tuple[str, ...]
    pert_types_new: tuple[str, ...]
    n_perturbations_known: int
    n_perturbations_new: int
    n_taken: int
    afresh: dict[str, str]
    frozen: tuple[str, ...]
    trained_conditions: tuple[str, ...]
    n_test_perturbations: int
    n_test_perturbations_seen: int

    def summary(self) -> dict[str, Any]:
        """Return the record as plain JSON without the long list of conditions."""
        plain = self.model_dump(mode="json", exclude={"trained_conditions"})
        return {**plain, "n_trained_conditions": len(self.trained_conditions)}

    def lines(self) -> list[str]:
        """Return what a user should know, for the terminal."""
        genes = f"{self.n_genes_known:,} of {self.n_genes:,} genes known to it"
        lost = f", {self.n_genes_lost:,} of its own lacking" if self.n_genes_lost else ""
        number = self.n_perturbations_known + self.n_perturbations_new
        lines = [
            f"started from     {self.path} ({self.content_hash[:12]}), {genes}{lost}",
            f"contexts         {_known_and_new(self.contexts_known, self.contexts_new)}",
            f"types            {_known_and_new(self.pert_types_known, self.pert_types_new)}",
            f"perturbations    {self.n_perturbations_known:,} of {number:,} in training known to it",
            f"kept stages      {', '.join(self.frozen) or 'none'}",
            f"taken over       {counted(self.n_taken, 'tensor')}"
            + (f"; afresh: {listed(self.afresh)}" if self.afresh else ""),
        ]
        if self.n_test_perturbations_seen:
            lines.append(self.seen_text())
        return lines

    def remarks(self) -> list[str]:
        """Return what a reader of the run's evaluation must know."""
        told = (
            f"The run started from the bundle {self.path} ({self.content_hash[:12]}), trained on "
            f"{len(self.trained_conditions):,} conditions of the store {self.data_hash[:12]}. The baselines "
            "saw the run's own training rows alone."
        )
        return [told, self.seen_text()] if self.n_test_perturbations_seen else [told]

    def seen_text(self) -> str:
        """Return what the bundle knows of the held-out perturbations."""
        return (
            f"The bundle was trained on {self.n_test_perturbations_seen:,} of the "
            f"{self.n_test_perturbations:,} held-out perturbations, in other conditions: this run is no test "
            "of unseen perturbations."
        )


def _known_and_new(known: tuple[str, ...], new: tuple[str, ...]) -> str:
    return f"known: {listed(known) or 'none'}; new: {listed(new) or 'none'}"


def earlier_conditions(facts: BundleFacts) -> tuple[str, ...]:
    """Return the conditions that a bundle had seen before its own training: those of what it started from."""
    start = start_of(facts)
    return () if start is None else start.trained_conditions


def start_of(facts: BundleFacts) -> StartRecord | None:
    """Return what a bundle was started from; None for one that began with fresh weights."""
    start = facts.training.get("start")
    return None if start is None else StartRecord.model_validate(start)
