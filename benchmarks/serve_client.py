"""The clients of the benchmarks of serving, in a process of their own that imports little.

`python benchmarks/serve_client.py URL CONCURRENCY SECONDS again|new` sends the request on its input and
prints what it measured as JSON.
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal
from urllib.parse import urlsplit

import numpy as np

Figures = dict[str, float]
Kind = Literal["again", "new"]
"""Whether conditions come again, as those that people look at do, or each is new to the server."""

DOSE = "DOSE"
"""Stands in a request where the client writes a dose."""
_DOSES_AGAIN = 8
_RETRY_S = 0.05


def figures(taken: list[float], size: int, seconds: float) -> Figures:
    """Return conditions/s and the median and 99th percentile of the latency in ms."""
    p50, p99 = (1e3 * np.percentile(taken, [50, 99])).tolist()
    return {"per_s": size * len(taken) / seconds, "p50": p50, "p99": p99, "requests": len(taken)}


def send(url: str, concurrency: int, seconds: float, kind: str, body: str) -> Figures:
    """Send requests from `concurrency` connections, each one after the other; 503 is tried again."""
    place = urlsplit(url)
    number = itertools.count()
    end = time.perf_counter() + seconds
    refused = [0]

    def send_all(_: int) -> list[float]:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        taken = []
        while (began := time.perf_counter()) < end:
            each = next(number)
            dose = 1.0 + each % _DOSES_AGAIN if kind == "again" else 1.0 + each * 1e-5
            sent = body.replace(DOSE, f"{dose:.6f}").encode()
            connection.request("POST", "/v1/predict", sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status == 503:
                refused[0] += 1
                time.sleep(_RETRY_S)
                continue
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {content[:200]!r}")
            taken.append(time.perf_counter() - began)
        return taken

    began = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        taken = [each for part in pool.map(send_all, range(concurrency)) for each in part]
    found = figures(taken, body.count(DOSE), time.perf_counter() - began)
    return {**found, "refused": refused[0]}


if __name__ == "__main__":
    address, at_once, length, what = sys.argv[1:]
    print(json.dumps(send(address, int(at_once), float(length), what, sys.stdin.read())))
