"""Amounts as Kubernetes writes them: 500m, 8Gi, 2e3."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

_UNITS: Final = MappingProxyType(
    {
        "": 1.0,
        "m": 1e-3,
        "k": 1e3,
        **{unit: 1e3**power for power, unit in enumerate("MGTPE", start=2)},
        **{f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTPE", start=1)},
    }
)
_WRITTEN: Final = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]{0,2})")


def quantity(written: str | float) -> float:
    """Return an amount in its base unit (CPUs, bytes, pieces).

    Raises
    ------
    ValueError
        It is no amount.
    """
    found = _WRITTEN.fullmatch(str(written))
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"{written!r} is no amount such as 500m or 8Gi")
    return float(found[1]) * _UNITS[found[2]]
