"""Boards and alerts of training and cluster: queries name metrics and labels that are really exported."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import yaml
from pertcast_jobs.train.gauges import TRAIN_GAUGES
from pertcast_serve.metrics import METRICS
from ray.autoscaler.v2 import metrics_reporter
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES
from ray.serve._private import deployment_state

REPOSITORY = Path(__file__).parents[2]
MONITORING = REPOSITORY / "k8s" / "monitoring"
BOARDS = ("pertcast-training", "pertcast-cluster")
RECORDED = Path(__file__).with_name("exported_by_ray.txt")
OF_TARGETS = frozenset({"namespace"})
"""Labels that Prometheus itself gives to what it reads from a pod or service."""
ON_GPUS = frozenset({"GpuDeviceName", "GpuIndex", "ip"})
OF_KUBERNETES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "kubelet_volume_stats_available_bytes": frozenset({"persistentvolumeclaim"}),
        "kubelet_volume_stats_capacity_bytes": frozenset({"persistentvolumeclaim"}),
        "kube_service_info": frozenset({"service"}),
    }
)
"""What the kubelet and kube-state-metrics export of all namespaces."""
OF_SERVE: Mapping[str, frozenset[str]] = MappingProxyType(
    {"ray_serve_deployment_replica_healthy": frozenset({"deployment", "application"})}
)
"""Exported by Serve alone, which did not run while the list was made."""


class Query(NamedTuple):
    where: str
    text: str


def exported() -> dict[str, frozenset[str]]:
    """Return each series that Prometheus can read -> its labels."""
    lines = [line for line in RECORDED.read_text().splitlines() if not line.startswith("#")]
    found = {
        name: frozenset(labels.split(",")) for name, _, labels in (line.partition(" ") for line in lines)
    }
    found |= {f"ray_{gauge.name}": frozenset(gauge.labels) for gauge in TRAIN_GAUGES}
    found |= {f"ray_{name}": ON_GPUS for name in METRICS_GAUGES if name.startswith(("node_gpu", "node_gram"))}
    for metric in METRICS:
        ends = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
        found |= {f"{metric.name}{end}": frozenset({*metric.labels, "le"}) for end in ends}
    return found | OF_KUBERNETES | OF_SERVE


def board(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MONITORING / "grafana" / f"{name}.json").read_text())
    return found


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return [rule for group in document["spec"]["groups"] for rule in group["rules"]]


def queries() -> Iterator[Query]:
    for name in BOARDS:
        for panel in board(name)["panels"]:
            yield from (Query(f"{name}: {panel['title']}", target["expr"]) for target in panel["targets"])
    yield from (Query(rule["alert"], rule["expr"]) for rule in rules())


def metrics_in(query: str) -> set[str]:
    """Return the metrics that a query names: words that are no function, label, range or keyword."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|without|on) \([^)]*\)|\b(and|or|unless)\b", " ", query)
    return set(re.findall(r"(?<![\w.$])[a-z_][a-z0-9_]*\b(?!\s*\()", bare))


def labels_in(query: str) -> set[str]:
    """Return the labels that a query groups or selects by."""
    grouped = {
        label.strip()
        for group in re.findall(r"\b(?:by|without|on) \(([^)]*)\)", query)
        for label in group.split(",")
    }
    selected = {
        label
        for chosen in re.findall(r"\{([^}]*)\}", query)
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen)
    }
    return grouped | selected


def test_every_query_names_metrics_that_are_exported() -> None:
    known = exported()
    unknown = {query.where: metrics_in(query.text) - set(known) for query in queries()}
    assert not {where: names for where, names in unknown.items() if names}
    assert all(metrics_in(query.text) for query in queries())


def test_every_query_uses_labels_that_its_metrics_have() -> None:
    known = exported()
    for where, text in queries():
        labels = frozenset.union(*(known[name] for name in metrics_in(text))) | OF_TARGETS
        assert labels_in(text) <= labels, where


def test_the_list_of_exported_metrics_is_of_the_installed_ray() -> None:
    assert f"Ray {version('ray')} " in RECORDED.read_text().splitlines()[0]


