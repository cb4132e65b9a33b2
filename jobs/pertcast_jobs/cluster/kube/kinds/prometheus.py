"""The kinds of the Prometheus operator (0.8x), with all fields that it publishes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pertcast_jobs.cluster.kube.kinds.fields import Count, Fields, Plain


class Selector(Fields):
    """Labels that things must have."""

    match_labels: Mapping[str, str] = Field(default_factory=dict)
    match_expressions: Annotated[tuple[Plain, ...], Field(strict=False)] = ()


class Endpoint(Fields):
    """One port that Prometheus reads."""

    port: str | None = None
    port_number: Count | None = None
    target_port: int | str | None = None
    path: str | None = None
    scheme: Literal["http", "https"] | None = None
    interval: str | None = None
    scrape_timeout: str | None = None
    honor_labels: bool | None = None
    params: Plain | None = None
    relabelings: Annotated[tuple[Plain, ...], Field(strict=False)] = ()
    metric_relabelings: Annotated[tuple[Plain, ...], Field(strict=False)] = ()
    tls_config: Plain | None = None
    authorization: Plain | None = None
    basic_auth: Plain | None = None
    oauth2: Plain | None = None
    bearer_token_file: str | None = None
    bearer_token_secret: Plain | None = None
    honor_timestamps: bool | None = None
    track_timestamps_staleness: bool | None = None
    follow_redirects: bool | None = None
    enable_http2: bool | None = None
    filter_running: bool | None = None
    proxy_url: str | None = None
    no_proxy: str | None = None
    proxy_from_environment: bool | None = None
    proxy_connect_header: Plain | None = None


class _MonitorSpec(Fields):
    """What both monitors say."""

    selector: Selector
    namespace_selector: Plain | None = None
    job_label: str | None = None
    pod_target_labels: Annotated[tuple[str, ...], Field(strict=False)] = ()
    selector_mechanism: str | None = None
    sample_limit: Count | None = None
    target_limit: Count | None = None
    label_limit: Count | None = None
    label_name_length_limit: Count | None = None
    label_value_length_limit: Count | None = None
    keep_dropped_targets: Count | None = None
    body_size_limit: str | None = None
    native_histogram_bucket_limit: Count | None = None
    native_histogram_min_bucket_factor: int | str | None = None
    scrape_classic_histograms: bool | None = None
    scrape_native_histograms: bool | None = None
    convert_classic_histograms_to_nhcb: bool | None = Field(None, alias="convertClassicHistogramsToNHCB")
    scrape_protocols: Annotated[tuple[str, ...], Field(strict=False)] = ()
    fallback_scrape_protocol: str | None = None
    scrape_class: str | None = None
    attach_metadata: Plain | None = None


class ServiceMonitorSpec(_MonitorSpec):
    """Ports of services that Prometheus reads."""

    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1, strict=False)]
    service_discovery_role: str | None = None
    target_labels: Annotated[tuple[str, ...], Field(strict=False)] = ()


class PodMonitorSpec(_MonitorSpec):
    """Ports of pods that Prometheus reads."""

    pod_metrics_endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1, strict=False)]


class AlertRule(Fields):
    """An alert, or a recorded expression."""

    expr: str | int
    alert: str | None = None
    record: str | None = None
    for_: str | None = Field(None, alias="for")
    keep_firing_for: str | None = Field(None, alias="keep_firing_for")
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> AlertRule:
        if (self.alert is None) == (self.record is None):
            raise ValueError("a rule is either an alert or a record")
        return self


class RuleGroup(Fields):
    """Rules that are evaluated one after the other."""

    name: str = Field(min_length=1)
    rules: Annotated[tuple[AlertRule, ...], Field(min_length=1, strict=False)]
    interval: str | None = None
    limit: int | None = None
    labels: Mapping[str, str] | None = None
    query_offset: str | None = Field(None, alias="query_offset")
    partial_response_strategy: str | None = Field(None, alias="partial_response_strategy")


class PrometheusRuleSpec(Fields):
    """Alerts and recorded expressions."""

    groups: Annotated[tuple[RuleGroup, ...], Field(min_length=1, strict=False)]
