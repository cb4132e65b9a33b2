"""A server under mixed load for minutes: what each of its processes holds in memory, and whether it grows.

`python benchmarks/soak_serve.py --minutes 10`: predictions of one and of 32 conditions, searches for names,
gene sets and the page, from four clients. Prints the memory each ten seconds and its slope in the end.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from pertcast.predictor import Predictor
from pertcast_data.environment import prepare_environment
from pertcast_serve.config import PredictorSettings, Scaling, ServeConfig
from serve_load import conditions_of, make_bundle

INTERVAL_S = 10.0
CLIENTS = 4
_MB = 1 << 20
_KINDS = ("BatchedPredictor", "Analysis", "Page", "Ingress", "ServeController", "ProxyActor")


def requests_of(predictor: Predictor) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (method, path, options) without end; doses change, so that some conditions are new."""
    genes = list(predictor.genes)
    for number in itertools.count():
        dose = 1.0 + number % 5_000 * 1e-3
        yield "POST", "/v1/predict", {"json": {"conditions": conditions_of(predictor, 1, dose)}}
        yield "POST", "/v1/predict", {"json": {"conditions": conditions_of(predictor, 32, dose)}}
        yield "GET", "/v1/genes", {"params": {"q": genes[number % len(genes)][:6]}}
        body = {
            "condition": conditions_of(predictor, 1, dose)[0],
            "sets": {"first": genes[:20], "second": genes[20:60]},
        }
        yield "POST", "/v1/enrichment", {"json": body}
        yield "GET", "/ui/model", {}
        yield "POST", "/v1/predict", {"json": {"conditions": [{"cell_iname": "x", "pert_id": f"y{number}"}]}}


class Load:
    """Clients that send until they are told to stop."""

    def __init__(self, url: str, predictor: Predictor) -> None:
        self.statuses: Counter[int] = Counter()
        self._url = url
        self._requests = requests_of(predictor)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        with httpx.Client(base_url=self._url, timeout=120, trust_env=False) as client:
            while not self._over.is_set():
                with self._lock:
                    method, path, options = next(self._requests)
                status = client.request(method, path, **options).status_code
                with self._lock:
                    self.statuses[status] += 1

    def stop(self) -> None:
        """End the load."""
        self._over.set()
        for thread in self._threads:
            thread.join()


def memory() -> dict[str, float]:
    """Return MB that the server's processes hold for themselves, by what they are."""
    held: Counter[str] = Counter()
    for process in psutil.Process().children(recursive=True):
        try:
            name = " ".join(process.cmdline())
            kind = next((kind for kind in _KINDS if kind in name), "other")
            held[kind] += process.memory_full_info().uss / _MB
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return {**held, "all": sum(held.values())}


def soak(url: str, predictor: Predictor, minutes: float) -> None:
    """Load the server and print what it holds."""
    load = Load(url, predictor)
    began = time.monotonic()
    seen: list[tuple[float, dict[str, float]]] = []
    try:
        while time.monotonic() - began < 60 * minutes:
            time.sleep(INTERVAL_S)
            seen.append((time.monotonic() - began, memory()))
            at, held = seen[-1]
            told = ", ".join(f"{kind} {held.get(kind, 0):.0f}" for kind in (*_KINDS, "other", "all"))
            print(f"{at:5.0f} s: {sum(load.statuses.values())} requests; MB: {told}", flush=True)
    finally:
        load.stop()
    print(f"answers by status: {dict(load.statuses)}")
    half = seen[len(seen) // 2 :]
    for kind in (*_KINDS, "other", "all"):
        values = [held.get(kind, 0.0) for _, held in half]
        slope = 60 * np.polyfit([at for at, _ in half], values, 1)[0] if len(half) > 1 else float("nan")
        print(f"{kind}: {values[0]:.0f} -> {values[-1]:.0f} MB in the second half, {slope:+.2f} MB a minute")


def main() -> None:
    """Serve a bundle of this machine's making and load it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--bundle", type=Path, help="serve this one instead of making one")
    options = parser.parse_args()
    # Ray reads its environment as it is imported.
    prepare_environment()
    from pertcast_serve.server import local_ray, serving

    with tempfile.TemporaryDirectory() as folder:
        bundle = options.bundle or make_bundle(Path(folder))
        config = ServeConfig(
            models={"default": bundle},
            predictor=PredictorSettings(max_replicas=1),
            analysis=Scaling(max_replicas=1),
        )
        with local_ray(), serving(config) as url:
            soak(url, Predictor.from_bundle(bundle), options.minutes)


if __name__ == "__main__":
    main()
