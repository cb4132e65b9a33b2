"""The trust table as JSON: deterministic, complete, undefined values as null.

Schema 2. Profiles and gene-gene matrices are in the report and in predictions.npz, not here; what they agree
on is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Final

import numpy as np

from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.metrics import METRICS
from pertcast.evaluation.parts import TrustParts
from pertcast.evaluation.trust.comparison import Comparison
from pertcast.evaluation.trust.result import TrustResult
from pertcast.evaluation.trust.scored_strata import ScoredStratum

SCHEMA_VERSION: Final = 2
_DIGITS: Final = 6


def plain(value: Any) -> Any:
    """Round floats to six digits and turn undefined ones into null, all the way down; keys become text."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _estimate(estimate: Estimate, with_p: bool) -> dict[str, Any]:
    fields = asdict(estimate)
    if not with_p:
        del fields["p_value"]
    return fields


def _table(trust: TrustResult) -> list[dict[str, Any]]:
    return [
        {
            **asdict(contender),
            "metrics": {n: _estimate(e, False) for n, e in trust.summary[contender.name].items()},
            "across_metrics": {
                n: _estimate(e, False) for n, e in trust.across.get(contender.name, {}).items()
            },
            "well_metrics": {
                n: _estimate(e, False) for n, e in trust.well_summary.get(contender.name, {}).items()
            },
        }
        for contender in trust.order
    ]


def _resampled(trust: TrustResult) -> str:
    return "held-out perturbations" + (" and training seeds" if trust.board.n_seeds > 1 else "")


def _conditions(trust: TrustResult) -> list[dict[str, Any]]:
    rows = trust.board.conditions.to_dicts()
    for i, row in enumerate(rows):
        row[trust.primary] = {
            c.name: float(trust.board.scores[c.name][trust.primary][i]) for c in trust.order
        }
    return rows


def _record(part: Any, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a part's fields, records inside it as mappings."""
    return {f.name: _unfold(getattr(part, f.name)) for f in fields(part) if f.name not in left_out}


def _scored_stratum(stratum: ScoredStratum) -> dict[str, Any]:
    scores = {
        who: {name: _estimate(estimate, False) for name, estimate in scored.items()}
        for who, scored in stratum.scores.items()
    }
    return {**_record(stratum), "scores": scores}


def _optional(part: Any, left_out: tuple[str, ...] = ()) -> dict[str, Any] | None:
    return None if part is None else _record(part, left_out)


def _unfold(value: Any) -> Any:
    if isinstance(value, Estimate):
        return _estimate(value, False)
    if is_dataclass(value):
        return _record(value)
    if isinstance(value, Mapping):
        return {key: _unfold(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_unfold(item) for item in value]
    return value


def _parts(parts: TrustParts) -> dict[str, Any]:
    return {
        "skill": {metric: _record(skill) for metric, skill in parts.skill.items()},
        "calibration": _optional(parts.calibration),
        "error_curve": _optional(parts.error_curve),
        "gene_correlation": _optional(parts.correlation, ("matrices", "genes")),
        "gene_function": _optional(parts.function),
        "shown": [_record(shown, ("truth", "model", "baseline")) for shown in parts.shown],
        "control_hits": _optional(parts.control_hits),
        "held_out": _optional(parts.held_out),
        "seeds": _optional(parts.seeds),
        "ensemble": _optional(parts.ensemble),
    }


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison of two models as plain JSON."""
    found: dict[str, Any] = plain(
        {**_record(comparison), "difference": _estimate(comparison.difference, True), "text": comparison.text}
    )
    return found


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
        "bootstrap": {"n_draws": trust.n_draws, "seed": trust.seed, "resampled": _resampled(trust)},
        "table": _table(trust),
        "gains": {
            name: {other: _estimate(e, True) for other, e in gains.items()}
            for name, gains in trust.gains.items()
        },
        "dynamic_range": dict(trust.dynamic_range),
        "strata": [{**asdict(s), "gain": _estimate(s.gain, True)} for s in trust.strata],
        "by_members": [_scored_stratum(stratum) for stratum in trust.by_members],
        "by_type": [_scored_stratum(stratum) for stratum in trust.by_type],
        **_parts(trust.parts),
        "notes": trust.notes,
        "not_shown": trust.not_shown,
        "metrics": metrics,
        "conditions": _conditions(trust),
    }
    return json.dumps(plain(content), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
