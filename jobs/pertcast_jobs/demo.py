"""Everything once, in order: data, store, split, sweep, training, trust report, screen.

The demo is a list of ordinary command lines, printed as they run, so each can be copied; a step whose
result is there already is passed over, and an interrupted one goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pertcast_data.errors import ConfigError
from pertcast_data.splits import Split
from pertcast_data.splits.identity import COMPOUND_TYPE, perturbation_members
from pertcast_data.store import ExpressionStore

from pertcast_jobs.steps import Step

FEWEST_ANSWERABLE = 12
"""Fewest conditions that can be predicted when they are held out; a quarter of them is tested."""

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
        kind = Split.load(split).kind if split.exists() else choose_split(conditions, genes)
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

    A model can be asked about a perturbation that it never saw where that has features: a compound with a
    structure, a gene that is measured. If most conditions are of that kind, perturbations are held out whole.
    Otherwise conditions are held out at random, and those can be predicted whose perturbation also occurs in
    another cell line, dose or combination.

    Parameters
    ----------
    conditions
        Treated conditions of a store.
    genes
        The store's genes.

    Raises
    ------
    ConfigError
        Too few conditions could be predicted however they are held out.
    """
    members = perturbation_members(conditions)
    uses = Counter(name for names in members for name in names)
    is_compound = (conditions["pert_type"] == COMPOUND_TYPE).to_list()
    has_structure = conditions["inchi_key"].is_not_null().to_list()
    measured = set(genes)
    compounds, targets, recurring = [], [], 0
    for names, compound, structure in zip(members, is_compound, has_structure, strict=True):
        if compound and structure:
            compounds.append(names)
        elif not compound and set(names) <= measured:
            targets.append(names)
        elif all(uses[name] > 1 or (name in measured and not compound) for name in names):
            recurring += 1
    for kind, found in (("unseen_compound", compounds), ("unseen_perturbation", targets)):
        if len(found) > conditions.height / 2 and len(set(found)) >= FEWEST_GROUPS:
            return kind
    answerable = len(compounds) + len(targets) + recurring
    if answerable < FEWEST_ANSWERABLE:
        raise ConfigError(
            f"Of {conditions.height:,} treated conditions only {answerable:,} could be predicted without "
            f"being trained on, and the demo needs {FEWEST_ANSWERABLE}: the others are genes that are not "
            "measured, or compounds without structure, that occur once. Add structures (canonical_smiles), "
            "or bring data with more genes, cell lines or doses."
        )
    return "random"
