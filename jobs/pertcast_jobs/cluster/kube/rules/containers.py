"""Rules about images, secrets in plain sight, and what containers take of their node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from pertcast_jobs.cluster.kube.kinds.ray import RayJobSpec, RayServiceSpec
from pertcast_jobs.cluster.kube.manifests import Manifests
from pertcast_jobs.cluster.kube.objects import Document
from pertcast_jobs.cluster.kube.quantity import quantity
from pertcast_jobs.cluster.kube.rules.problem import Problem

_SECRET_NAME: Final = re.compile(r"token(_|$)|passw|secret|private_?key|access_?key|api_?key|credential")
_NO_SECRET: Final = re.compile(r"_(file|path|dir|mode|name|expiration)$")
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-.]")
"""Where a word of a name ends, in the spelling of config maps: authToken, auth-token, auth.token."""

_BOUNDED: Final = ("cpu", "memory")


def no_limits(manifests: Manifests) -> Iterator[Problem]:
    """Find containers that can take a node's CPUs and memory from their neighbours."""
    for container in manifests.containers:
        limits = (container.body.get("resources") or {}).get("limits") or {}
        for resource in _BOUNDED:
            if resource not in limits:
                path = f"{container.path}.resources.limits.{resource}"
                yield Problem(container.pod.document, path, "is missing", "give the most it may take")


def memory_overcommitted(manifests: Manifests) -> Iterator[Problem]:
    """Find memory that is allowed but not set aside: a node that runs out kills whom it likes."""
    for container in manifests.containers:
        resources = container.body.get("resources") or {}
        limit = (resources.get("limits") or {}).get("memory")
        request = (resources.get("requests") or {}).get("memory") or limit
        if limit is not None and quantity(request or 0) != quantity(limit):
            path = f"{container.path}.resources.requests.memory"
            yield Problem(
                container.pod.document, path, f"is {request}, the limit {limit}", "make them the same"
            )


def floating_tag(manifests: Manifests) -> Iterator[Problem]:
    """Find images that are others tomorrow: named neither by a version nor by a digest."""
    for container in manifests.containers:
        image = container.body.get("image")
        if image is None or "@sha256:" in image:
            continue
        tag = image.rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest", "nightly", "main", "master"):
            yield Problem(
                container.pod.document,
                f"{container.path}.image",
                f"{image} is another image tomorrow",
                "name a version, such as :0.1.0, or a digest",
            )


def _is_secret(name: str, value: Any) -> bool:
    spelt = _WORDS.sub("_", name).lower()
    return bool(value) and bool(_SECRET_NAME.search(spelt)) and not _NO_SECRET.search(spelt)


def _plain_variables(environment: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield (path, name) of the variables of a runtime environment that hold a secret."""
    variables = environment.get("env_vars") if isinstance(environment, dict) else None
    for name, value in variables.items() if isinstance(variables, dict) else ():
        if _is_secret(str(name), value):
            yield f"{path}.env_vars.{name}", str(name)


def _runtime_environments(document: Document) -> Iterator[tuple[str, Any]]:
    """Yield (path, runtime environment) of a job, or of a service's applications and deployments."""
    try:
        if isinstance(document.spec, RayJobSpec):
            yield "spec.runtimeEnvYAML", yaml.safe_load(document.spec.runtime_env_yaml or "")
        elif isinstance(document.spec, RayServiceSpec):
            written = yaml.safe_load(document.spec.serve_config_v2)
            for number, application in enumerate(_listed(written, "applications")):
                path = f"spec.serveConfigV2.applications[{number}]"
                yield f"{path}.runtime_env", application.get("runtime_env")
                for place, deployment in enumerate(_listed(application, "deployments")):
                    options = deployment.get("ray_actor_options") or {}
                    where = f"{path}.deployments[{place}].ray_actor_options.runtime_env"
                    yield where, options.get("runtime_env")
    except yaml.YAMLError:  # `runtime_env` and `serve_config` tell it
        return


def _listed(held: Any, key: str) -> list[dict[str, Any]]:
    """Return the mappings in a list of what is written, which no schema has seen yet."""
    found = held.get(key) if isinstance(held, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def plain_secret(manifests: Manifests) -> Iterator[Problem]:
    """Find tokens, keys and passwords in manifests, which are kept in repositories."""
    remedy = "keep it in a Secret that is made outside the manifests, and name it by secretKeyRef"
    for container in manifests.containers:
        for number, variable in enumerate(container.body.get("env") or ()):
            if _is_secret(variable["name"], variable.get("value")):
                path = f"{container.path}.env[{number}].value"
                yield Problem(container.pod.document, path, f"{variable['name']} is written down", remedy)
    for document in manifests.of_kind("Secret"):
        for key in ("data", "stringData"):
            if document.body.get(key):
                yield Problem(document, key, "a Secret with its content", remedy)
    for document in manifests.of_kind("ConfigMap"):
        for name, value in (document.body.get("data") or {}).items():
            if _is_secret(name, value):
                yield Problem(document, f"data.{name}", "is readable by all who may list", remedy)
    for document in manifests.documents:
        for where, environment in _runtime_environments(document):
            for path, name in _plain_variables(environment, where):
                yield Problem(document, path, f"{name} is written down", remedy)
