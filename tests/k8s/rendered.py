"""What the overlays of k8s/ render to, and where in it things stand."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

OVERLAYS = ("dev", "gpu", "gpu-spot", "serve")
CLUSTER_OF = {
    "RayCluster": ("spec",),
    "RayJob": ("spec", "rayClusterSpec"),
    "RayService": ("spec", "rayClusterConfig"),
}
Document = dict[str, Any]


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def named(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = [found for found in of_kind(documents, kind) if found["metadata"]["name"] == name]
    return found


def clusters(documents: list[Document]) -> dict[str, Document]:
    """Return the description of each Ray cluster, by the name of the object that holds it."""
    found = {}
    for document in documents:
        if document["kind"] in CLUSTER_OF:
            cluster: Any = document
            for key in CLUSTER_OF[document["kind"]]:
                cluster = cluster[key]
            found[document["metadata"]["name"]] = cluster
    return found


def groups(cluster: Document) -> list[Document]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def templates(documents: list[Document]) -> Iterator[Document]:
    for cluster in clusters(documents).values():
        for group in groups(cluster):
            yield group["template"]


def entrypoints(documents: list[Document]) -> dict[str, list[str]]:
    jobs = of_kind(documents, "RayJob")
    return {job["metadata"]["name"]: shlex.split(job["spec"]["entrypoint"])[1:] for job in jobs}


def cpus(group: Document) -> float:
    return float(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