def test_what_is_asked_of_the_autoscaler_is_written_by_its_second_version_and_kept_right() -> None:
    cluster = next(yaml.safe_load_all((MONITORING.parent / "base/ray-cluster.yaml").read_text()))
    assert cluster["spec"]["autoscalerOptions"]["version"] == "v2"
    written = set(re.findall(r"_prom_metrics\.(\w+)\.", inspect.getsource(metrics_reporter)))
    # Set for what is awaited, never set back to none.
    written.remove("pending_resources")
    asked = {
        name.removeprefix("autoscaler_").removesuffix("_total")
        for query in queries()
        for name in metrics_in(query.text)
        if name.startswith("autoscaler_")
    }
    assert asked and asked <= written


def test_what_is_asked_of_serve_is_exported_by_the_installed_one() -> None:
    source = inspect.getsource(deployment_state)
    for name, labels in OF_SERVE.items():
        assert f'"{name.removeprefix("ray_")}"' in source
        assert all(f'"{label}"' in source for label in labels)


def alert(name: str) -> dict[str, Any]:
    (found,) = (rule for rule in rules() if rule["alert"] == name)
    return found


def test_an_endpoint_of_which_nothing_is_heard_any_more_wakes_somebody() -> None:
    written = (MONITORING.parent / "components/service/endpoint/ray-service.yaml").read_text()
    service = yaml.safe_load(written)["spec"]["serveService"]["metadata"]["name"]
    _, _, silent = alert("PertcastNoReplica")["expr"].partition(" or ")
    there, _, heard = silent.partition(" unless on (namespace) ")
    assert f'kube_service_info{{service="{service}"}}' in there
    assert metrics_in(heard) == set(OF_SERVE) and "==" not in heard and ">" not in heard


def test_a_task_that_waits_for_the_first_node_of_its_group_is_not_said_to_fit_nowhere() -> None:
    nowhere, awaited = alert("PertcastTaskFitsNowhere"), alert("PertcastNodesDoNotCome")
    _, _, coming = nowhere["expr"].partition(" unless on (namespace, SessionName) ")
    assert coming == "sum by (namespace, SessionName) (autoscaler_pending_nodes) > 0"
    assert int(nowhere["for"].removesuffix("m")) > int(awaited["for"].removesuffix("m"))


def test_a_disk_that_fills_up_is_told_of_before_the_kubelet_evicts_pods_at_90_per_cent() -> None:
    metric, _, most = alert("PertcastNodeDiskNearlyFull")["expr"].rpartition(" > ")
    assert metrics_in(metric) == {"ray_node_disk_utilization_percentage"} and float(most) < 90


def test_a_volume_that_fills_up_wakes_somebody() -> None:
    (claim,) = yaml.safe_load_all((MONITORING.parent / "base/storage.yaml").read_text())
    for metric in ("available", "capacity"):
        series = f'kubelet_volume_stats_{metric}_bytes{{persistentvolumeclaim="{claim["metadata"]["name"]}"}}'
        assert series in alert("PertcastVolumeNearlyFull")["expr"]


@pytest.mark.parametrize("file", ["alerts.yaml", "monitors.yaml"])
def test_what_prometheus_shall_load_can_be_chosen_by_one_label(file: str) -> None:
    documents = list(yaml.safe_load_all((MONITORING / file).read_text()))
    assert documents
    for document in documents:
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "pertcast"


def test_every_gauge_of_training_is_drawn() -> None:
    drawn = {name for query in queries() for name in metrics_in(query.text)}
    assert {f"ray_{gauge.name}" for gauge in TRAIN_GAUGES} <= drawn


def test_a_query_of_an_unknown_metric_or_label_is_found() -> None:
    known = exported()
    assert metrics_in('sum by (ip) (ray_node_cpu_use{ip="1"})') - set(known) == {"ray_node_cpu_use"}
    assert labels_in('sum by (host, ip) (ray_node_cpu_count{kind!="x"}[1d:1m])') == {"host", "ip", "kind"}


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_one_that_grafana_draws(name: str) -> None:
    found = board(name)
    panels = found["panels"]
    assert found["uid"] == name
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    for panel in panels:
        assert panel["title"] and panel["description"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def heading_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_alert_tells_what_to_do_in_a_section_that_exists() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert anchor in heading_anchors(REPOSITORY / page), rule["alert"]
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"]["summary"]
