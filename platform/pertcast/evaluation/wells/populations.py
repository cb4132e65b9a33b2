"""Populations of wells as one result: text for a terminal, plain JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.wells.lines import lines_of
from pertcast.evaluation.wells.result import TOLERANCE, WellResult, WellScores

SCHEMA_VERSION: Final = 1
_DIGITS: Final = 6


@dataclass(frozen=True)
class WellPopulations(WellResult):
    """Generated wells beside measured ones; `WellResult` has the fields."""

    def lines(self) -> list[str]:
        """Return the result as text for a terminal, a sentence in words first."""
        return lines_of(self)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values without profiles and matrices; undefined values are None."""
        return {
            "schema": SCHEMA_VERSION,
            "contenders": [_scores(found) for found in self.contenders],
            "to_halves": {name: _estimate(found) for name, found in self.to_halves.items()},
            "to_noise": {name: _estimate(found) for name, found in self.to_noise.items()},
            "tolerance": TOLERANCE,
            **asdict(self.counts),
            "remarks": list(self.remarks),
        }


def _number(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _estimate(found: Estimate) -> dict[str, float | None]:
    return {"mean": _number(found.mean), "low": _number(found.low), "high": _number(found.high)}


def _scores(found: WellScores) -> dict[str, Any]:
    names = ("quartile_1", "median", "quartile_3")
    return {
        **asdict(found.contender),
        "scores": {name: _estimate(each) for name, each in found.scores.items()},
        "variance_ratio": {
            level: dict(zip(names, map(_number, found.ratio_quartiles(level)), strict=True))
            for level in found.variance_ratio
        },
        "distance": {name: _number(value) for name, value in found.distance.items()},
    }
