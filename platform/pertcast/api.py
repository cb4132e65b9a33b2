"""The notebook API: `import pertcast` and these four functions."""

from __future__ import annotations

from pathlib import Path

import anndata
import pandas as pd
import polars as pl
from pertcast_data.errors import CorruptStore, FormatError
from pertcast_data.storage import ObjectFolder, local_copy
from pertcast_data.storage.location import RemoteLocation, is_remote, parse_location
from pertcast_data.store import ExpressionStore
from pertcast_data.store.manifest import read_manifest, record_problem

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
        X: predicted response; layers "sd", of an ensemble "sd_between" (what its members disagree on) and,
        where the model predicts levels, "expression" (basal plus response); obs: the table with sig_id and
        the applicability flags; var: genes.
    """
    if not isinstance(predictor, Predictor):
        predictor = load_bundle(predictor)
    frame = table if isinstance(table, pl.DataFrame) else pl.from_pandas(table)
    found = predictor.predict(frame, n_samples=n_samples, seed=seed)
    spreads = {"sd": found.sd, "sd_between": found.sd_between}
    layers = {name: values for name, values in spreads.items() if values is not None}
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

    Parameters
    ----------
    path
        The screen's folder, or its place in a bucket (s3://, gs://), whose profiles are brought to the cache.

    Raises
    ------
    FormatError
        The folder holds no finished screen.
    CorruptStore
        A file of the profiles in the bucket is missing or damaged.
    StorageError
        The bucket or the cache cannot be used.
    """
    if is_remote(path):
        return anndata.read_zarr(_fetched_profiles(path))
    folder = Path(path)
    profiles = folder / "profiles.zarr"
    if not profiles.is_dir() or not (folder / "manifest.json").is_file():
        raise _no_screen(folder)
    return anndata.read_zarr(profiles)


def _fetched_profiles(location: Path | str) -> Path:
    """Bring the profiles of a screen in a bucket to the cache, and compare every file with their manifest.

    Zarr takes a missing shard for one that was never written.
    """
    place = parse_location(location)
    if not ObjectFolder(place).exists("manifest.json"):
        raise _no_screen(place)
    profiles = local_copy(f"{place}/profiles.zarr")
    manifest = read_manifest(profiles)
    for record in (*manifest.records, *manifest.tables):
        problem = record_problem(profiles, record, checksum=True)
        if problem is not None:
            raise CorruptStore(
                f"{place}/profiles.zarr/{record.path}: {problem}. Restore the object, or run the screen "
                "again in another place."
            )
    return profiles


def _no_screen(place: Path | RemoteLocation) -> FormatError:
    return FormatError(f"{place} holds no finished screen. Make or resume one with `pertcast screen`.")
