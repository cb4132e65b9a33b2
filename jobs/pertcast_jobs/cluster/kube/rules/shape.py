"""Rules about the shape of single objects: what the API server and the operators would refuse or drop.

They come before all others, which count on the shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

from pertcast_data.errors import ConfigError
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pertcast_jobs.cluster.kube.kinds import SPECS
from pertcast_jobs.cluster.kube.kinds.fields import Plain
from pertcast_jobs.cluster.kube.objects import Document
from pertcast_jobs.cluster.kube.quantity import quantity
from pertcast_jobs.cluster.kube.rules.problem import Problem

KUBERNETES: Final = "1.31"
"""Version of Kubernetes whose schemas are held."""

_AMOUNTS: Final = frozenset({"limits", "requests", "hard", "default", "defaultRequest"})
_LONGEST_MESSAGE: Final = 300  # a schema quotes the whole object that it refuses
_OUR_GROUPS: Final = frozenset(api.partition("/")[0] for api, _ in SPECS)
_KUBERNETES_GROUPS: Final = frozenset(
    {
        "",
        "apps",
        "autoscaling",
        "batch",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    }
)


def _schemas() -> ModuleType:
    """Return kubernetes-validate; raises ConfigError where it is not installed."""
    try:
        import kubernetes_validate  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(
            "Manifests are checked against the schemas of Kubernetes, which are not installed: "
            "pip install 'pertcast[kube]'."
        ) from error
    found: ModuleType = kubernetes_validate
    return found


def _written(steps: Iterable[str | int]) -> str:
    """Return a path as people write it: a.b[0].c."""
    path = ""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.removeprefix(".")


@lru_cache(maxsize=1024)
def _schema_fault(text: str) -> tuple[tuple[str | int, ...], str] | None:
    """Return (path, message) of what the schema of Kubernetes says about an object, given as JSON.

    Kept: jobs that take their pods from one description repeat them.
    """
    schemas = _schemas()
    body = json.loads(text)
    try:
        schemas.validate(body, KUBERNETES, strict=True)
    except schemas.SchemaNotFoundError:
        return ("kind",), f"Kubernetes {KUBERNETES} knows no {body['kind']} in {body['apiVersion']}"
    except schemas.ValidationError as error:
        return tuple(error.absolute_path), str(error.message)[:_LONGEST_MESSAGE]
    return None


def _schema_problem(document: Document, body: Plain, prefix: str = "") -> Iterator[Problem]:
    """Yield what the schema of Kubernetes says about a body; `prefix` stands for its path's first step."""
    fault = _schema_fault(json.dumps(body, default=str))
    if fault is not None:
        steps, message = fault
        path = _written([prefix, *steps[1:]] if prefix else steps)
        yield Problem(document, path, message, "see `kubectl explain`")


def _templates(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (path, pod template) of everything in an object of Ray that becomes a pod."""
    for path in ("spec", "spec.rayClusterSpec", "spec.rayClusterConfig"):
        cluster = document.at(path)
        if not isinstance(cluster, Mapping):
            continue
        groups = [(f"{path}.headGroupSpec", cluster.get("headGroupSpec"))]
        for number, group in enumerate(cluster.get("workerGroupSpecs") or ()):
            groups.append((f"{path}.workerGroupSpecs[{number}]", group))
        for where, group in groups:
            if isinstance(group, Mapping) and isinstance(group.get("template"), Mapping):
                yield f"{where}.template", group["template"]


def _autoscalers(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (path, container) of the autoscaler of an object of Ray."""
    known = ("env", "envFrom", "image", "imagePullPolicy", "resources", "securityContext", "volumeMounts")
    for path in ("spec", "spec.rayClusterSpec", "spec.rayClusterConfig"):
        cluster = document.at(path)
        options = cluster.get("autoscalerOptions") if isinstance(cluster, Mapping) else None
        if isinstance(options, Mapping):
            container = {key: options[key] for key in known if key in options}
            yield f"{path}.autoscalerOptions", {"name": "autoscaler", "image": "ray", **container}


def _unusable(value: Any, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield (path, what) of what schemas let pass and the API server does not: nulls in lists, amounts."""
    if isinstance(value, list):
        for number, held in enumerate(value):
            if held is None:
                yield (*steps, number), "is null"
            yield from _unusable(held, (*steps, number))
    if isinstance(value, Mapping):
        for key, held in value.items():
            yield from _unusable(held, (*steps, key))
            amounts = held if key in _AMOUNTS and isinstance(held, Mapping) else {}
            if key == "sizeLimit" and held is not None:
                amounts = {"": held}
            for resource, amount in amounts.items():
                try:
                    quantity(amount)
                except ValueError as error:
                    yield (*steps, key, resource) if resource else (*steps, key), str(error)


def _without_containers(document: Document) -> Iterator[Problem]:
    """Yield Ray's pods that have no container; the schemas ask for none in a template."""
    for path, template in _templates(document):
        if not (template.get("spec") or {}).get("containers"):
            yield Problem(document, f"{path}.spec.containers", "is empty", "the first container runs Ray")


def is_an_object(document: Document) -> Iterator[Problem]:
    """Find documents that do not say what they are and what they are called."""
    for key, is_there in (
        ("apiVersion", isinstance(document.body.get("apiVersion"), str)),
        ("kind", bool(document.kind)),
        ("metadata.name", bool(document.name)),
    ):
        if not is_there:
            yield Problem(
                document, key, "is missing", "every object needs apiVersion, kind and metadata.name"
            )


def fits_kubernetes(document: Document) -> Iterator[Problem]:
    """Find what the schemas of Kubernetes refuse, in its own kinds and in the pods of Ray's."""
    found = list(_schema_faults(document))
    yield from found
    if found or document.group not in {*_KUBERNETES_GROUPS, "ray.io"}:
        return
    for steps, what in _unusable(document.body):
        yield Problem(document, _written(steps), what, "correct or remove it")
    yield from _without_containers(document)


def _schema_faults(document: Document) -> Iterator[Problem]:
    if document.group in _KUBERNETES_GROUPS:
        yield from _schema_problem(document, document.body)
    if document.group != "ray.io":
        return
    for path, template in _templates(document):
        body = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
        yield from _schema_problem(document, body, path)
    for path, container in _autoscalers(document):
        template = {"spec": {"containers": [container]}}
        body = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
        for problem in _schema_problem(document, body, path):
            inner = problem.path.replace(".spec.containers[0]", "", 1)
            yield Problem(document, inner, problem.what, problem.remedy)


def fits_its_operator(document: Document) -> Iterator[Problem]:
    """Find fields that KubeRay or the Prometheus operator does not know or take."""
    model = SPECS.get((str(document.body["apiVersion"]), document.kind))
    if model is None:
        if document.group in _OUR_GROUPS:
            known = ", ".join(f"{kind} ({api})" for api, kind in SPECS)
            yield Problem(
                document,
                "kind",
                f"{document.body['apiVersion']} {document.kind} is not known",
                f"known: {known}",
            )
        return
    try:
        model.model_validate(document.body.get("spec"))
    except ValidationError as error:
        for fault in _told_once(error.errors()):
            what = fault["msg"].removeprefix("Value error, ")
            yield Problem(document, _written(["spec", *fault["loc"]]), what, "see the operator's reference")


def _told_once(faults: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Yield faults without lists that count as empty because their only entry is refused."""
    for fault in faults:
        place = fault["loc"]
        has_deeper = any(one["loc"][: len(place)] == place for one in faults if one is not fault)
        if fault["type"] != "too_short" or not has_deeper:
            yield fault
