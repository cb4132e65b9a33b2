"""How conditions are called in tables, figures and messages, the same everywhere."""

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
