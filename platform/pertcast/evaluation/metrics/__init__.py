"""The metrics of the trust report: a registry, and the formulas by subject.

Notation: y predicted and x true response of a condition (profile minus matched control), over G genes;
N conditions. Every metric gives one value a condition (or a well), NaN where it is undefined.
"""

from pertcast.evaluation.metrics.metric import Level, Metric
from pertcast.evaluation.metrics.registry import METRICS, PRIMARY_METRIC, get_metric, metrics_of_level

__all__ = ["METRICS", "PRIMARY_METRIC", "Level", "Metric", "get_metric", "metrics_of_level"]
