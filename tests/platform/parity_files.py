"""The pairs of h5ad files that parity with cell-eval is tested on, made deterministically.

Runs in this project's environment and in cell-eval's own: numpy, scipy, pandas and anndata alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

CONTROL = "non-targeting"
COLUMN = "target_gene"
N_GENES, N_PERTURBATIONS, N_CELLS, N_CONTROLS = 120, 12, 60, 150
REAL_FILE = "perturb_seq/norman_mcfaline_devel.h5ad"


def write(path: Path, values: Any, names: list[str], genes: list[str]) -> Path:
    obs = pd.DataFrame({COLUMN: pd.Categorical(names)}, index=[f"cell{i}" for i in range(len(names))])
    ad.AnnData(sparse.csr_matrix(values, dtype=np.float32), obs, pd.DataFrame(index=genes)).write_h5ad(path)
    return path


def _effects(generator: np.random.Generator) -> Any:
    changed = generator.random((N_PERTURBATIONS, N_GENES)) < 0.25
    shared = generator.normal(0, 0.3, N_GENES) * (generator.random(N_GENES) < 0.2)
    effects = changed * generator.normal(0, 0.9, (N_PERTURBATIONS, N_GENES)) + shared
    effects[np.arange(N_PERTURBATIONS), np.arange(N_PERTURBATIONS)] = -2.0
    return effects


def _counts(generator: np.random.Generator, base: Any, effects: Any, n_cells: int) -> Any:
    depth = generator.lognormal(0, 0.3, (len(effects), n_cells, 1))
    rates = base * np.exp(effects)[:, None, :] * depth
    return generator.poisson(rates).reshape(-1, N_GENES).astype(np.float64)


def generated_counts() -> tuple[Any, Any, list[str], list[str]]:
    """Return (truth, prediction, names of the cells, genes); controls of both are the same cells."""
    generator = np.random.default_rng(20261121)
    base = generator.gamma(1.2, 1.5, N_GENES) + 0.05
    effects = _effects(generator)
    guess = 0.6 * effects + 0.5 * generator.permutation(effects) + generator.normal(0, 0.1, effects.shape)
    controls = _counts(generator, base, np.zeros((1, N_GENES)), N_CONTROLS)
    truth = np.vstack([controls, _counts(generator, base, effects, N_CELLS)])
    prediction = np.vstack([controls, _counts(generator, base, guess, N_CELLS)])
    genes = [f"GENE{i:03d}" for i in range(N_GENES)]
    names = [CONTROL] * N_CONTROLS + [name for name in genes[:N_PERTURBATIONS] for _ in range(N_CELLS)]
    return truth, prediction, names, genes


def log1p_of_10_000(counts: Any) -> Any:
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return np.log1p(counts / totals * 1e4).astype(np.float32)


def generated(folder: Path) -> tuple[Path, Path]:
    """Write (prediction, truth) as log1p values, with the same controls in both."""
    truth, prediction, names, genes = generated_counts()
    return (
        write(folder / "generated_pred.h5ad", log1p_of_10_000(prediction), names, genes),
        write(folder / "generated_true.h5ad", log1p_of_10_000(truth), names, genes),
    )


def counts(folder: Path) -> tuple[Path, Path]:
    """Write (prediction, truth) as counts; both have the same median total."""
    truth, prediction, names, genes = generated_counts()
    prediction[N_CONTROLS:] = truth[N_CONTROLS:][::-1]
    return (
        write(folder / "counts_pred.h5ad", prediction, names, genes),
        write(folder / "counts_true.h5ad", truth, names, genes),
    )


def other_controls(folder: Path) -> tuple[Path, Path]:
    """Write (prediction, truth) as `generated`, but with other controls in the prediction."""
    truth, prediction, names, genes = generated_counts()
    prediction[:N_CONTROLS] = prediction[N_CONTROLS : 2 * N_CONTROLS]
    return (
        write(folder / "other_pred.h5ad", log1p_of_10_000(prediction), names, genes),
        write(folder / "other_true.h5ad", log1p_of_10_000(truth), names, genes),
    )


def pairs(folder: Path) -> tuple[Path, Path]:
    """Write (prediction, truth) of pairs "A+B": only the fall of the two targets themselves is predicted."""
    generator = np.random.default_rng(7)
    base = generator.gamma(3.0, 1.5, N_GENES) + 1.0
    genes = [f"GENE{i:03d}" for i in range(N_GENES)]
    targets = np.arange(2 * N_PERTURBATIONS).reshape(N_PERTURBATIONS, 2)
    rows = np.arange(N_PERTURBATIONS)[:, None]
    effects = generator.normal(0, 0.5, (N_PERTURBATIONS, N_GENES))
    guess = generator.normal(0, 0.5, (N_PERTURBATIONS, N_GENES))
    effects[rows, targets] = guess[rows, targets] = -4.0
    controls = _counts(generator, base, np.zeros((1, N_GENES)), N_CONTROLS)
    pair_names = [f"{genes[a]}+{genes[b]}" for a, b in targets]
    names = [CONTROL] * N_CONTROLS + [name for name in pair_names for _ in range(N_CELLS)]
    prediction, truth = (
        np.vstack([controls, _counts(generator, base, effect, N_CELLS)]) for effect in (guess, effects)
    )
    return (
        write(folder / "pairs_pred.h5ad", log1p_of_10_000(prediction), names, genes),
        write(folder / "pairs_true.h5ad", log1p_of_10_000(truth), names, genes),
    )


def real(folder: Path, source: Path) -> tuple[Path, Path]:
    """Write (prediction, truth) from K562 of a real file: the cells of one condition foretell another.

    Every third cell is its own condition's, so that the prediction is neither right nor without information.
    """
    whole = ad.read_h5ad(source)
    whole = whole[(whole.obs["cell_type"] == "k562").to_numpy()]
    names = [CONTROL if name == "control" else str(name) for name in whole.obs["condition"]]
    genes = [str(gene) for gene in whole.var_names]
    values = whole.X.toarray().astype(np.float32)
    labels = np.array(names)
    perturbations = sorted(set(names) - {CONTROL})
    taken, said = [np.flatnonzero(labels == CONTROL)], [CONTROL] * int((labels == CONTROL).sum())
    for number, name in enumerate(perturbations):
        own = np.flatnonzero(labels == name)
        other = np.flatnonzero(labels == perturbations[(number + 1) % len(perturbations)])
        rows = np.concatenate([other, own[::3]])
        taken.append(rows)
        said += [name] * len(rows)
    return (
        write(folder / "real_pred.h5ad", values[np.concatenate(taken)], said, genes),
        write(folder / "real_true.h5ad", values, names, genes),
    )
