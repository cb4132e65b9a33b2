"""Write an atlas as the files that a laboratory would hand over, with the truth beside them.

Files are written into a temporary sibling folder and then moved into place; atlas.json of an older atlas goes
first and the new one comes last, so that a folder with an atlas.json is complete.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anndata
import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.simulate.atlas import Atlas
from pertcast_data.simulate.interactions import LAYERS
from pertcast_data.simulate.network_files import write_network
from pertcast_data.simulate.truth import Truth
from pertcast_data.simulate.truth_arrays import truth_arrays
from pertcast_data.simulate.version import GENERATOR_VERSION, generator_hash

NETWORK_FILES: Final = tuple(f"networks/{name}.tsv" for name in LAYERS)
FILE_NAMES: Final = (
    "wells.h5ad",
    "cells.h5ad",
    "signatures.h5ad",
    "library.csv",
    "gene_sets.gmt",
    "sensitivity.csv",
    *NETWORK_FILES,
    "truth.npz",
    "atlas.json",
)
"""Every file of an atlas, the last one last."""


@dataclass(frozen=True, slots=True)
class AtlasFiles:
    """Where the files of an atlas lie; `networks` is the folder of the edge lists."""

    directory: Path
    wells: Path
    cells: Path
    signatures: Path
    networks: Path
    library: Path
    gene_sets: Path
    sensitivity: Path
    truth: Path
    atlas: Path


def write_atlas(atlas: Atlas, out_dir: Path | str, progress: ProgressCallback = no_progress) -> AtlasFiles:
    """Write the files of an atlas to `out_dir` (made if absent; files of an older atlas are replaced).

    Raises
    ------
    ConfigError
        If `out_dir` is a file.
    """
    directory = Path(out_dir)
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{directory} is a file; name a folder to write the atlas to.")
    directory.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        _write_all(atlas, scratch, progress)
        (directory / "atlas.json").unlink(missing_ok=True)
        (directory / "networks").mkdir(exist_ok=True)
        for name in FILE_NAMES:
            (scratch / name).replace(directory / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _files_of(directory)


def _files_of(directory: Path) -> AtlasFiles:
    return AtlasFiles(
        directory=directory,
        wells=directory / "wells.h5ad",
        cells=directory / "cells.h5ad",
        signatures=directory / "signatures.h5ad",
        networks=directory / "networks",
        library=directory / "library.csv",
        gene_sets=directory / "gene_sets.gmt",
        sensitivity=directory / "sensitivity.csv",
        truth=directory / "truth.npz",
        atlas=directory / "atlas.json",
    )


def _write_all(atlas: Atlas, folder: Path, progress: ProgressCallback) -> None:
    network, everything = atlas.world.network, np.arange(atlas.config.n_genes)
    profiles = {
        "wells.h5ad": (atlas.wells, atlas.intensities, everything),
        "cells.h5ad": (atlas.cells, atlas.counts, everything),
        "signatures.h5ad": (atlas.signatures, atlas.scores, atlas.landmarks),
    }
    for done, (name, (obs, values, genes)) in enumerate(profiles.items()):
        progress(done, len(profiles) + 1, f"writing {name}")
        _write_h5ad(folder / name, obs, values, genes, atlas)
    progress(len(profiles), len(profiles) + 1, "writing tables, networks and the truth")
    _library_table(atlas).write_csv(folder / "library.csv")
    _write_gene_sets(folder / "gene_sets.gmt", atlas)
    atlas.sensitivity.table.write_csv(folder / "sensitivity.csv")
    (folder / "networks").mkdir()
    for listed in atlas.networks:
        write_network(folder / "networks" / f"{listed.name}.tsv", listed, network)
    np.savez(folder / "truth.npz", **truth_arrays(atlas))
    facts = _facts(atlas) | _figures(atlas)
    (folder / "atlas.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    progress(len(profiles) + 1, len(profiles) + 1, "written")


def _facts(atlas: Atlas) -> dict[str, Any]:
    return {
        "generator_version": GENERATOR_VERSION,
        "generator_hash": generator_hash(),
        "regime": atlas.config.regime,
        "seed": atlas.config.seed,
        "config": atlas.config.model_dump(mode="json"),
    }


def _figures(atlas: Atlas) -> dict[str, Any]:
    network, library = atlas.world.network, atlas.world.library
    return {
        "cells": {
            "n_cells": atlas.cells.height,
            **_measured(atlas.cells_truth, "expression", "counts"),
        },
        "wells": {
            "n_wells": atlas.wells.height,
            "n_plates": atlas.wells["plate"].n_unique(),
            **_measured(atlas.wells_truth, "expression", "log2_intensity"),
        },
        "signatures": {
            "n_genes_perturbed": atlas.signatures["pert_id"].n_unique(),
            "n_landmarks": len(atlas.landmarks),
            **_measured(atlas.signatures_truth, "response", "z_score"),
        },
        "network": {
            "n_genes": network.n_genes,
            "n_modules": network.n_modules,
            "n_regulators": network.n_regulators,
        },
        "networks": {listed.name: listed.summary() for listed in atlas.networks},
        "sensitivity": {
            "pathway": module_name(atlas.sensitivity.pathway),
            "n_pairs": atlas.sensitivity.table.height,
            "explainable_share": round(atlas.sensitivity.explainable_share, 6),
        },
        "library": {"n_compounds": len(library), "n_profiled": library.n_profiled},
    }


def _measured(truth: Truth, measure: str, normalisation: str) -> dict[str, Any]:
    return {
        "n_conditions": len(truth.condition_ids),
        "explainable_share": round(truth.explainable_share, 6),
        "measure": measure,
        "normalisation": normalisation,
    }


def module_name(module: int) -> str:
    """Return the name of a module in gene_sets.gmt."""
    return f"SIM_MODULE_{module + 1:03d}"


def _write_h5ad(
    path: Path, obs: pl.DataFrame, values: Any, measured: NDArray[np.int64], atlas: Atlas
) -> None:
    network = atlas.world.network
    symbols = [network.gene_symbols[gene] for gene in measured]
    ids = [network.gene_ids[gene] for gene in measured]
    genes = pd.DataFrame({"gene_symbol": symbols}, index=pd.Index(ids, name="gene_id"))
    facts = _facts(atlas)
    facts["config"] = json.dumps(facts["config"], sort_keys=True)
    data = anndata.AnnData(X=values, obs=_pandas(obs), var=genes, uns={"pertcast_atlas": facts})
    data.write_h5ad(path)


def _pandas(obs: pl.DataFrame) -> pd.DataFrame:
    """Return the table for AnnData: sig_id as index, texts as categories so that missing stays missing."""
    columns: dict[str, Any] = {}
    for name in obs.columns:
        if name == "sig_id":
            continue
        column = obs[name]
        is_text = column.dtype == pl.String
        columns[name] = pd.Categorical(column.to_list()) if is_text else column.to_numpy()
    return pd.DataFrame(columns, index=pd.Index(obs["sig_id"].to_list(), name="sig_id"))


def _library_table(atlas: Atlas) -> pl.DataFrame:
    library = atlas.world.library
    return pl.DataFrame(
        {
            "pert_id": library.pert_ids,
            "cmap_name": library.names,
            "pert_type": ["trt_cp"] * len(library),
            "canonical_smiles": library.smiles,
        }
    )


def _write_gene_sets(path: Path, atlas: Atlas) -> None:
    network = atlas.world.network
    by_module = network.control.tocsc()
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t", lineterminator="\n")
        for module in range(network.n_modules):
            leads = by_module.indices[by_module.indptr[module] : by_module.indptr[module + 1]]
            symbols = sorted(network.gene_symbols[network.regulators[lead]] for lead in leads)
            members = [network.gene_symbols[gene] for gene in network.module_genes(module)]
            writer.writerow([module_name(module), f"regulated by {', '.join(symbols)}", *members])
