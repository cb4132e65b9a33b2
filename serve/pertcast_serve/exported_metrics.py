"""The metrics of all processes of the server, as Prometheus reads them at one address.

On Ray every node's agent exports the numbers of its own processes, among thousands of Ray's; here ours are
gathered from all nodes, under our names. Elsewhere this process is all there is.
"""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.error import URLError

from pertcast_serve.metrics import METRICS, LocalRecorder, is_in_ray_actor, recorder

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
NODE_TIMEOUT_S: Final = 2.0

_PREFIX: Final = "ray_"
_MOST_BYTES: Final = 64 << 20
_AT_ONCE: Final = 16
_LABEL: Final = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')
_SERIES: Final = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_ENDS: Final = {"counter": ("",), "histogram": ("_bucket", "_sum", "_count")}
_RENAMED: Final = {"NodeAddress": "node", "WorkerId": "process"}
"""What tells processes apart: a counter that adds up over processes would fall when one of them ends."""


class NodeSilent(Exception):
    """A node's metrics could not be read."""


def series_of_metrics() -> dict[str, tuple[str, frozenset[str]]]:
    """Return Ray's name of each series -> (name of its metric, labels that are kept)."""
    return {
        f"{_PREFIX}{metric.name}{end}": (metric.name, frozenset({*metric.labels, "le", *_RENAMED}))
        for metric in METRICS
        for end in _ENDS[metric.kind]
    }


def _kept_labels(text: str, kept: frozenset[str]) -> str:
    labels = [(name, value) for name, value in _LABEL.findall(text) if name in kept]
    return ",".join(f'{_RENAMED.get(name, name)}="{value}"' for name, value in labels)


def merged(exports: Sequence[str]) -> str:
    """Return our metrics of several nodes' exports as one text, each metric's series together."""
    known = series_of_metrics()
    found: dict[str, list[str]] = {metric.name: [] for metric in METRICS}
    for export in exports:
        for line in export.splitlines():
            parts = _SERIES.fullmatch(line) if line.startswith(f"{_PREFIX}pertcast_") else None
            if parts is None or parts["name"] not in known:
                continue
            of, kept = known[parts["name"]]
            labels = _kept_labels(parts["labels"] or "", kept)
            series = parts["name"].removeprefix(_PREFIX) + (f"{{{labels}}}" if labels else "")
            found[of].append(f"{series} {parts['value']}")
    text = []
    for metric in METRICS:
        text += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}"]
        text += found[metric.name]
    return "\n".join(text) + "\n"


def _addresses() -> list[str]:
    """Return where each living node exports its metrics."""
    import ray

    nodes: list[Mapping[str, object]] = ray.nodes()
    return [
        f"{_host(str(node['NodeManagerAddress']))}:{node['MetricsExportPort']}"
        for node in nodes
        if node.get("Alive")
    ]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _export_of(address: str) -> str:
    """Return what a node exports; raises NodeSilent."""
    try:
        # Not through a proxy of the environment: nodes are reached directly.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{address}/metrics", timeout=NODE_TIMEOUT_S) as answer:
            return str(answer.read(_MOST_BYTES).decode())
    except (URLError, OSError, ValueError) as error:
        raise NodeSilent(f"{address}: {error}") from error


async def gathered(addresses: Sequence[str]) -> str:
    """Return our metrics of the nodes at these addresses; a comment names each that did not answer."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(address: str) -> str | NodeSilent:
        async with free:
            try:
                return await asyncio.to_thread(_export_of, address)
            except NodeSilent as error:
                return error

    answers = await asyncio.gather(*(one(address) for address in addresses))
    silent = [answer for answer in answers if isinstance(answer, NodeSilent)]
    text = await asyncio.to_thread(merged, [answer for answer in answers if isinstance(answer, str)])
    comments = "".join(f"# no answer from node {' '.join(str(error).split())}\n" for error in silent)
    return comments + text


async def exported() -> str:
    """Return the metrics of the whole server in Prometheus' text format."""
    if is_in_ray_actor():
        return await gathered(await asyncio.to_thread(_addresses))
    found = recorder()
    return found.text() if isinstance(found, LocalRecorder) else ""
