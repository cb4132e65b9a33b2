"""Serving beside the model called directly and beside a plain FastAPI process, under the same load.

`python benchmarks/bench_serve.py` (about four minutes on two cores): a response_mlp of 978 genes, whole
profiles with spread as JSON, one replica, clients in a process of their own. Prints the table of
docs/serving.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import torch
from pertcast.predictor import Predictor
from pertcast_data.environment import prepare_environment
from pertcast_serve.config import PredictorSettings, Scaling, ServeConfig
from serve_client import Figures, Kind, figures
from serve_load import conditions_of, load, make_bundle, plain_server, template

CONCURRENCY = (1, 8, 64)
SIZES = (1, 32)
"""Conditions a request."""
DIRECT_ROWS = 32
"""Rows a pass of the direct calls: the size that offline predictions of few conditions use best."""
COLUMNS = ("", "conditions a call", "at once", "conditions/s", "of direct", "of plain", "p50 ms", "p99 ms")
LAST_COLUMN = "requests a batch"


def direct(predictor: Predictor, size: int, seconds: float) -> Figures:
    """Time tables of `size` conditions in this process, on one thread."""
    table = pl.DataFrame(conditions_of(predictor, size))
    predictor.predict(table, batch_size=DIRECT_ROWS)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        predictor.predict(table, batch_size=DIRECT_ROWS)
        taken.append(time.perf_counter() - began)
    return figures(taken, size, sum(taken))


class Report:
    """Prints rows beside those of the direct calls and of the plain server."""

    def __init__(self) -> None:
        self._direct: dict[int, float] = {}
        self._plain: dict[tuple[int, int], float] = {}
        print("|", " | ".join((*COLUMNS, LAST_COLUMN)), "|")
        print("|" + "---|" * (len(COLUMNS) + 1))

    def add(self, what: str, size: int, at_once: int, found: Figures, batches: Sequence[int] = ()) -> None:
        """Print one row; "direct" and "plain" rows are what later ones are compared with."""
        per_s = found["per_s"]
        if what == "direct":
            self._direct[size] = per_s
        if what == "plain":
            self._plain[size, at_once] = per_s
        plain = self._plain.get((size, at_once))
        cells = [
            what,
            str(size),
            str(at_once),
            f"{per_s:.0f}",
            f"{per_s / self._direct[size]:.2f}",
            "" if plain is None else f"{per_s / plain:.2f}",
            f"{found['p50']:.0f}",
            f"{found['p99']:.0f}",
            f"{np.mean(batches):.1f}, at most {max(batches)}" if batches else "",
        ]
        print("|", " | ".join(cells), "|", flush=True)


def served(bundle: Path, predictor: Predictor, report: Report, seconds: float) -> None:
    """Measure the server."""
    from pertcast_serve.server import APPLICATION, local_ray, serving
    from ray import serve

    config = ServeConfig(
        models={"default": bundle},
        predictor=PredictorSettings(max_replicas=1),
        analysis=Scaling(max_replicas=1),
    )
    with local_ray(), serving(config) as url:
        handle = serve.get_deployment_handle("BatchedPredictor", APPLICATION)
        kinds: tuple[tuple[Kind, str], ...] = (("again", "served"), ("new", "served, all new"))
        for (kind, name), size, at_once in product(kinds, SIZES, CONCURRENCY):
            body = template(predictor, size)
            load(url, body, at_once, 1.0, kind)
            handle.batch_sizes.remote().result()
            found = load(url, body, at_once, seconds, kind)
            report.add(name, size, at_once, found, handle.batch_sizes.remote().result())


def main() -> None:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--bundle", type=Path, help="measure this one instead of making one")
    options = parser.parse_args()
    # Ray reads its environment as it is imported.
    prepare_environment()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bundle = options.bundle or make_bundle(Path(folder))
        predictor = Predictor.from_bundle(bundle)
        report = Report()
        for size in (*SIZES, 256):
            report.add("direct", size, 1, direct(predictor, size, options.seconds / 2))
        with plain_server(bundle) as url:
            for size, at_once in product(SIZES, CONCURRENCY):
                report.add(
                    "plain", size, at_once, load(url, template(predictor, size), at_once, options.seconds)
                )
        served(bundle, predictor, report, options.seconds)


if __name__ == "__main__":
    main()
