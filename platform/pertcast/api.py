"""The notebook API: `import pertcast` and these four functions."""

from __future__ import annotations

from pathlib import Path

import anndata
import pandas as pd
import polars as pl
from pertcast_data.errors import FormatError
from pertcast_data.store import ExpressionStore

from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle


def open_store(path: Path | str) -> ExpressionStore:
    """Open an expression store; raises FormatError or CorruptStore."""
    return ExpressionStore.open(path)


def load_bundle(path: Path | str, device: str = "cpu") -> Predictor:
    """Load a trained model from a bundle, or from a run's folder that holds one.

    Raises
    ------
    ConfigError
        There is no bundle at `path`, or the run's training did not end.
    CorruptBundle
        A file of the bundle is missing or damaged.
    """
    return Predictor.from_bundle(find_bundle(path), device)


def predict(
    predictor: Predictor | Path | str, table: pl.DataFrame | pd.DataFrame, n_samples: int = 0, seed: int = 0
) -> anndata.AnnData:
    """Predict a table of conditions.

    Parameters
    ----------
    predictor
        From `load_bundle`, or the path of a bundle or run.
    table
        CMap columns (polars or pandas); see `Predictor.predict`.
    n_samples
        Sampled responses a condition, kept in ``obsm["samples"]`` as (N, K, G).
    seed
        Of the samples.

    Returns
    -------
    AnnData
        X: predicted response; layers "sd" and, where the model predicts levels, "expression" (basal plus
        response); obs: the table with sig_id and the applicability flags; var: genes.
    """
    if not isinstance(predictor, Predictor):
        predictor = load_bundle(predictor)
    frame = table if isinstance(table, pl.DataFrame) else pl.from_pandas(table)
    found = predictor.predict(frame, n_samples=n_samples, seed=seed)
    layers = {} if found.sd is None else {"sd": found.sd}
    if predictor.space.measure == "expression":
        layers["expression"] = found.basal + found.mean
    obs = found.table.to_pandas()
    obs.index = anndata.utils.make_index_unique(pd.Index(found.table["sig_id"].to_list(), dtype=str))
    data = anndata.AnnData(
        X=found.mean, obs=obs, var=pd.DataFrame(index=pd.Index(predictor.genes)), layers=layers
    )
    if found.samples is not None:
        data.obsm["samples"] = found.samples
    return data


def load_screen(path: Path | str) -> anndata.AnnData:
    """Read a finished screen: obs is sig_info, X the predicted responses, layers "sd" and "expression".

    Raises
    ------
    FormatError
        The folder holds no finished screen.
    """
    folder = Path(path)
    profiles = folder / "profiles.zarr"
    if not profiles.is_dir() or not (folder / "manifest.json").is_file():
        raise FormatError(f"{folder} holds no finished screen. Make or resume one with `pertcast screen`.")
    return anndata.read_zarr(profiles)
