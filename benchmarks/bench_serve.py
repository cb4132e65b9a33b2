"""Serving beside the predictor called directly: conditions/s, latency and batch sizes under load.

`python benchmarks/bench_serve.py` (about two minutes on two cores): a response_mlp of 978 genes, one replica,
clients in a process of their own. Prints the table of docs/serving.md.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import torch
from pertcast.predictor import Predictor
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train.run import run_training
from pertcast_serve.config import ServeConfig

Figures = dict[str, float]
SECONDS = 8.0
CONCURRENCY = (1, 8, 32)
SIZES = (1, 32)
"""Conditions a request."""
ATLAS = AtlasConfig(n_genes=978, n_compounds=100, n_contexts=4, doses=(1.0, 10.0), times=(24.0,), n_cells=200)


def make_bundle(folder: Path) -> Path:
    """Train a response_mlp for one epoch; its speed does not depend on how well it is trained."""
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    ingest([files.wells], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "random").save(folder / "split.json")
    data = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}", "train.epochs=1"]
    return run_training(load_config("response_mlp", data), folder / "run").bundle


def conditions_of(predictor: Predictor, count: int) -> list[dict[str, Any]]:
    """Return `count` conditions of the training, as a request holds them."""
    space = predictor.space
    return [
        {
            "cell_iname": space.contexts[number % len(space.contexts)],
            "pert_id": space.perturbations[number % len(space.perturbations)],
            "pert_type": "trt_cp",
            "pert_dose": 10.0,
            "pert_time": 24.0,
        }
        for number in range(count)
    ]


def direct(predictor: Predictor, size: int, rows_per_pass: int) -> Figures:
    """Time tables of `size` conditions in this process, on one thread."""
    table = pl.DataFrame(conditions_of(predictor, size))
    return _summary(lambda: predictor.predict(table, batch_size=rows_per_pass), size, SECONDS / 2)


def _summary(call: Callable[[], Any], size: int, seconds: float) -> Figures:
    call()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        call()
        taken.append(time.perf_counter() - began)
    return _figures(taken, size, sum(taken))


def _figures(taken: list[float], size: int, seconds: float) -> Figures:
    p50, p99 = (1e3 * np.percentile(taken, [50, 99])).tolist()
    return {"per_s": size * len(taken) / seconds, "p50": p50, "p99": p99}


def client(url: str, concurrency: int, body: bytes, size: int) -> Figures:
    """Send requests from `concurrency` connections, each one after the other, for a while."""
    place = urlsplit(url)
    end = time.perf_counter() + SECONDS

    def send_all(_: int) -> list[float]:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        taken = []
        while (began := time.perf_counter()) < end:
            connection.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {content[:200]!r}")
            taken.append(time.perf_counter() - began)
        return taken

    began = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        taken = [each for part in pool.map(send_all, range(concurrency)) for each in part]
    return _figures(taken, size, time.perf_counter() - began)


def served(url: str, predictor: Predictor, size: int, concurrency: int) -> Figures:
    """Run `client` in a process of its own."""
    body = json.dumps({"conditions": conditions_of(predictor, size)})
    words = [sys.executable, __file__, "client", url, str(concurrency), str(size)]
    done = subprocess.run(words, input=body, check=True, capture_output=True, text=True, timeout=300)
    return dict(json.loads(done.stdout))


def report(bundle: Path) -> None:
    """Measure and print everything."""
    # Ray reads its environment as it is imported.
    prepare_environment()
    from pertcast_serve.server import APPLICATION, local_ray, serving
    from ray import serve

    torch.set_num_threads(1)
    predictor = Predictor.from_bundle(bundle)
    config = ServeConfig(bundle=str(bundle), max_replicas=1)
    alone = {size: direct(predictor, size, config.rows_per_pass) for size in (*SIZES, 256)}
    print("| | conditions a call | at once | conditions/s | of direct | p50 ms | p99 ms | requests a batch |")
    print("|---|---|---|---|---|---|---|---|")
    for size, found in alone.items():
        _print_row("direct", size, 1, found, alone)
    with local_ray(), serving(config) as url:
        handle = serve.get_deployment_handle("BatchedPredictor", APPLICATION)
        for size, concurrency in product(SIZES, CONCURRENCY):
            handle.batch_sizes.remote().result()
            found = served(url, predictor, size, concurrency)
            batches = handle.batch_sizes.remote().result()
            _print_row("served", size, concurrency, found, alone, batches)


def _print_row(
    what: str,
    size: int,
    concurrency: int,
    found: Figures,
    alone: dict[int, Figures],
    batches: Sequence[int] = (),
) -> None:
    cells = [what, size, concurrency, f"{found['per_s']:.0f}", f"{found['per_s'] / alone[size]['per_s']:.2f}"]
    cells += [f"{found['p50']:.0f}", f"{found['p99']:.0f}"]
    cells += [f"{np.mean(batches):.1f}, at most {max(batches)}" if batches else ""]
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def main() -> None:
    """Measure, or be the client that is measured from."""
    if sys.argv[1:2] == ["client"]:
        url, concurrency, size = sys.argv[2:]
        print(json.dumps(client(url, int(concurrency), sys.stdin.buffer.read(), int(size))))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(make_bundle(Path(folder)))


if __name__ == "__main__":
    main()
