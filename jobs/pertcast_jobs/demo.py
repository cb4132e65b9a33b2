"""Everything once, in order: data, store, split, sweep, training, trust report, screen.

The demo is a list of ordinary command lines, printed as they run, so each can be copied; a step whose
result is there already is passed over, and an interrupted one goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pertcast_data.errors import ConfigError
from pertcast_data.store import ExpressionStore
from pertcast_data.vocabulary import GENETIC_TYPES, split_perturbation

FEWEST_GROUPS = 8
"""Fewest distinct perturbations that are held out whole; with fewer, conditions are split at random."""

TRAINING = (
    "cluster.launcher=ray",
    "cluster.num_workers=2",
    "cluster.cpus_per_worker=0.9",
    "train.engine.name=deepspeed",
    "train.engine.zero_stage=2",
)
"""Two Ray Train workers with DeepSpeed ZeRO 2: the same words train on many GPUs."""


@dataclass(frozen=True)
class Step:
    """One step: a command line of `pertcast` (without the program) and the file or folder it leaves."""

    words: tuple[str, ...]
    result: Path


@dataclass(frozen=True)
class DemoFolder:
    """Where a demo's results lie.

    Attributes
    ----------
    root
        Folder of everything.
    data
        A user's own file of profiles; the simulated atlas where None.
    """

    root: Path
    data: Path | None = None

    def __post_init__(self) -> None:
        if self.data is not None and not self.data.exists():
            raise ConfigError(f"--data {self.data} does not exist. Name an h5ad, gct or gctx file.")

    @property
    def store(self) -> Path:
        """The expression store."""
        return self.root / "store"

    @property
    def run(self) -> Path:
        """The training run."""
        return self.root / "run"

    @property
    def trust_report(self) -> Path:
        """The model beside every baseline."""
        return self.run / "evaluation" / "trust.html"

    @property
    def screen_report(self) -> Path:
        """The screen's hits and figures."""
        return self.root / "screen" / "report.html"

    def steps(self) -> Iterator[Step]:
        """Yield the steps in order; what follows the ingest is chosen by what the store holds."""
        atlas, split = self.root / "atlas", self.root / "split.json"
        if self.data is None:
            yield Step(
                ("data", "simulate", "--regime", "saturating", "--out", f"{atlas}"), atlas / "atlas.json"
            )
        source = self.data or atlas / "wells.h5ad"
        yield Step(("data", "ingest", f"{source}", "--out", f"{self.store}"), self.store)
        conditions, genes = _contents(self.store)
        kind = choose_split(conditions, genes)
        yield Step(("data", "split", f"{self.store}", "--kind", kind, "--out", f"{split}"), split)
        rows = (f"data.store={self.store}", f"data.split={split}")
        sweep = self.root / "sweep"
        yield Step(("tune", "response_mlp_sweep", *rows, "--out", f"{sweep}", "--resume"), sweep / "bundle")
        train = ("train", "response_mlp", *rows, *TRAINING, "--out", f"{self.run}", "--resume")
        yield Step(train, self.run / "bundle")
        yield Step(("evaluate", f"{self.run}"), self.trust_report)
        yield Step(self._screen(atlas, conditions), self.screen_report)

    def _screen(self, atlas: Path, conditions: pl.DataFrame) -> tuple[str, ...]:
        is_chemical = conditions.filter(pl.col("pert_type") == "trt_cp").height > conditions.height / 2
        words = ["screen", "compounds" if is_chemical else "genes"]
        if self.data is None:
            words += [f"{atlas / 'library.csv'}", "--gmt", f"{atlas / 'gene_sets.gmt'}"]
        return (*words, "--model", f"{self.run}", "--out", f"{self.root / 'screen'}")


def _contents(store: Path) -> tuple[pl.DataFrame, tuple[str, ...]]:
    opened = ExpressionStore.open(store)
    return opened.conditions.filter(~pl.col("is_control")), opened.genes


def choose_split(conditions: pl.DataFrame, genes: Sequence[str]) -> str:
    """Return the kind of split that asks the hardest question that the data can answer.

    Compounds with structures, and perturbed genes that are measured, can be held out whole, because a model
    can say something about ones that it never saw; otherwise conditions are held out at random.

    Parameters
    ----------
    conditions
        Treated conditions of a store.
    genes
        The store's genes.
    """
    half = conditions.height / 2
    compounds = conditions.filter((pl.col("pert_type") == "trt_cp") & pl.col("inchi_key").is_not_null())
    if compounds.height > half and compounds["inchi_key"].n_unique() >= FEWEST_GROUPS:
        return "unseen_compound"
    measured = set(genes)
    genetic = conditions.filter(pl.col("pert_type").is_in(GENETIC_TYPES))["pert_id"]
    known = [name for name in genetic if set(split_perturbation(name)) <= measured]
    if len(known) > half and len(set(known)) >= FEWEST_GROUPS:
        return "unseen_perturbation"
    return "random"
