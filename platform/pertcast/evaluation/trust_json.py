"""The trust table as JSON: deterministic, complete, undefined values as null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.metrics import METRICS
from pertcast.evaluation.trust_result import TrustResult

SCHEMA_VERSION: Final = 1
_DIGITS: Final = 6


def _plain(value: Any) -> Any:
    """Round floats to six digits and turn undefined ones into null, all the way down."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _estimate(estimate: Estimate, with_p: bool) -> dict[str, Any]:
    fields = asdict(estimate)
    if not with_p:
        del fields["p_value"]
    return fields


def _estimates(by_name: Mapping[str, Estimate], with_p: bool = False) -> dict[str, Any]:
    return {name: _estimate(estimate, with_p) for name, estimate in by_name.items()}


def _table(trust: TrustResult) -> list[dict[str, Any]]:
    return [
        {
            **asdict(contender),
            "metrics": {n: _estimate(e, False) for n, e in trust.summary[contender.name].items()},
            "well_metrics": {
                n: _estimate(e, False) for n, e in trust.well_summary.get(contender.name, {}).items()
            },
        }
        for contender in trust.order
    ]


def _conditions(trust: TrustResult) -> list[dict[str, Any]]:
    rows = trust.board.conditions.to_dicts()
    for i, row in enumerate(rows):
        row[trust.primary] = {
            c.name: float(trust.board.scores[c.name][trust.primary][i]) for c in trust.order
        }
    return rows


def to_json(trust: TrustResult) -> str:
    """Return the JSON text; see `TrustTable.to_json`."""
    metrics = {
        metric.name: {
            "title": metric.title,
            "level": metric.level,
            "direction": metric.direction,
            "best": metric.best,
            "formula": metric.formula,
            "source": metric.source,
        }
        for metric in METRICS.values()
    }
    content = {
        "schema_version": SCHEMA_VERSION,
        "facts": trust.facts.model_dump(mode="json"),
        "verdict": asdict(trust.verdict),
        "primary_metric": trust.primary,
        "bootstrap": {"n_draws": trust.n_draws, "seed": trust.seed, "resampled": "held-out perturbations"},
        "table": _table(trust),
        "gains": {
            name: {other: _estimate(e, True) for other, e in gains.items()}
            for name, gains in trust.gains.items()
        },
        "dynamic_range": dict(trust.dynamic_range),
        "strata": [{**asdict(s), "gain": _estimate(s.gain, True)} for s in trust.strata],
        "notes": trust.notes,
        "not_shown": trust.not_shown,
        "metrics": metrics,
        "conditions": _conditions(trust),
    }
    return json.dumps(_plain(content), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
