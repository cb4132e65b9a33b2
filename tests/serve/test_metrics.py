"""Metrics: counted where they happen, gathered from every node under our names, drawn by the dashboard."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from pertcast_serve import exported_metrics, metrics
from pertcast_serve.access.install import install_access
from pertcast_serve.access.keys import change_keys, new_key
from pertcast_serve.config import ServeConfig
from pertcast_serve.endpoints import metrics as metrics_endpoint
from pertcast_serve.endpoints import predict
from pertcast_serve.exported_metrics import gathered, merged
from pertcast_serve.metrics import METRICS, LocalRecorder
from pertcast_serve.problems import install_handlers
from pertcast_serve.schemas.predict import PredictRequest
from pertcast_serve.services import Services

Call = Callable[..., httpx.Response]
OF_RAY = (
    'Component="core_worker",NodeAddress="10.0.0.{node}",SessionName="session_1",Version="2.60.0",'
    'WorkerId="{worker}"'
)
OTEL = 'otel_scope_name="ray._private",otel_scope_schema_url="",otel_scope_version=""'


def export_of(node: int, worker: str, rows: float, model: str = "default") -> str:
    """Return what a node's agent exports, cut short; labels are in the order that Ray gives them."""
    who = OF_RAY.format(node=node, worker=worker)
    return f"""# HELP ray_gcs_actors_count Actors
# TYPE ray_gcs_actors_count gauge
ray_gcs_actors_count{{{who}}} 7.0
# HELP ray_pertcast_predictions_total Conditions predicted.
# TYPE ray_pertcast_predictions_total counter
ray_pertcast_predictions_total{{{who},model="{model}",{OTEL}}} {rows}
# HELP ray_pertcast_batch_size Conditions that were predicted together.
# TYPE ray_pertcast_batch_size histogram
ray_pertcast_batch_size_bucket{{{who},le="1.0",{OTEL}}} 1.0
ray_pertcast_batch_size_bucket{{{who},le="+Inf",{OTEL}}} 2.0
ray_pertcast_batch_size_count{{{who},{OTEL}}} 2.0
ray_pertcast_batch_size_sum{{{who},{OTEL}}} 9.0
ray_pertcast_of_someone_else{{{who}}} 1.0
"""


def series(text: str) -> dict[str, float]:
    found = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in found}


