"""Write an atlas as the files that a laboratory would hand over, with the truth beside them.

Files are written into a temporary sibling folder and moved into place together; atlas.json comes last.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anndata
import numpy as np
import pandas as pd
import polars as pl

from pertcast_data.errors import ConfigError
from pertcast_data.simulate.atlas import Atlas
from pertcast_data.simulate.version import GENERATOR_VERSION, generator_hash

FILE_NAMES: Final = ("wells.h5ad", "cells.h5ad", "library.csv", "gene_sets.gmt", "truth.npz", "atlas.json")


@dataclass(frozen=True, slots=True)
class AtlasFiles:
    """Where the files of an atlas lie."""

    directory: Path
    wells: Path
    cells: Path
    library: Path
    gene_sets: Path
    truth: Path
    atlas: Path


def write_atlas(atlas: Atlas, out_dir: Path | str) -> AtlasFiles:
    """Write the six files of an atlas to `out_dir` (made if absent; files of an older atlas are replaced).

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
        _write_all(atlas, scratch)
        for name in FILE_NAMES:
            (scratch / name).replace(directory / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return AtlasFiles(directory, *(directory / name for name in FILE_NAMES))


def _write_all(atlas: Atlas, folder: Path) -> None:
    _write_h5ad(folder / "wells.h5ad", atlas.wells, atlas.intensities, atlas)
    _write_h5ad(folder / "cells.h5ad", atlas.cells, atlas.counts, atlas)
    _library_table(atlas).write_csv(folder / "library.csv")
    _write_gene_sets(folder / "gene_sets.gmt", atlas)
    np.savez(folder / "truth.npz", **_truth_arrays(atlas))
    facts = _facts(atlas) | _figures(atlas)
    (folder / "atlas.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")


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
            "n_conditions": len(atlas.cells_truth.condition_ids),
            "explainable_share": round(atlas.cells_truth.explainable_share, 6),
            "measure": "expression",
            "normalisation": "counts",
        },
        "wells": {
            "n_wells": atlas.wells.height,
            "n_conditions": len(atlas.wells_truth.condition_ids),
            "n_plates": atlas.wells["plate"].n_unique(),
            "explainable_share": round(atlas.wells_truth.explainable_share, 6),
            "measure": "expression",
            "normalisation": "log2_intensity",
        },
        "network": {
            "n_genes": network.n_genes,
            "n_modules": network.n_modules,
            "n_regulators": network.n_regulators,
        },
        "library": {"n_compounds": len(library), "n_profiled": library.n_profiled},
    }


def _write_h5ad(path: Path, obs: pl.DataFrame, values: Any, atlas: Atlas) -> None:
    network = atlas.world.network
    genes = pd.DataFrame(
        {"gene_symbol": network.gene_symbols}, index=pd.Index(network.gene_ids, name="gene_id")
    )
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
            writer.writerow([f"SIM_MODULE_{module + 1:03d}", f"regulated by {', '.join(symbols)}", *members])


def _texts(names: Iterable[str]) -> np.ndarray[Any, Any]:
    return np.asarray(list(names), dtype=np.str_)


def _truth_arrays(atlas: Atlas) -> dict[str, Any]:
    wells, cells, library = atlas.wells_truth, atlas.cells_truth, atlas.world.library
    return {
        "genes": _texts(atlas.world.network.gene_symbols),
        "wells_condition_id": _texts(wells.condition_ids),
        "wells_response": wells.response,
        "wells_explainable_share": np.float64(wells.explainable_share),
        "wells_gene_explainable_share": wells.gene_explainable_share,
        "cells_condition_id": _texts(cells.condition_ids),
        "cells_response": cells.response,
        "cells_log2_change": atlas.knockout_log2_change,
        "cells_explainable_share": np.float64(cells.explainable_share),
        "cells_gene_explainable_share": cells.gene_explainable_share,
        "library_condition_id": _texts(atlas.library_truth[0]),
        "library_response": atlas.library_truth[1],
        "library_pert_id": _texts(library.pert_ids),
        "library_is_profiled": np.arange(len(library)) < library.n_profiled,
        "library_has_profiled_scaffold": library.has_profiled_scaffold,
    }
