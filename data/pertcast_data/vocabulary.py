"""The field's words: CMap columns, perturbation codes, dose and time units, condition identity.

One place where a condition gets its name, so that the store, splits, screens and endpoints
mean the same thing by it. Pure standard library.
"""

from __future__ import annotations

import hashlib
import math
import re
from types import MappingProxyType
from typing import Final, Literal

from pertcast_data.errors import UnitError

Measure = Literal["expression", "response"]
Normalisation = Literal["counts", "log1p_cpm", "log2_intensity", "z_score", "log_fold_change"]

PERTURBATION_KINDS: Final = MappingProxyType(
    {
        "trt_cp": "compound",
        "trt_sh": "knockdown",
        "trt_xpr": "knockout",
        "trt_act": "activation",
        "trt_oe": "overexpression",
        "trt_lig": "cytokine",
    }
)
"""CMap code of a treatment -> kind. `trt_act` (CRISPR activation) is ours: CMap has no code for it."""

CONTROL_TYPES: Final = ("ctl_vehicle", "ctl_vector", "ctl_untrt")
GENETIC_TYPES: Final = ("trt_sh", "trt_xpr", "trt_act", "trt_oe")

CONDITION_COLUMNS: Final = ("cell_iname", "pert_type", "pert_id", "pert_dose", "pert_time")
"""What makes a condition: two rows equal in all of these are replicates. Dose in uM, time in hours."""

OBS_COLUMNS: Final = (
    "sig_id",
    "cell_iname",
    "pert_type",
    "pert_id",
    "cmap_name",
    "pert_dose",
    "pert_dose_unit",
    "pert_time",
    "pert_time_unit",
    "canonical_smiles",
    "inchi_key",
    "targets",
    "batch_id",
)
"""Columns every store has; missing is null. `targets`: gene symbols as "A+B". `batch_id`: plate or batch."""

DESCRIPTIVE_COLUMNS: Final = ("guide_id", "donor_id", "replicate")
"""Columns that a store has only where its source has them: the guide itself, the donor, the replicate."""

PAIR_SEPARATOR: Final = "+"
_BETWEEN_NAMES: Final = re.compile(r"(?<=[^(\[+])\+(?=[^)\]+])")
"""A separator stands between two names; the plus of "(+)-JQ1" does not."""

DOSE_UNITS_IN_UM: Final = MappingProxyType(
    {"pm": 1e-6, "nm": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0, "mm": 1e3, "m": 1e6}
)
TIME_UNITS_IN_HOURS: Final = MappingProxyType(
    {
        "s": 1 / 3600,
        "min": 1 / 60,
        "h": 1.0,
        "hr": 1.0,
        "hrs": 1.0,
        "hour": 1.0,
        "hours": 1.0,
        "d": 24.0,
        "day": 24.0,
        "days": 24.0,
    }
)


def dose_in_micromolar(value: float, unit: str) -> float:
    """Convert a dose to uM; raises UnitError for an unknown unit."""
    factor = DOSE_UNITS_IN_UM.get(unit.strip().lower())
    if factor is None:
        raise UnitError(
            f"Unknown dose unit {unit!r}; known: {', '.join(DOSE_UNITS_IN_UM)}. Map it to one of these."
        )
    return value * factor


def time_in_hours(value: float, unit: str) -> float:
    """Convert a time to hours; raises UnitError for an unknown unit."""
    factor = TIME_UNITS_IN_HOURS.get(unit.strip().lower())
    if factor is None:
        raise UnitError(
            f"Unknown time unit {unit!r}; known: {', '.join(TIME_UNITS_IN_HOURS)}. Map it to one of these."
        )
    return value * factor


def split_perturbation(pert_id: str) -> tuple[str, ...]:
    """Split "B+A" into its single perturbations, sorted: ("A", "B"); "(+)-JQ1" is one."""
    return tuple(sorted(part for part in _BETWEEN_NAMES.split(pert_id) if part))


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def condition_id(
    cell_iname: str, pert_type: str, pert_id: str, pert_dose: float | None, pert_time: float | None
) -> str:
    """Return the readable, stable name of a condition, e.g. ``HT115|trt_cp|BRD-K123|10|6``.

    Doses (uM) and times (h) are written with six significant digits; missing ones are empty.
    """
    names = PAIR_SEPARATOR.join(split_perturbation(pert_id))
    return "|".join((cell_iname, pert_type, names, _number(pert_dose), _number(pert_time)))


def condition_key(name: str) -> int:
    """Return a stable non-negative 63-bit hash of a condition's name: the key of its noise in prediction."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
