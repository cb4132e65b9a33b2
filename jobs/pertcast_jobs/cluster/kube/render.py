"""A pertcast command as a RayJob: on a standing cluster, or on one of its own after a template.

A RayJob runs the code of the image. The configuration files that the command names travel in its shell line.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from pertcast_data.errors import ConfigError
from pydantic import ValidationError

from pertcast_jobs.cluster.command import entrypoint
from pertcast_jobs.cluster.kube.job_line import pertcast_commands
from pertcast_jobs.cluster.kube.kinds.ray import LONGEST_NAME, NAME, RayJobSpec
from pertcast_jobs.cluster.ray_jobs import STOP_WAIT_S

API_VERSION: Final = "ray.io/v1"
PART_OF: Final = {"app.kubernetes.io/part-of": "pertcast"}
WORDS_ANNOTATION: Final = "pertcast.io/words"
"""Holds the command's words as JSON: what the job is, without a shell's quotes."""

_VARIABLES: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
_MOST_FILE_BYTES: Final = 64 * 1024  # Linux takes 128 KiB in one word of a command line
_NOT_FROM_TEMPLATES: Final = (
    "jobId",
    "suspend",
    "clusterSelector",
    "submitterPodTemplate",
    "submitterConfig",
)


def require_name(name: str) -> str:
    """Return a RayJob's name; raises ConfigError where KubeRay would not take it."""
    longest = LONGEST_NAME["RayJob"]
    if len(name) > longest or not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a RayJob: at most {longest} lowercase letters, digits and '-', "
            "beginning with a letter. Give another --submission-id."
        )
    return name


def shell_line(words: Sequence[str], files: Mapping[str, Path]) -> str:
    """Return the shell line that runs a whole command, after it has written the files that it reads.

    Parameters
    ----------
    words
        The whole command; names files by their names in `files`.
    files
        Name in the job's folder -> path here.

    Raises
    ------
    ConfigError
        The files are too large for a command line.
    """
    if not files:
        return entrypoint(words)
    contents = {name: path.read_bytes() for name, path in sorted(files.items())}
    if sum(map(len, contents.values())) > _MOST_FILE_BYTES:
        raise ConfigError(
            f"{', '.join(map(str, files.values()))}: more than {_MOST_FILE_BYTES // 1024} KiB do not fit "
            "into a RayJob. Put such files where the cluster reads them (a volume, s3://) and name that path."
        )
    steps = ['cd "$(mktemp -d)"']
    for name, content in contents.items():
        steps.append(f"mkdir -p {shlex.quote(str(Path(name).parent))}")
        steps.append(f"echo {base64.b64encode(content).decode()} | base64 -d > {shlex.quote(name)}")
    return " && ".join([*steps, f"exec {entrypoint(words)}"])


def _metadata(name: str, words: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    labels = {**(given.get("labels") or {}), **PART_OF, "app.kubernetes.io/component": words[0]}
    annotations = {**(given.get("annotations") or {}), WORDS_ANNOTATION: json.dumps(list(words))}
    # What `kubectl apply` has noted of the template is no note about this job.
    annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return {"name": require_name(name), "labels": labels, "annotations": annotations}


def standing_job(name: str, words: Sequence[str], line: str, cluster: str) -> dict[str, Any]:
    """Return the RayJob that runs a command on a cluster that stands and stays.

    KubeRay takes no `backoffLimit`, `suspend` or `ttlSecondsAfterFinished` beside a `clusterSelector`, and
    does not heed `shutdownAfterJobFinishes`. `jobId` is left to it: a name used again would otherwise find
    the earlier job of that id in the cluster, and take its end for this one's.

    Parameters
    ----------
    name
        The RayJob's name.
    words
        The whole command, for the annotation.
    line
        The shell line that runs it.
    cluster
        Name of the RayCluster.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "RayJob",
        "metadata": _metadata(name, words, {}),
        "spec": {
            "entrypoint": line,
            "submissionMode": "HTTPMode",
            "clusterSelector": {"ray.io/cluster": cluster},
            "runtimeEnvYAML": _runtime_env(None),
        },
    }


def _runtime_env(given: str | None) -> str:
    """Return a runtime environment in which a stop leaves time for a checkpoint, unless it says how much."""
    try:
        found = yaml.safe_load(given or "{}")
        variables = {**_VARIABLES, **(found.get("env_vars") or {})}
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"runtimeEnvYAML of the RayJob in --manifests is no runtime environment: {error}. Look at the "
            "manifests with `pertcast job check FILE`."
        ) from error
    return yaml.safe_dump({**found, "env_vars": variables})


def own_cluster_job(
    name: str, words: Sequence[str], line: str, template: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the RayJob that runs a command on a cluster of its own, which goes when it ends.

    Parameters
    ----------
    name, words, line
        As for `standing_job`.
    template
        The RayJob that describes the cluster; its namespace is kept.
    """
    given = template.get("metadata") or {}
    metadata = _metadata(name, words, given)
    if given.get("namespace"):
        metadata["namespace"] = given["namespace"]
    kept = {key: value for key, value in template["spec"].items() if key not in _NOT_FROM_TEMPLATES}
    # In the other modes a submitter's shell would take the line apart first.
    spec = {**kept, "submissionMode": "HTTPMode", "entrypoint": line}
    spec["runtimeEnvYAML"] = _runtime_env(kept.get("runtimeEnvYAML"))
    if "deletionStrategy" not in spec:  # says itself what goes when; KubeRay takes only one of both
        spec["shutdownAfterJobFinishes"] = True
    return {"apiVersion": API_VERSION, "kind": "RayJob", "metadata": metadata, "spec": spec}


def require_valid(document: Mapping[str, Any]) -> None:
    """Raise ConfigError where KubeRay would not take a RayJob, or would drop a field of it."""
    try:
        RayJobSpec.model_validate(document["spec"])
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, ('spec', *problem['loc'])))}: {problem['msg']}" for problem in error.errors()
        )
        raise ConfigError(
            f"KubeRay would not take RayJob {document['metadata']['name']}: {problems}. Look at the "
            "manifests with `pertcast job check FILE`."
        ) from error


def _runs(job: Mapping[str, Any], name: str, command: str) -> bool:
    """Return whether a RayJob's entrypoint runs a pertcast command."""
    try:
        found = pertcast_commands(job["spec"].get("entrypoint") or "")
    except ConfigError as error:
        raise ConfigError(f"--manifests: the entrypoint of RayJob {name}: {error}") from error
    return any(words[:1] == [command] for words in found)


def template_of(command: str, documents: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the RayJob of the documents that runs `command` on a cluster of its own.

    Raises
    ------
    ConfigError
        There is none, or more than one.
    """
    jobs = {
        str((document.get("metadata") or {}).get("name")): document
        for document in documents
        if document.get("kind") == "RayJob" and "rayClusterSpec" in (document.get("spec") or {})
    }
    fitting = [name for name, job in jobs.items() if _runs(job, name, command)]
    if len(fitting) == 1:
        return jobs[fitting[0]]
    what = (
        f"more than one: {', '.join(fitting)}" if fitting else f"none; RayJobs: {', '.join(jobs) or 'none'}"
    )
    raise ConfigError(
        f"--manifests shall hold one RayJob that runs `pertcast {command}` with a rayClusterSpec; there is "
        f"{what}. Render an overlay (`kubectl kustomize k8s/overlays/gpu`), or use --cluster NAME."
    )
