"""Through HTTP and Ray Serve: the offline numbers, batches that form, overload that says so."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from pertcast.predictor import Predictor
from pertcast_data.errors import ConfigError
from pertcast_serve.config import Limits, PredictorSettings, ServeConfig
from pertcast_serve.ports import free_port
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.models import Metadata
from pertcast_serve.schemas.predict import PredictResponse

pytestmark = pytest.mark.ray

HELD, WAITING = 16, 16
"""Requests that the only replica holds, and that may wait for it (or for being sent to it)."""


@pytest.fixture(scope="module")
def server(ray_cluster: Any, tiny_bundle: Path) -> Iterator[str]:
    from pertcast_serve.server import serving

    settings = PredictorSettings(
        max_replicas=1, rows_per_pass=(8,), max_ongoing_requests=HELD, max_queued_requests=WAITING
    )
    config = ServeConfig(models={"default": tiny_bundle}, predictor=settings)
    with serving(config) as url:
        yield url


def condition(number: int) -> dict[str, Any]:
    return {"cell_iname": "HT29", "pert_id": f"drug-{number}", "pert_dose": 10.0, "pert_time": 24.0}


def at_once(url: str, count: int, conditions: list[dict[str, Any]] | None = None) -> list[httpx.Response]:
    """Send `count` requests at the same time, of one drug each unless told; return the answers in order."""
    limits = httpx.Limits(max_connections=count)
    with (
        httpx.Client(base_url=url, limits=limits, timeout=120) as client,
        ThreadPoolExecutor(count) as pool,
    ):

        def send(number: int) -> httpx.Response:
            asked = conditions or [condition(number % 12)]
            return client.post("/v1/predict", json={"conditions": asked})

        return list(pool.map(send, range(count)))


def test_a_server_is_ready_with_its_bundle_loaded(server: str, tiny_bundle: Path) -> None:
    assert httpx.get(f"{server}/v1/health/ready").json() == {"status": "ready"}
    metadata = Metadata.model_validate_json(httpx.get(f"{server}/v1/metadata").content)
    assert metadata.bundle == Predictor.from_bundle(tiny_bundle).bundle.content_hash


def test_requests_at_once_are_batched_and_each_gets_the_offline_numbers(
    server: str, tiny_bundle: Path
) -> None:
    from pertcast_serve.server import APPLICATION
    from ray import serve

    answers = at_once(server, HELD)
    assert Counter(answer.status_code for answer in answers) == {200: HELD}
    sizes = serve.get_deployment_handle("BatchedPredictor", APPLICATION).batch_sizes.remote().result()
    assert sum(sizes) >= HELD
    assert max(sizes) > 1
    table = pl.DataFrame([{**condition(i), "pert_type": "trt_cp"} for i in range(12)])
    expected = Predictor.from_bundle(tiny_bundle).predict(table, batch_size=8)
    for number, answer in enumerate(answers):
        body = PredictResponse.model_validate_json(answer.content)
        assert np.array_equal(np.float32(body.mean), expected.mean[number % 12])


def test_bad_requests_are_problems_through_the_proxy_too(server: str) -> None:
    url = f"{server}/v1/predict"
    unknown_gene = {"conditions": [condition(1)], "genes": ["GENE99"]}
    for status, options in (
        (422, {"json": {"conditions": [{**condition(1), "pert_dose": "ten"}]}}),
        (422, {"json": unknown_gene}),
        (422, {"content": b"{", "headers": {"content-type": "application/json"}}),
        (413, {"content": b" " * (Limits().body_bytes + 1)}),
    ):
        answer = httpx.post(url, **options)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert Problem.model_validate_json(answer.content).detail


def test_overload_is_refused_at_once_with_the_time_to_wait(server: str) -> None:
    answers = at_once(server, HELD + WAITING + 40, [condition(number % 12) for number in range(256)])
    found = Counter(answer.status_code for answer in answers)
    assert found.keys() == {200, 503}
    assert found[200] >= HELD
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "1"
            assert "busy" in Problem.model_validate_json(answer.content).detail


def test_a_second_server_in_one_ray_is_refused_and_the_first_goes_on(server: str, tiny_bundle: Path) -> None:
    from pertcast_serve.server import serving

    with (
        pytest.raises(ConfigError, match="runs here already"),
        serving(ServeConfig(models={"default": tiny_bundle})),
    ):
        pass
    assert httpx.get(f"{server}/v1/health/ready").status_code == 200


def test_a_port_in_use_is_refused_with_the_remedy(server: str, tiny_bundle: Path) -> None:
    from pertcast_serve.server import serving

    config = ServeConfig(models={"default": tiny_bundle})
    port = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        with pytest.raises(ConfigError, match=f"Port {port}.*--port"), serving(config, port):
            pass
