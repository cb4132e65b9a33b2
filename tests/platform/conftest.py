"""Toy conditions with a known truth for tests of models, and small stores for tests of encoding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from pertcast.models.batch import Batch, ConditionBatch, ModelSpace
from pertcast.models.contract import GradientStage, ResponseModel, StatisticsStage
from pertcast.models.noise import KeyedNoise
from pertcast.models.priors import TrainingPriors
from pertcast.models.registry import get_model
from pertcast_data.store import ExpressionStore, create_store
from pertcast_data.vocabulary import Measure
from rdkit import Chem
from torch import Tensor


@dataclass(frozen=True)
class ToyWorld:
    """Perturbations with features, contexts and groups; everything else is drawn from these."""

    space: ModelSpace
    features: Tensor
    own_gene: Tensor

    def conditions(
        self,
        sets: Sequence[Sequence[int]],
        contexts: Sequence[int] | None = None,
        groups: Sequence[int] | None = None,
        log_dose: Sequence[float] | None = None,
        pert_type: int = 0,
    ) -> ConditionBatch:
        """Build conditions from sets of perturbation numbers; a number beyond the seen ones is unseen."""
        width = max(1, max(len(each) for each in sets))
        slot = torch.tensor([[*each, *([-1] * (width - len(each)))] for each in sets])
        empty = slot < 0
        dose = torch.zeros(len(sets)) if log_dose is None else torch.tensor(log_dose)
        count = len(self.space.perturbations)
        return ConditionBatch(
            context=torch.tensor(contexts if contexts is not None else [0] * len(sets)),
            group=torch.tensor(groups if groups is not None else [-1] * len(sets)),
            perturbation=torch.where(slot < count, slot, -1),
            slot=slot,
            pert_type=torch.where(empty, -1, pert_type),
            own_gene=torch.where(empty, -1, self.own_gene[slot.clamp(min=0)]),
            log_dose=torch.where(empty, torch.nan, dose.float().unsqueeze(1)),
            log_time=torch.zeros(len(sets)),
            key=torch.arange(len(sets)) * 7919 + 13,
            features=self.features,
        )


def make_world(
    n_perturbations: int = 12,
    n_unseen: int = 4,
    n_genes: int = 10,
    n_contexts: int = 2,
    n_groups: int = 3,
    feature_width: int = 8,
    n_conditions: int = 1,
    max_slots: int = 2,
    pert_type: str = "trt_cp",
    seed: int = 0,
) -> ToyWorld:
    generator = torch.Generator().manual_seed(seed)
    total = n_perturbations + n_unseen
    space = ModelSpace(
        genes=tuple(f"G{i}" for i in range(n_genes)),
        measure="expression",
        contexts=tuple(f"cell{i}" for i in range(n_contexts)),
        groups=tuple(f"plate{i}" for i in range(n_groups)),
        perturbations=tuple(f"p{i}" for i in range(n_perturbations)),
        pert_types=(pert_type,),
        feature_width=feature_width,
        own_genes=True,
        n_conditions=n_conditions,
        max_slots=max_slots,
    )
    features = torch.randn(total, feature_width, generator=generator)
    own_gene = torch.arange(total) % n_genes
    return ToyWorld(space, features, own_gene)


def make_batch(
    conditions: ConditionBatch, index: Tensor, target: Tensor, basal: Tensor | None = None
) -> Batch:
    """One batch whose rows belong to the conditions `index`."""
    return Batch(
        conditions=conditions.take(index),
        target=target.float(),
        basal=torch.zeros_like(target).float() if basal is None else basal.float(),
        condition_index=index,
        sample_id=torch.arange(len(index)),
    )


def solve(stage: StatisticsStage, batches: Iterable[Batch]) -> Mapping[str, Tensor]:
    sums = stage.start()
    for batch in batches:
        stage.update(sums, batch)
    stage.finish(sums)
    return sums


def train(
    name: str, world: ToyWorld, conditions: ConditionBatch, batch: Batch, steps: int = 200, **config: Any
) -> ResponseModel:
    """Build a model for these training conditions and train it on one batch: sums, then AdamW steps."""
    space = world.space.model_copy(update={"n_conditions": len(conditions)})
    torch.manual_seed(0)
    model = get_model(name).build(config, space, conditions)
    if model.wants_priors:
        model.take_up(TrainingPriors.empty(space.n_genes))
    for stage in model.stages():
        if isinstance(stage, GradientStage):
            descend(stage, batch, steps)
        else:
            solve(stage, [batch])
    return model.eval()


def descend(stage: GradientStage, batch: Batch, steps: int) -> None:
    options = stage.optimiser
    optimiser = torch.optim.AdamW(
        stage.module.parameters(), lr=options.lr, weight_decay=options.weight_decay, betas=options.betas
    )
    stage.module.train()
    for step in range(steps):
        optimiser.zero_grad()
        stage.module(batch, KeyedNoise(0, step))["loss"].backward()
        optimiser.step()


SMILES = (
    "CCO", "CCN", "CCCl", "CCBr", "c1ccccc1O", "c1ccccc1N", "c1ccccc1Cl", "CC(=O)O", "CC(=O)N", "CCCCO",
    "C1CCCCC1", "C1CCNCC1", "c1ccncc1", "CC(C)O", "OCCO", "NCCN",
)  # fmt: skip


def compound_obs(n_plates: int = 2, compounds: Sequence[int] = tuple(range(16))) -> pl.DataFrame:
    """Wells of an L1000-like experiment: two cell lines, plates of one line each, DMSO on every plate."""
    rows: list[dict[str, Any]] = []
    for line in ("A375", "HT29"):
        for plate in range(n_plates):
            common = {"cell_iname": line, "batch_id": f"{line}-{plate}", "pert_time": 24.0}
            rows += [{**common, "pert_type": "ctl_vehicle", "pert_id": "DMSO"} for _ in range(3)]
            rows += [
                {
                    **common,
                    "pert_type": "trt_cp",
                    "pert_id": f"BRD-{compound:02d}",
                    "cmap_name": f"drug-{compound}",
                    "pert_dose": dose,
                    "canonical_smiles": Chem.CanonSmiles(SMILES[compound]),
                }
                for compound in compounds
                for dose in (1.0, 10.0)
            ]
    schema = {"pert_dose": pl.Float64, "cmap_name": pl.String, "canonical_smiles": pl.String}
    return pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)


def genetic_obs() -> pl.DataFrame:
    """Cells with knock-outs, single and in pairs, of genes inside and outside the gene space."""
    names = ["G1", "G2", "G3", "G4", "OUTSIDE", "G1+G2", "G4+G3", "G1+OUTSIDE"]
    common = {"cell_iname": "K562", "batch_id": "lane-1"}
    rows = [{**common, "pert_type": "ctl_vector", "pert_id": "NTC"} for _ in range(8)]
    rows += [{**common, "pert_type": "trt_xpr", "pert_id": n, "targets": n} for n in names for _ in range(4)]
    return pl.DataFrame(rows)


def make_store(
    path: Path, obs: pl.DataFrame, n_genes: int = 20, measure: Measure = "expression", seed: int = 0
) -> ExpressionStore:
    values = np.random.default_rng(seed).normal(8.0, 1.0, (obs.height, n_genes)).astype(np.float32)
    return create_store(
        path,
        obs=obs,
        var=pl.DataFrame({"gene_symbol": [f"G{i}" for i in range(n_genes)]}),
        batches=[values],
        measure=measure,
        normalisation="log2_intensity" if measure == "expression" else "z_score",
    )


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Small stores: `compounds` (wells), `genes` (cells), `response` (z-scores), and what makes others."""
    root = tmp_path_factory.mktemp("stores")
    compounds = compound_obs()
    return SimpleNamespace(
        compounds=make_store(root / "compounds", compounds),
        genes=make_store(root / "genes", genetic_obs()),
        response=make_store(
            root / "response", compounds.filter(pl.col("pert_type") == "trt_cp"), measure="response"
        ),
        compound_obs=compound_obs,
        make=make_store,
    )


@pytest.fixture(scope="session")
def toy() -> SimpleNamespace:
    """The toy builders: world(...), batch(...), solve(...), train(...), descend(...)."""
    return SimpleNamespace(world=make_world, batch=make_batch, solve=solve, train=train, descend=descend)