def test_events_add_up_and_versions_of_a_model_are_one_series(monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalRecorder()
    monkeypatch.setattr(metrics, "recorder", lambda: local)
    metrics.count_predictions("default@0123", 256, 3)
    metrics.count_predictions("default@4567", 1, 0)
    metrics.observe_batch(3)
    metrics.observe_batch(600)
    metrics.observe_model_load("default", 0.3)
    metrics.observe_predict_latency("default", 0.02)
    metrics.add_screen_profiles(500)
    metrics.count_request("/v1/predict", 200, 0.02)
    metrics.count_request("/v1/predict", 503, 0.02)
    found = series(local.text())
    assert found['pertcast_predictions_total{model="default"}'] == 257
    assert found['pertcast_out_of_domain_total{model="default"}'] == 3
    assert found['pertcast_batch_size_bucket{le="4.0"}'] == 1
    assert (found["pertcast_batch_size_sum"], found["pertcast_batch_size_count"]) == (603, 2)
    assert found['pertcast_model_load_seconds_bucket{le="0.5",model="default"}'] == 1
    assert found['pertcast_predict_latency_seconds_count{model="default"}'] == 1
    assert found["pertcast_screen_profiles_done_total"] == 500
    assert found['pertcast_requests_total{path="/v1/predict",status="503"}'] == 1
    assert found['pertcast_request_seconds_count{path="/v1/predict"}'] == 2


def test_the_metrics_of_all_nodes_are_merged_under_our_names_and_processes_stay_apart() -> None:
    strange = r"a\"b,c=\"d}"
    text = merged([export_of(1, "aa", 3), export_of(2, "bb", 4.5, model=strange)])
    found = series(text)
    assert found['pertcast_predictions_total{node="10.0.0.1",process="aa",model="default"}'] == 3
    assert found[f'pertcast_predictions_total{{node="10.0.0.2",process="bb",model="{strange}"}}'] == 4.5
    assert found['pertcast_batch_size_bucket{node="10.0.0.2",process="bb",le="+Inf"}'] == 2
    assert not [name for name in found if "gcs" in name or "someone" in name or "otel" in name]
    assert text.count("# TYPE pertcast_predictions_total counter\n") == 1
    assert text.count("# TYPE pertcast_batch_size histogram\n") == 1
    lines = [line for line in text.splitlines() if "pertcast_batch_size" in line]
    together = text.splitlines().index(lines[0])
    assert text.splitlines()[together : together + len(lines)] == lines


def test_what_we_export_is_what_prometheus_parses() -> None:
    from prometheus_client.parser import text_string_to_metric_families as parsed

    local = LocalRecorder()
    local.add(metrics.BATCH_SIZE, 3, {})
    for text in (merged([export_of(1, "aa", 3), export_of(2, "bb", 4)]), local.text()):
        families = {family.name: family for family in parsed(text)}
        assert families["pertcast_batch_size"].type == "histogram"
        assert {metric.name.removesuffix("_total") for metric in METRICS} == families.keys()


@pytest.fixture
def agent() -> Iterator[str]:
    """Yield the address of something that exports as a node's agent does."""

    class Agent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(export_of(1, "aa", 3).encode())

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Agent)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_node_that_does_not_answer_is_named_and_the_others_are_given(
    agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported_metrics, "NODE_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute, socket.create_server(("127.0.0.1", 0)) as gone:
        silent = f"127.0.0.1:{mute.getsockname()[1]}"
        closed = f"127.0.0.1:{gone.getsockname()[1]}"
        gone.close()
        text = asyncio.run(gathered([silent, agent, closed]))
    comments = [line for line in text.splitlines() if line.startswith("# no answer")]
    assert [line.split()[5] for line in comments] == [f"{silent}:", f"{closed}:"]
    assert series(text)['pertcast_predictions_total{node="10.0.0.1",process="aa",model="default"}'] == 3


class OneAnswer:
    async def predict(self, request: PredictRequest, media_type: str) -> bytes:
        return b"{}"


def interface(access: dict[str, Any]) -> FastAPI:
    config = ServeConfig.model_validate({"models": {"first": "x"}, "access": access})
    services = Services(predictor=OneAnswer(), analysis=None, screens=None, page=None)  # type: ignore[arg-type]
    api = FastAPI()
    for subject in (predict, metrics_endpoint):
        subject.add_routes(api, services, config)
    install_handlers(api)
    install_access(api, config)
    return api


def call(api: FastAPI, method: str, path: str, address: str = "127.0.0.1", **options: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(api, False, client=(address, 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **options)

    return anyio.run(once)


def test_requests_are_counted_by_route_and_status_whatever_callers_ask_for() -> None:
    api = interface({})
    before = series(call(api, "GET", "/metrics").text)
    body = {"conditions": [{"cell_iname": "A375", "pert_id": "drug-1"}]}
    for path in ("/v1/predict", "/v1/predict?x=1", "/nothing/1", "/nothing/2"):
        call(api, "POST", path, json=body)
    call(api, "POST", "/v1/predict", json={})
    answer = call(api, "GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    after = series(answer.text)
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    assert grown['pertcast_requests_total{path="/v1/predict",status="200"}'] == 2
    assert grown['pertcast_requests_total{path="/v1/predict",status="422"}'] == 1
    assert grown['pertcast_requests_total{path="unmatched",status="404"}'] == 2
    assert grown['pertcast_request_seconds_count{path="/v1/predict"}'] == 3
    assert grown['pertcast_predict_latency_seconds_count{model="first"}'] == 2
    assert not [name for name in after if "nothing" in name]


def test_metrics_are_for_administrators_and_for_scrapers_of_the_trusted_networks(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = [new_key("a", [scope]) for scope in ("admin", "predict")]  # type: ignore[list-item]
    change_keys(path, lambda before: tuple(key for _, key in made), may_create=True)
    admin, other = ({"x-api-key": text} for text, _ in made)
    guarded = interface({"keys": path, "trusted_proxy": {"networks": ["10.0.0.0/8"]}})
    assert call(guarded, "GET", "/metrics", headers=admin).status_code == 200
    assert call(guarded, "GET", "/metrics", "10.0.0.9").status_code == 200
    assert call(interface({}), "GET", "/metrics").status_code == 200
    refused = call(guarded, "GET", "/metrics", headers=other)
    assert (refused.status_code, "'admin'" in refused.json()["detail"]) == (403, True)
    unknown = call(guarded, "GET", "/metrics")
    assert (unknown.status_code, "scope admin" in unknown.json()["detail"]) == (401, True)
    assert "www-authenticate" in unknown.headers
    # A user whom the proxy names comes from its address too.
    user = call(guarded, "GET", "/metrics", "10.0.0.9", headers={"x-forwarded-user": "ada"})
    assert user.status_code == 403


def test_counting_outside_of_ray_does_not_import_it() -> None:
    program = (
        "import sys; sys.modules['ray'] = None\n"
        "from pertcast_serve.metrics import count_predictions, recorder\n"
        "count_predictions('default', 3, 0)\n"
        "print([line for line in recorder().text().splitlines() if line.startswith('pertcast_pred')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert """'pertcast_predictions_total{model="default"} 3.0'""" in done.stdout


def dashboard(repository: Path) -> dict[str, Any]:
    path = repository / "k8s/monitoring/grafana/pertcast-serving.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def queries(repository: Path) -> list[str]:
    return [target["expr"] for panel in dashboard(repository)["panels"] for target in panel["targets"]]


def names_in(query: str) -> set[str]:
    """Return the metrics that a query names: words that are no function, label, range or keyword."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|without) \([^)]*\)", " ", query)
    return set(re.findall(r"(?<![\w.$])[a-z_][a-z0-9_]*\b(?!\s*\()", bare))


def test_the_dashboard_names_only_metrics_that_exist(repository: Path) -> None:
    ours = {name.removeprefix("ray_") for name in exported_metrics.series_of_metrics()}
    named = {name for query in queries(repository) for name in names_in(query)}
    assert {name for name in named if not name.startswith("ray_")} <= ours
    drawn = {metric.name for metric in METRICS if any(name.startswith(metric.name) for name in named)}
    assert drawn == {metric.name for metric in METRICS}


def test_the_dashboard_groups_by_labels_that_the_metrics_have(repository: Path) -> None:
    labels = {label for metric in METRICS for label in metric.labels} | {"le", "deployment"}
    for query in queries(repository):
        for group in re.findall(r"by \(([^)]*)\)", query):
            assert {label.strip() for label in group.split(",")} <= labels, query


def test_the_dashboard_is_one_that_grafana_draws(repository: Path) -> None:
    board = dashboard(repository)
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"] and panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
    assert board["templating"]["list"][0]["name"] == "datasource"
