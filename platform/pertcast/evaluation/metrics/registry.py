"""All metrics, each registered once: name, formula, direction, best value, source."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pertcast_data.errors import ConfigError, nearest_known

from pertcast.evaluation.metrics.cells import CELL_METRICS
from pertcast.evaluation.metrics.metric import Level, Metric
from pertcast.evaluation.metrics.ranks import RANK_METRICS
from pertcast.evaluation.metrics.responders import RESPONDER_METRICS
from pertcast.evaluation.metrics.responses import RESPONSE_METRICS
from pertcast.evaluation.metrics.retrieval import RETRIEVAL_METRICS
from pertcast.evaluation.metrics.train_mean import TRAIN_MEAN_METRICS
from pertcast.evaluation.metrics.weighted import WEIGHTED_METRICS
from pertcast.evaluation.metrics.wells import WELL_METRICS

_ALL: Final = (
    *RESPONSE_METRICS,
    *TRAIN_MEAN_METRICS,
    *WEIGHTED_METRICS,
    *RETRIEVAL_METRICS,
    *RANK_METRICS,
    *RESPONDER_METRICS,
    *WELL_METRICS,
    *CELL_METRICS,
)

METRICS: Final[Mapping[str, Metric]] = MappingProxyType({metric.name: metric for metric in _ALL})
"""Name -> metric; condition-level metrics first, then those of wells, then those of cells."""

PRIMARY_METRIC: Final = "pearson_delta"
"""What verdicts are about, decided beforehand: the mean over conditions of `pearson_delta`."""


def get_metric(name: str) -> Metric:
    """Return a metric by name; raises ConfigError with the nearest known names."""
    if name not in METRICS:
        near = nearest_known(name, METRICS)
        raise ConfigError(f"Unknown metric {name!r}. Nearest known: {', '.join(near) or ', '.join(METRICS)}.")
    return METRICS[name]


def metrics_of_level(level: Level) -> tuple[Metric, ...]:
    """Return the registered metrics of one level, in order."""
    return tuple(metric for metric in METRICS.values() if metric.level == level)
