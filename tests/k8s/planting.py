"""Changes of the rendered overlays: what is set, removed or added where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml
from rendered import Document, named

Change = Callable[[list[Document]], Any]
CPU = "workerGroupSpecs[0].template.spec"
HEAD = "headGroupSpec.template.spec"


@dataclass(frozen=True)
class Planted:
    """One fault: the rule alone that finds it, the object and the path that it names."""

    rule: str
    where: str
    path: str
    change: Change
    overlay: str = "dev"


def cluster(documents: list[Document]) -> Any:
    return named(documents, "RayCluster", "pertcast")["spec"]


def head(documents: list[Document]) -> Any:
    return cluster(documents)["headGroupSpec"]["template"]["spec"]


def worker(documents: list[Document]) -> Any:
    return cluster(documents)["workerGroupSpecs"][0]["template"]["spec"]


def container(documents: list[Document]) -> Any:
    return worker(documents)["containers"][0]


def job(documents: list[Document]) -> Any:
    return named(documents, "RayJob", "pertcast-train")["spec"]


def set_(at: Callable[[list[Document]], Document], *steps: Any) -> Change:
    """Return a change that sets the value (the last step) at the keys before it."""
    *keys, last, value = steps

    def change(documents: list[Document]) -> None:
        found: Any = at(documents)
        for key in keys:
            found = found[key]
        found[last] = value

    return change


def drop(at: Callable[[list[Document]], Document], *keys: Any) -> Change:
    """Return a change that removes what stands at the keys."""

    def change(documents: list[Document]) -> None:
        found: Any = at(documents)
        for key in keys[:-1]:
            found = found[key]
        del found[keys[-1]]

    return change


def object_(kind: str, name: str) -> Callable[[list[Document]], Document]:
    return lambda documents: named(documents, kind, name)


def without(kind: str, name: str) -> Change:
    return lambda documents: documents.remove(named(documents, kind, name))


def in_job(name: str, old: str, new: str) -> Change:
    """Return a change of a job's command."""

    def change(documents: list[Document]) -> None:
        spec = named(documents, "RayJob", f"pertcast-{name}")["spec"]
        assert old in spec["entrypoint"]
        spec["entrypoint"] = spec["entrypoint"].replace(old, new)

    return change


def in_serve(edit: Callable[[Document], Any]) -> Change:
    """Return a change of the serve configuration."""

    def change(documents: list[Document]) -> None:
        spec = named(documents, "RayService", "pertcast-serve")["spec"]
        written = yaml.safe_load(spec["serveConfigV2"])
        edit(written["applications"][0])
        spec["serveConfigV2"] = yaml.safe_dump(written)

    return change


def rename(kind: str, name: str, new: str) -> Change:
    """Return a change of an object's name alone."""
    return set_(object_(kind, name), "metadata", "name", new)


def append(at: Callable[[list[Document]], Document], key: str, value: Any) -> Change:
    return lambda documents: at(documents).setdefault(key, []).append(value)


def twice(documents: list[Document]) -> None:
    documents.append(named(documents, "PersistentVolumeClaim", "pertcast-data"))


def second_application(documents: list[Document]) -> None:
    """Serve the application twice, under two names."""
    spec = named(documents, "RayService", "pertcast-serve")["spec"]
    written = yaml.safe_load(spec["serveConfigV2"])
    (first,) = written["applications"]
    written["applications"].append({**first, "name": "second", "route_prefix": "/second"})
    spec["serveConfigV2"] = yaml.safe_dump(written)


def policy(name: str) -> Callable[[list[Document]], Any]:
    return lambda documents: named(documents, "NetworkPolicy", name)["spec"]


heads, names, within = policy("heads"), policy("names"), policy("within-pertcast")


cluster_itself = object_("RayCluster", "pertcast")

CLUSTER = "RayCluster/pertcast"
TRAIN = "RayJob/pertcast-train"
SERVE = "RayService/pertcast-serve"
SECURITY = f"spec.{CPU}.containers[0].securityContext"
SERVE_ARGS = "spec.serveConfigV2.applications[0].args"
NAMESPACE = "kubernetes.io/metadata.name"
CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "settings", "namespace": "pertcast-dev"},
}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "pertcast-dev"}}
