"""What an evaluation finds: where the numbers come from, and everything that tables and reports show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.parts import TrustParts
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard
from pertcast.evaluation.trust.members import MemberStratum
from pertcast.evaluation.trust.scored_strata import ScoredStratum
from pertcast.evaluation.trust.strata import Stratum
from pertcast.evaluation.trust.verdict import Verdict


class TrustFacts(BaseModel):
    """Where the numbers come from.

    Attributes
    ----------
    model, title
        Name in the registry, and for people.
    bundle
        Path or short hash of the evaluated bundle.
    store, data_hash
        Path and content hash of the store that holds the truth.
    split_kind, split_hash, folds
        What was held out; one fold, or all pooled ones.
    measure, normalisation
        Of the store.
    n_genes, n_training_conditions, n_held_out_rows
        Counts.
    left_out
        Names of the held-out conditions that no features can be made for; scored for no contender.
    remarks
        Anything else a reader must know (subsampled wells).
    origin
        "run": a run on its own fold; "external": a model on another store than it was trained on; "files":
        predictions and truth given as files.
    trained_on
        Store that the model was trained on, where it is another than the truth's.
    seeds
        Seeds of the trainings; one for a single run.
    config_hash
        Of the training's configuration without seed and fold: runs that share it differ in these alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    title: str
    bundle: str = ""
    store: str = ""
    data_hash: str = ""
    split_kind: str = ""
    split_hash: str = ""
    folds: tuple[int, ...] = ()
    measure: str = "expression"
    normalisation: str = ""
    n_genes: int = 0
    n_training_conditions: int = 0
    n_held_out_rows: int = 0
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    origin: Literal["run", "external", "files"] = "run"
    trained_on: str = ""
    seeds: tuple[int, ...] = ()
    config_hash: str = ""


@dataclass(frozen=True)
class TrustResult:
    """The result of an evaluation.

    Attributes
    ----------
    facts
        Where the numbers come from.
    board
        Scores of every contender on every condition.
    primary
        The metric of the verdict.
    order
        Contenders as they are shown: model, baselines from strongest to weakest, controls, ceiling.
    summary
        Contender -> metric -> mean with 95 % interval.
    gains
        Metric -> other contender -> model minus other (positive: model better), paired.
    well_summary
        Contender -> well metric -> mean with interval; empty where wells were not scored.
    dynamic_range
        Metric -> fraction; empty without replicates.
    verdict, strata
        In words; and by kind of condition.
    notes, not_shown
        Sentences for the reader.
    n_draws, seed
        Of the bootstrap.
    parts
        Everything beside the table: skill, calibration, curves, gene structure.
    across
        Contender -> metric over conditions (`metrics.across`) -> estimate; empty without cells.
    by_members
        Scores by how many members of a condition training has shown; empty where all conditions are alike.
    by_type
        Scores by type of perturbation and by how many other types of it training measured; empty where all
        conditions are of one type.
    """

    facts: TrustFacts
    board: ScoreBoard
    primary: str
    order: tuple[Contender, ...]
    summary: Mapping[str, Mapping[str, Estimate]]
    gains: Mapping[str, Mapping[str, Estimate]]
    well_summary: Mapping[str, Mapping[str, Estimate]]
    dynamic_range: Mapping[str, float]
    verdict: Verdict
    strata: tuple[Stratum, ...]
    notes: tuple[str, ...]
    not_shown: tuple[str, ...]
    n_draws: int
    seed: int
    parts: TrustParts = field(default_factory=TrustParts)
    across: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    by_members: tuple[MemberStratum, ...] = ()
    by_type: tuple[ScoredStratum, ...] = ()

    def shown_title(self, contender: Contender) -> str:
        """Return a contender's title; a ceiling's says so where it is made of some conditions only."""
        n_scored = self.summary[contender.name][self.primary].n_defined
        if contender.role != "ceiling" or n_scored == self.board.conditions.height:
            return contender.title
        return f"{contender.title} ({n_scored:,} conditions)"

    @property
    def strongest(self) -> Contender | None:
        """The strongest baseline by the primary metric, or None."""
        return next((c for c in self.order if c.name == self.verdict.against), None)
