"""Rules about the commands of RayJobs: they parse, their cluster can run them, their results stay."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any, Final

import yaml
from pertcast_data.errors import ConfigError
from ray.runtime_env import RuntimeEnv

from pertcast_jobs.cluster.command import RESUMABLE, Command
from pertcast_jobs.cluster.kube.job_line import read_line
from pertcast_jobs.cluster.kube.kinds.ray import RayJobSpec
from pertcast_jobs.cluster.kube.manifests import Manifests
from pertcast_jobs.cluster.kube.objects import Document
from pertcast_jobs.cluster.kube.ray_view import Cluster
from pertcast_jobs.cluster.kube.rules.problem import Problem
from pertcast_jobs.run_config.schema import ClusterConfig

_ENTRYPOINT: Final = "spec.entrypoint"


def _jobs(manifests: Manifests) -> Iterator[tuple[Document, RayJobSpec]]:
    for document in manifests.documents:
        if isinstance(document.spec, RayJobSpec):
            yield document, document.spec


def _commands(manifests: Manifests) -> Iterator[tuple[Document, RayJobSpec, tuple[Command, ...]]]:
    """Yield the jobs with the pertcast commands of their line; a line that cannot be read has none here."""
    for document, spec in _jobs(manifests):
        try:
            yield document, spec, read_line(spec.entrypoint)
        except ConfigError:  # `command_line` tells it
            yield document, spec, ()


def command_line(manifests: Manifests) -> Iterator[Problem]:
    """Find entrypoints that the real command line refuses, or whose configuration does not load."""
    for document, spec in _jobs(manifests):
        try:
            read_line(spec.entrypoint)
        except ConfigError as error:
            yield Problem(document, _ENTRYPOINT, str(error), "see `pertcast COMMAND --help`")


def runtime_env(manifests: Manifests) -> Iterator[Problem]:
    """Find runtime environments that Ray does not take."""
    path = "spec.runtimeEnvYAML"
    remedy = "see Ray's reference of runtime environments"
    for document, spec in _jobs(manifests):
        if spec.runtime_env_yaml is None:
            continue
        try:
            fields = yaml.safe_load(spec.runtime_env_yaml)
            if not isinstance(fields, dict):
                raise TypeError(f"a mapping is needed, not {fields!r}")
            unknown = sorted(set(fields) - RuntimeEnv.known_fields)
            if unknown:
                yield Problem(document, path, f"unknown: {', '.join(unknown)}", remedy)
            RuntimeEnv(**fields)
        except (yaml.YAMLError, TypeError, ValueError) as error:
            yield Problem(document, path, str(error), remedy)


def _training(command: Command) -> ClusterConfig | None:
    """Return where a training wants its Ray workers, or None where it wants none."""
    if command.config is None or command.config.cluster.launcher != "ray":
        return None
    return command.config.cluster


def _wants_gpus(command: Command) -> bool:
    training = _training(command)
    return bool(training and training.use_gpu) or bool(command.values.get("gpus_per_worker"))


def gpu_without_gpu_workers(manifests: Manifests) -> Iterator[Problem]:
    """Find commands that ask for GPUs where no worker has any: they would wait for ever."""
    for document, spec, commands in _commands(manifests):
        cluster = manifests.cluster_of(document)
        asks = any(map(_wants_gpus, commands)) or spec.entrypoint_num_gpus > 0
        if asks and cluster and not any(group.gpus * group.most for group in cluster.workers):
            yield Problem(
                document,
                _ENTRYPOINT,
                "asks for GPUs that no group of its cluster has",
                "add a group whose containers have nvidia.com/gpu, or leave out what asks for GPUs",
            )


def _places(cluster: Cluster, cpus: float, gpus: float) -> int:
    """Return how many workers of `cpus` and `gpus` each a cluster has room for at its maximum."""
    places = 0
    for group in cluster.groups:
        room = [int(group.cpus / cpus)] if cpus else []
        room += [int(group.gpus / gpus)] if gpus else []
        places += group.most * min(room, default=0)
    return places


def _without_place(command: Command, cluster: Cluster) -> str | None:
    """Return how a training's workers exceed what their cluster may grow to, or None."""
    training = _training(command)
    has_gpus = any(group.gpus * group.most for group in cluster.workers)
    if training is None or (training.use_gpu and not has_gpus):
        return None
    places = _places(cluster, training.cpus_per_worker, float(training.use_gpu))
    if places >= training.num_workers:
        return None
    return (
        f"{training.num_workers} workers of {training.cpus_per_worker:g} CPUs"
        f"{' and a GPU' if training.use_gpu else ''} each; the cluster has room for {places}"
    )


def workers_exceed_cluster(manifests: Manifests) -> Iterator[Problem]:
    """Find trainings and commands that do not fit what their cluster may grow to."""
    for document, spec, commands in _commands(manifests):
        cluster = manifests.cluster_of(document)
        if cluster is None:
            continue
        for what in filter(None, (_without_place(command, cluster) for command in commands)):
            yield Problem(document, _ENTRYPOINT, what, "lower cluster.num_workers or raise maxReplicas")
        wanted = spec.entrypoint_num_cpus
        if wanted > cluster.most_cpus:
            what = f"{wanted:g} CPUs are more than any node has"
            yield Problem(document, "spec.entrypointNumCpus", what, "lower it to a worker's CPUs")


def _lasting_paths(cluster: Cluster) -> list[str]:
    """Return the folders of a head that outlive it."""
    volumes = cluster.head.pod.volumes
    return [
        mount["mountPath"].rstrip("/")
        for mount in cluster.head.container.mounts
        if not {"emptyDir", "projected", "configMap", "secret"} & set(volumes.get(mount["name"], {}))
    ]


def _is_lasting(out: str, cluster: Cluster | None) -> bool:
    if ":/" in out:  # an address such as s3://bucket/run
        return True
    if not out.startswith("/"):
        return False
    out = posixpath.normpath(out)
    return cluster is None or any(f"{out}/".startswith(f"{path}/") for path in _lasting_paths(cluster))


def results_not_kept(manifests: Manifests) -> Iterator[Problem]:
    """Find results that are written where they go with the cluster."""
    for document, _, commands in _commands(manifests):
        cluster = manifests.cluster_of(document)
        outs: list[Any] = [command.values.get("out") for command in commands]
        for out in (str(out) for out in outs if out is not None):
            if not _is_lasting(out, cluster):
                yield Problem(
                    document,
                    _ENTRYPOINT,
                    f"--out {out} goes with the cluster",
                    "give a path below a mounted claim, or an address such as s3://bucket/run",
                )


def retry_starts_anew(manifests: Manifests) -> Iterator[Problem]:
    """Find jobs that are tried again but do not go on where they stopped."""
    for document, spec, commands in _commands(manifests):
        resumable = [command for command in commands if command.words[0] in RESUMABLE]
        if spec.backoff_limit and any("--resume" not in command.words for command in resumable):
            yield Problem(
                document,
                _ENTRYPOINT,
                "each retry (backoffLimit) finds a folder that is taken",
                "add --resume",
            )
