"""A comparison of sensitivity predictors as plain JSON: deterministic, undefined values as None."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.sensitivity.result import Board, HeldOutSensitivity, SensitivityResult
from pertcast.evaluation.sensitivity.text import not_shown, verdict

SCHEMA_VERSION: Final = 1
_DIGITS: Final = 6


def to_json(result: SensitivityResult) -> dict[str, Any]:
    """Return everything but the pairs' predictions; see `DrugSensitivity.to_json`."""
    facts = asdict(result.facts)
    content = {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict(result),
        "facts": {**facts, "join": dict(result.facts.join)},
        "bootstrap": {"n_draws": result.n_draws, "seed": result.seed},
        "drug_blind": _held_out(result.by_compound),
        "cell_blind": _held_out(result.by_line),
        "not_shown": not_shown(result),
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _held_out(found: HeldOutSensitivity) -> dict[str, Any]:
    return {
        "held_out": found.kind,
        "n_groups": found.n_groups,
        "n_folds": found.n_folds,
        "resampled": found.kind,
        "withheld": found.withheld or None,
        "boards": [_board(board) for board in found.boards],
    }


def _board(board: Board) -> dict[str, Any]:
    return {
        "name": board.name,
        "title": board.title,
        "n_pairs": board.n_pairs,
        "n_compounds": board.n_compounds,
        "n_lines": board.n_lines,
        "rows": [
            {
                "name": row.name,
                "title": row.title,
                "metrics": {name: _estimate(found, False) for name, found in row.metrics.items()},
                "chosen": dict(row.chosen),
            }
            for row in board.rows
        ],
        "generated_minus": {
            other: {name: _estimate(found, True) for name, found in gains.items()}
            for other, gains in board.gains.items()
        },
    }


def _estimate(found: Estimate, with_p: bool) -> dict[str, float]:
    plain = {"mean": found.mean, "low": found.low, "high": found.high}
    return {**plain, "p_value": found.p_value} if with_p else plain


def _plain(value: Any) -> Any:
    """Round floats to six digits and turn undefined ones into None, all the way down; keys in order."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
