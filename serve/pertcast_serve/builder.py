"""Builds the Serve application from typed settings, for `pertcast serve` and for `serve run`.

A cluster names ``pertcast_serve.builder:build`` in its serve configuration. Ray makes the settings of its
arguments by the type that `build` names, and reads no type from a string: no postponed annotations here.
"""

from typing import Any

from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from pertcast_serve.access.install import require_usable
from pertcast_serve.analysis.checked import require_searchable
from pertcast_serve.config import Scaling, ServeConfig
from pertcast_serve.deployments.analysis import Analysis
from pertcast_serve.deployments.ingress import Ingress
from pertcast_serve.deployments.page import Page
from pertcast_serve.deployments.predictor import BatchedPredictor
from pertcast_serve.prediction.registry import ModelRegistry

LOAD_INTERVAL_S = 1.0
"""How often load is measured; scaling looks at the last three measurements."""
PAGES_AT_ONCE = 64
_SPARE_REQUESTS = 64
_HEALTH_PERIOD_S = 5.0


def build(config: ServeConfig) -> Application:
    """Return the application: ingress, page, analysis and autoscaled predictor.

    Raises
    ------
    ConfigError, CorruptBundle
        A folder holds no bundle, or its JSON is damaged; a library or gene sets cannot be searched; keys or
        the audit log cannot be used.
    """
    ModelRegistry(config.models)
    require_searchable(config)
    require_usable(config.access)
    predictor = BatchedPredictor.options(**_scaled(config.predictor)).bind(config)  # type: ignore[attr-defined]
    analysis = Analysis.options(**_scaled(config.analysis)).bind(predictor, config)  # type: ignore[attr-defined]
    page = Page.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=PAGES_AT_ONCE,
        max_queued_requests=PAGES_AT_ONCE,
    ).bind(predictor, analysis, config)
    # The ingress holds more than all behind it, so that overload is answered by it, with a remedy.
    held = config.predictor.capacity + config.analysis.capacity + 2 * PAGES_AT_ONCE + _SPARE_REQUESTS
    ingress = Ingress.options(  # type: ignore[attr-defined]
        num_replicas=config.ingress_replicas,
        ray_actor_options={"num_cpus": 0.1},
        max_ongoing_requests=held,
        graceful_shutdown_timeout_s=config.predictor.drain_s,
    )
    return ingress.bind(predictor, analysis, page, config)


def _scaled(scaling: Scaling) -> dict[str, Any]:
    """Return the options of an autoscaled deployment."""
    return {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=scaling.min_replicas,
            initial_replicas=max(1, scaling.min_replicas),
            max_replicas=scaling.max_replicas,
            target_ongoing_requests=scaling.target_ongoing_requests,
            metrics_interval_s=LOAD_INTERVAL_S,
            look_back_period_s=3 * LOAD_INTERVAL_S,
            upscale_delay_s=scaling.upscale_delay_s,
            downscale_delay_s=scaling.downscale_delay_s,
        ),
        "max_ongoing_requests": scaling.max_ongoing_requests,
        "max_queued_requests": scaling.max_queued_requests,
        "graceful_shutdown_timeout_s": scaling.drain_s,
        "health_check_period_s": _HEALTH_PERIOD_S,
        "ray_actor_options": {"num_cpus": scaling.cpus_per_replica, "num_gpus": scaling.gpus_per_replica},
    }
