"""How conditions and units are called in tables, figures and messages, the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_TYPE_WORDS: Final = MappingProxyType(
    {
        "trt_cp": "",
        "trt_sh": "knock-down",
        "trt_xpr": "knock-out",
        "trt_act": "activation",
        "trt_oe": "over-expression",
        "trt_lig": "cytokine",
    }
)

_UNITS: Final = MappingProxyType(
    {
        "counts": "log1p difference",
        "log1p_cpm": "log1p difference",
        "log2_intensity": "log2 difference",
        "z_score": "z-score",
        "log_fold_change": "log fold change",
    }
)


def condition_name(row: Mapping[str, object]) -> str:
    """Write a condition for people: "TP53 knock-out, A549", "vorinostat 10 uM, MCF7, 24 h".

    Parameters
    ----------
    row
        cmap_name or pert_id, pert_type, cell_iname, and where known pert_dose (uM) and pert_time (h).
    """
    words = [
        str(row.get("cmap_name") or row.get("pert_id")),
        _TYPE_WORDS.get(str(row["pert_type"]), str(row["pert_type"])),
    ]
    if row.get("pert_dose") is not None:
        words.append(f"{row['pert_dose']:.4g} uM")
    name = " ".join(word for word in words if word) + f", {row['cell_iname']}"
    return name if row.get("pert_time") is None else f"{name}, {row['pert_time']:.4g} h"


def kind_word(pert_type: str) -> str:
    """Return a kind of perturbation for people: "compound", "knock-down"; an unknown code as it is."""
    return _TYPE_WORDS.get(pert_type, pert_type) or "compound"


def response_unit(normalisation: str) -> str:
    """Return the unit of a response for people, by the normalisation of its store."""
    return _UNITS.get(normalisation, normalisation or "response")


def facts_in_words(facts: Mapping[str, float]) -> str:
    """Write named numbers for people: "active dimensions 64, reconstruction R2 0.551"."""
    return ", ".join(f"{_fact_name(name)} {value:.3g}" for name, value in facts.items())


def _fact_name(name: str) -> str:
    return " ".join("R2" if word == "r2" else word for word in name.split("_"))
