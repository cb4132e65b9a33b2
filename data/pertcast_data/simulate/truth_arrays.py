"""The arrays of truth.npz: everything that was hidden when an atlas was measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pertcast_data.simulate.atlas import Atlas


def truth_arrays(atlas: Atlas) -> dict[str, Any]:
    """Return name -> array; docs/atlas.md lists them. Genes are numbered as in `genes`."""
    return {
        "genes": _texts(atlas.world.network.gene_symbols),
        **_responses(atlas),
        **_library(atlas),
        **_networks(atlas),
        **_sensitivity(atlas),
    }


def _texts(names: Iterable[str]) -> np.ndarray[Any, Any]:
    return np.asarray(list(names), dtype=np.str_)


def _responses(atlas: Atlas) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "cells_log2_change": atlas.knockout_log2_change,
        "signatures_genes": _texts(atlas.world.network.gene_symbols[gene] for gene in atlas.landmarks),
    }
    truths = {"wells": atlas.wells_truth, "cells": atlas.cells_truth, "signatures": atlas.signatures_truth}
    for measured, truth in truths.items():
        arrays[f"{measured}_condition_id"] = _texts(truth.condition_ids)
        arrays[f"{measured}_response"] = truth.response
        arrays[f"{measured}_explainable_share"] = np.float64(truth.explainable_share)
        arrays[f"{measured}_gene_explainable_share"] = truth.gene_explainable_share
    return arrays


def _library(atlas: Atlas) -> dict[str, Any]:
    library = atlas.world.library
    return {
        "library_condition_id": _texts(atlas.library_truth[0]),
        "library_response": atlas.library_truth[1],
        "library_pert_id": _texts(library.pert_ids),
        "library_is_profiled": np.arange(len(library)) < library.n_profiled,
        "library_has_profiled_scaffold": library.has_profiled_scaffold,
    }


def _networks(atlas: Atlas) -> dict[str, Any]:
    interactome = atlas.world.network.interactome
    arrays: dict[str, Any] = {
        "gene_is_regulator": np.isin(np.arange(atlas.config.n_genes), atlas.world.network.regulators),
        "gene_pathway": interactome.pathway.astype(np.int32),
    }
    for listed in atlas.networks:
        arrays[f"network_{listed.name}_edges"] = listed.truth.edges.astype(np.int32)
        arrays[f"network_{listed.name}_weight"] = listed.truth.weight.astype(np.float32)
        arrays[f"network_{listed.name}_is_listed"] = listed.is_listed
        arrays[f"network_{listed.name}_wrong"] = listed.wrong.astype(np.int32)
    return arrays


def _sensitivity(atlas: Atlas) -> dict[str, Any]:
    sensitivity = atlas.sensitivity
    return {
        "sensitivity_pert_id": _texts(sensitivity.table["pert_id"]),
        "sensitivity_cell_iname": _texts(sensitivity.table["cell_iname"]),
        "sensitivity_pathway_activity": sensitivity.activity,
        "sensitivity_ln_ic50": sensitivity.ln_ic50,
        "sensitivity_explainable_share": np.float64(sensitivity.explainable_share),
    }
