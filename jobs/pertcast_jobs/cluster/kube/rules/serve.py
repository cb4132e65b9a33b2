"""Rules about RayServices: Serve and the application take their configuration, and it fits the workers.

The application is found by its import path and its settings by its builder's annotation, as Serve does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, get_type_hints

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.schema import ServeDeploySchema

from pertcast_jobs.cluster.kube.kinds.ray import RayServiceSpec
from pertcast_jobs.cluster.kube.manifests import Manifests
from pertcast_jobs.cluster.kube.objects import Document
from pertcast_jobs.cluster.kube.ray_view import Cluster, Group
from pertcast_jobs.cluster.kube.rules.problem import Problem

_CONFIG: Final = "spec.serveConfigV2"
_INGRESS_CPUS: Final = 0.1
_RESOURCES: Final = ("cpu", "gpu")


@dataclass(frozen=True)
class _Application:
    """An application of a serve configuration; `settings` are its arguments, read by its builder's type."""

    path: str
    settings: dict[str, Any]


def _told(error: ValidationError) -> tuple[str, str]:
    """Return (path, message) of the first fault."""
    fault = error.errors()[0]
    return ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")


def _settings_type(import_path: str) -> type[BaseModel] | None:
    """Return the type of a builder's argument, or None where it takes plain arguments.

    Raises
    ------
    ImportError, AttributeError, ValueError
        There is no such builder.
    """
    module, _, attribute = import_path.replace(":", ".").rpartition(".")
    builder = getattr(import_module(module), attribute)
    hints = get_type_hints(builder) if callable(builder) else {}
    hints.pop("return", None)
    for hint in hints.values():
        if isinstance(hint, type) and issubclass(hint, BaseModel):
            return hint
    return None


def _faults(spec: RayServiceSpec) -> Iterator[tuple[str, str]]:
    """Yield (path, message) of what Serve or an application would refuse."""
    try:
        schema = ServeDeploySchema.model_validate(yaml.safe_load(spec.serve_config_v2))
    except ValidationError as error:
        where, what = _told(error)
        yield f"{_CONFIG}.{where}", what
        return
    except yaml.YAMLError as error:
        yield _CONFIG, f"no YAML: {error}"
        return
    for number, application in enumerate(schema.applications):
        path = f"{_CONFIG}.applications[{number}]"
        try:
            settings = _settings_type(application.import_path)
        except (ImportError, AttributeError, ValueError) as error:
            yield f"{path}.import_path", f"nothing to import: {error}"
            continue
        try:
            if settings is not None:
                settings.model_validate(application.args)
        except ValidationError as error:
            where, what = _told(error)
            yield f"{path}.args.{where}", what


def _services(manifests: Manifests) -> Iterator[tuple[Document, RayServiceSpec]]:
    for document in manifests.documents:
        if isinstance(document.spec, RayServiceSpec):
            yield document, document.spec


def _applications(spec: RayServiceSpec) -> Iterator[_Application]:
    """Yield the applications of a configuration without faults; of others, none."""
    if next(_faults(spec), None) is not None:
        return
    schema = ServeDeploySchema.model_validate(yaml.safe_load(spec.serve_config_v2))
    for number, application in enumerate(schema.applications):
        settings = _settings_type(application.import_path)
        if settings is not None:
            held = settings.model_validate(application.args).model_dump()
            yield _Application(f"{_CONFIG}.applications[{number}].args", held)


def serve_config(manifests: Manifests) -> Iterator[Problem]:
    """Find serve configurations that Serve or the application would refuse."""
    for document, spec in _services(manifests):
        for path, what in _faults(spec):
            yield Problem(document, path, what, "see docs/serving.md for the settings")


def _wanted(settings: dict[str, Any], resource: str) -> float:
    """Return what all replicas of an application's deployments ask for at their most."""
    key = f"{resource}s_per_replica"
    deployments = [part for part in settings.values() if isinstance(part, dict) and key in part]
    wanted: float = sum(part["max_replicas"] * part[key] for part in deployments)
    if resource == "cpu":
        wanted += _INGRESS_CPUS * settings.get("ingress_replicas", 0)
    return wanted


def _has(group: Group, resource: str) -> float:
    return group.cpus if resource == "cpu" else group.gpus


def _unplaced(application: _Application, cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Yield (path, what) of deployments one replica of which is more than any one worker has."""
    groups = [group for group in cluster.groups if group.most]
    for name, part in application.settings.items():
        asked = {
            resource: part[key]
            for resource in _RESOURCES
            if isinstance(part, dict) and part.get(key := f"{resource}s_per_replica")
        }
        if asked and not any(all(_has(group, one) >= asked[one] for one in asked) for group in groups):
            amounts = " and ".join(f"{asked[one]:g} {one}s" for one in asked)
            yield f"{application.path}.{name}", f"a replica asks for {amounts}, which no worker has"


def replicas_exceed_workers(manifests: Manifests) -> Iterator[Problem]:
    """Find services whose replicas ask for more than the workers that may be started have."""
    for document, spec in _services(manifests):
        cluster = manifests.cluster_of(document)
        if cluster is None:
            continue
        applications = list(_applications(spec))
        for application in applications:
            for path, what in _unplaced(application, cluster):
                yield Problem(document, path, what, "ask for less, or add a group of larger workers")
        for resource in _RESOURCES:
            wanted = sum(_wanted(application.settings, resource) for application in applications)
            room = sum(group.most * _has(group, resource) for group in cluster.groups)
            if wanted > room:
                what = f"replicas may ask for {wanted:g} {resource}s, the workers have {room:g} at most"
                yield Problem(
                    document,
                    f"{_CONFIG}.applications",
                    what,
                    "lower max_replicas, or raise the group's maxReplicas",
                )


def endpoint_open_to_all(manifests: Manifests) -> Iterator[Problem]:
    """Find endpoints that everyone who reaches them may call."""
    for document, spec in _services(manifests):
        for application in _applications(spec):
            access = application.settings.get("access")
            if isinstance(access, dict) and not any(access.get(way) for way in ("keys", "trusted_proxy")):
                yield Problem(
                    document,
                    f"{application.path}.access",
                    "everyone who reaches the service may call it",
                    "name a file of keys (access.keys) or a proxy (access.trusted_proxy)",
                )
