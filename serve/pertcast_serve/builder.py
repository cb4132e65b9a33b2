"""Builds the Serve application from typed settings, for `pertcast serve` and for `serve run`.

A cluster names ``pertcast_serve.builder:build`` in its serve configuration.
"""

from __future__ import annotations

from pertcast.training.bundle import find_bundle
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from pertcast_serve.config import ServeConfig
from pertcast_serve.deployments.ingress import Ingress
from pertcast_serve.deployments.predictor import BatchedPredictor

LOAD_INTERVAL_S = 1.0
"""How often load is measured; scaling looks at the last three measurements."""
_SPARE_REQUESTS = 64


def build(config: ServeConfig) -> Application:
    """Return the application: ingress and autoscaled predictor; ConfigError where there is no bundle."""
    settings = config.predictor
    for path in config.models.values():
        find_bundle(path)
    predictor = BatchedPredictor.options(  # type: ignore[attr-defined]
        autoscaling_config=AutoscalingConfig(
            min_replicas=settings.min_replicas,
            initial_replicas=max(1, settings.min_replicas),
            max_replicas=settings.max_replicas,
            target_ongoing_requests=settings.target_ongoing_requests,
            metrics_interval_s=LOAD_INTERVAL_S,
            look_back_period_s=3 * LOAD_INTERVAL_S,
            upscale_delay_s=settings.upscale_delay_s,
            downscale_delay_s=settings.downscale_delay_s,
        ),
        max_ongoing_requests=settings.max_ongoing_requests,
        max_queued_requests=settings.max_queued_requests,
        ray_actor_options={"num_cpus": settings.cpus_per_replica, "num_gpus": settings.gpus_per_replica},
    ).bind(config)
    # The ingress holds more than the predictor, so that overload is answered by it, with a remedy.
    ingress = Ingress.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=settings.capacity + _SPARE_REQUESTS
    )
    return ingress.bind(predictor, config)
