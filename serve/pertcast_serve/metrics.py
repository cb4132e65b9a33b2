"""What the server counts, in one place: names, labels, and one function for each event.

Inside a Ray actor Ray collects the numbers, so that they add up over replicas and nodes; elsewhere they
stay in this process. Ray is imported only where it runs already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

Kind = Literal["counter", "histogram"]

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LOAD_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


@dataclass(frozen=True)
class Metric:
    """One metric as Prometheus names it.

    Attributes
    ----------
    name
        Its name; a histogram's series carry `_bucket`, `_sum` and `_count` after it.
    kind
        A counter only rises; a histogram counts observations up to each bound.
    text
        What is counted, and in which unit.
    labels
        Names of its labels.
    bounds
        Upper bounds of a histogram, rising.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


PREDICTIONS: Final = Metric("pertcast_predictions_total", "counter", "Conditions predicted.", ("model",))
OUT_OF_DOMAIN: Final = Metric(
    "pertcast_out_of_domain_total", "counter", "Predicted conditions far from all of training.", ("model",)
)
PREDICT_LATENCY: Final = Metric(
    "pertcast_predict_latency_seconds",
    "histogram",
    "Time from a checked request to its predictions, waiting included.",
    ("model",),
    _SECONDS,
)
BATCH_SIZE: Final = Metric(
    "pertcast_batch_size", "histogram", "Conditions that were predicted together.", (), _SIZES
)
MODEL_LOAD: Final = Metric(
    "pertcast_model_load_seconds",
    "histogram",
    "Time to load a bundle and run its warm-up.",
    ("model",),
    _LOAD_SECONDS,
)
SCREEN_PROFILES: Final = Metric(
    "pertcast_screen_profiles_done_total", "counter", "Profiles that screens of the server have written."
)
REQUESTS: Final = Metric(
    "pertcast_requests_total", "counter", "Answers by route template and status.", ("path", "status")
)
REQUEST_SECONDS: Final = Metric(
    "pertcast_request_seconds",
    "histogram",
    "Time from a request to the end of its answer.",
    ("path",),
    _SECONDS,
)
METRICS: Final = (
    PREDICTIONS,
    OUT_OF_DOMAIN,
    PREDICT_LATENCY,
    BATCH_SIZE,
    MODEL_LOAD,
    SCREEN_PROFILES,
    REQUESTS,
    REQUEST_SECONDS,
)


class Recorder(Protocol):
    """Where numbers go."""

    def add(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Raise a counter by `value` (0 leaves it), or add an observation to a histogram."""


class LocalRecorder:
    """Keeps the numbers of this process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._instruments: dict[str, Counter | Histogram] = {
            metric.name: self._instrument(metric) for metric in METRICS
        }

    def _instrument(self, metric: Metric) -> Counter | Histogram:
        if metric.kind == "counter":
            return Counter(metric.name, metric.text, metric.labels, registry=self._registry)
        return Histogram(
            metric.name, metric.text, metric.labels, registry=self._registry, buckets=metric.bounds
        )

    def add(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Raise a counter by `value`, or add an observation to a histogram."""
        found = self._instruments[metric.name]
        child = found.labels(**labels) if labels else found
        if isinstance(child, Counter):
            child.inc(value)
        else:
            child.observe(value)

    def text(self) -> str:
        """Return all numbers in Prometheus' text format."""
        lines = generate_latest(self._registry).decode().splitlines(keepends=True)
        # When a series began says nothing here, and Ray does not tell it.
        return "".join(line for line in lines if "_created" not in line)


class RayRecorder:
    """Hands the numbers to Ray, whose agent on each node exports them with the process they come from."""

    def __init__(self) -> None:
        from ray.util import metrics

        self._instruments: dict[str, Any] = {
            metric.name: metrics.Counter(metric.name, metric.text, metric.labels)
            if metric.kind == "counter"
            else metrics.Histogram(metric.name, metric.text, list(metric.bounds), metric.labels)
            for metric in METRICS
        }

    def add(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Raise a counter by `value`, or add an observation to a histogram."""
        instrument = self._instruments[metric.name]
        if metric.kind == "histogram":
            instrument.observe(value, dict(labels))
        elif value > 0:
            instrument.inc(value, dict(labels))


def is_in_ray_actor() -> bool:
    """Return whether this process is a Ray actor, as every replica is; it does not import Ray."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    return ray.get_runtime_context().get_actor_id() is not None


@cache
def recorder() -> Recorder:
    """Return where the numbers of this process go; decided once, at the first event."""
    return RayRecorder() if is_in_ray_actor() else LocalRecorder()


def _name_of(model: str) -> str:
    """Return a model's name without its version: each swap would begin a new series otherwise."""
    return model.partition("@")[0]


def count_predictions(model: str, rows: int, out_of_domain: int) -> None:
    """Count `rows` predicted conditions of a served model, of which `out_of_domain` are far from training."""
    labels = {"model": _name_of(model)}
    recorder().add(PREDICTIONS, rows, labels)
    recorder().add(OUT_OF_DOMAIN, out_of_domain, labels)


def observe_predict_latency(model: str, seconds: float) -> None:
    """Count one predicted request and the seconds that it took."""
    recorder().add(PREDICT_LATENCY, seconds, {"model": _name_of(model)})


def observe_batch(size: int) -> None:
    """Count one batch of `size` conditions that are predicted together."""
    recorder().add(BATCH_SIZE, size, {})


def observe_model_load(model: str, seconds: float) -> None:
    """Count one bundle that was loaded and warmed up in `seconds`."""
    recorder().add(MODEL_LOAD, seconds, {"model": _name_of(model)})


def add_screen_profiles(count: int) -> None:
    """Count `count` more profiles that a screen has written."""
    recorder().add(SCREEN_PROFILES, count, {})


def count_request(path: str, status: int, seconds: float) -> None:
    """Count one answer of a route (its template, so that series stay few) and the seconds that it took."""
    recorder().add(REQUESTS, 1, {"path": path, "status": str(status)})
    recorder().add(REQUEST_SECONDS, seconds, {"path": path})
