"""Through HTTP and Ray Serve: the offline numbers, batches that form, overload that says so."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from bundle_copies import changed_copy, point
from pertcast.predictor import Predictor
from pertcast_data.errors import ConfigError
from pertcast_serve.config import Limits, PredictorSettings, Scaling, ServeConfig
from pertcast_serve.ports import free_port
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.models import Metadata
from pertcast_serve.schemas.predict import PredictResponse

pytestmark = pytest.mark.ray

HELD, WAITING = 16, 16
"""Requests that the only replica holds, and that may wait for it (or for being sent to it)."""


@pytest.fixture(scope="module")
def link(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a link to the bundle: tests turn it to other bundles, and back."""
    link = tmp_path_factory.mktemp("served") / "bundle"
    link.symlink_to(tiny_bundle)
    return link


@pytest.fixture(scope="module")
def server(ray_cluster: Any, tiny_bundle: Path, link: Path) -> Iterator[str]:
    from pertcast_serve.server import serving

    settings = PredictorSettings(
        max_replicas=1,
        rows_per_pass=(8,),
        max_ongoing_requests=HELD,
        max_queued_requests=WAITING,
        cpus_per_replica=0.2,
    )
    analysis = Scaling(max_replicas=1, cpus_per_replica=0.2)
    models = {"default": link, "second": tiny_bundle}
    with serving(ServeConfig(models=models, predictor=settings, analysis=analysis)) as url:
        yield url


PLAIN = {
    "cell_iname": "HT29",
    "pert_id": "drug-1",
    "pert_type": "trt_cp",
    "pert_dose": 10.0,
    "pert_time": 24.0,
}


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


def versions(server: str) -> dict[str, dict[str, Any]]:
    return {model["id"]: model for model in httpx.get(f"{server}/v1/models").json()}


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_requests_for_two_models_are_mixed_and_each_is_answered_by_its_own(server: str) -> None:
    with httpx.Client(base_url=server, timeout=120) as client, ThreadPoolExecutor(HELD) as pool:

        def send(number: int) -> dict[str, Any]:
            body = {"conditions": [condition(1)], "model": ("default", "second")[number % 2]}
            answer: dict[str, Any] = client.post("/v1/predict", json=body).json()
            return answer

        answers = list(pool.map(send, range(HELD)))
    names = [answer["model"].partition("@")[0] for answer in answers]
    assert names == ["default", "second"] * (HELD // 2)
    assert len({tuple(answer["mean"]) for answer in answers}) == 1, "it is one bundle under two names"


def test_a_new_bundle_is_served_without_a_failed_request_and_the_old_version_answers_on(
    server: str, link: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    old = versions(server)["default"]["version"]
    before = Predictor.from_bundle(tiny_bundle).predict(pl.DataFrame([PLAIN]), batch_size=8).mean[0]
    other = changed_copy(tiny_bundle, tmp_path / "other")
    after = Predictor.from_bundle(other).predict(pl.DataFrame([PLAIN]), batch_size=8).mean[0]
    assert not np.array_equal(before, after)
    expected = {old: before, Predictor.from_bundle(other).bundle.content_hash[:12]: after}
    answers: list[httpx.Response] = []
    over = threading.Event()

    def send_on() -> None:
        with httpx.Client(base_url=server, timeout=120) as client:
            while not over.is_set():
                answers.append(client.post("/v1/predict", json={"conditions": [condition(1)]}))

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(send_on) for _ in range(4)]
        try:
            point(link, other)
            wait_until(lambda: versions(server)["default"]["version"] != old, "the new bundle is not served")
            enough = len(answers) + 20
            wait_until(lambda: len(answers) >= enough, "no answers of the new version")
        finally:
            over.set()
            point(link, tiny_bundle)
        for each in clients:
            each.result()
    assert Counter(answer.status_code for answer in answers) == {200: len(answers)}
    seen = Counter()
    for answer in answers:
        body = PredictResponse.model_validate_json(answer.content)
        version = body.model.partition("@")[2]
        assert np.array_equal(np.float32(body.mean), expected[version]), "numbers of another version"
        seen[version] += 1
    assert seen.keys() == expected.keys()
    asked = {"conditions": [condition(1)], "model": f"default@{old}"}
    assert httpx.post(f"{server}/v1/predict", json=asked).json()["model"] == f"default@{old}"
    wait_until(lambda: versions(server)["default"]["version"] == old, "the link was turned back")


def test_a_damaged_bundle_is_not_served_and_the_list_says_why(
    server: str, link: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    old = versions(server)["default"]["version"]
    damaged = changed_copy(tiny_bundle, tmp_path / "damaged", 3.0)
    weights = damaged / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    point(link, damaged)
    try:
        wait_until(lambda: bool(versions(server)["default"]["newer_refused"]), "the damage is not told")
        told = versions(server)["default"]
        assert (told["version"], "is damaged" in told["newer_refused"]) == (old, True)
        answer = httpx.post(f"{server}/v1/predict", json={"conditions": [condition(1)]})
        assert answer.json()["model"] == f"default@{old}"
        assert httpx.get(f"{server}/v1/health/ready").status_code == 200
    finally:
        point(link, tiny_bundle)
    wait_until(lambda: not versions(server)["default"]["newer_refused"], "the link was turned back")


def test_analysis_and_page_answer_through_their_own_deployments(server: str) -> None:
    genes = [f"GENE{i}" for i in range(24)]
    profile = {"genes": genes, "values": [float(i) for i in range(24)]}
    body = {"profile": profile, "sets": {"first": genes[:6]}}
    answer = httpx.post(f"{server}/v1/enrichment", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rows"][0]["term"] == "first"
    page = httpx.get(f"{server}/ui", timeout=60)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


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
