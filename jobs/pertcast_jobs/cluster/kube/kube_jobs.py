"""Jobs as RayJobs of Kubernetes: each a record that outlives its process, made and read by kubectl."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from pertcast_data.errors import ConfigError, PertcastError

from pertcast_jobs.cluster import command
from pertcast_jobs.cluster.code_archive import sent_files
from pertcast_jobs.cluster.job_client import ENDED, JobFailed, JobRow, NoSuchJob
from pertcast_jobs.cluster.kube import render
from pertcast_jobs.cluster.kube.documents import read_documents
from pertcast_jobs.cluster.kube.head import Head
from pertcast_jobs.cluster.kube.job_status import COMMAND_ID_ANNOTATION, row_of, status_of
from pertcast_jobs.cluster.kube.kubectl import Kubectl, NoNamespace, NoSuchObject
from pertcast_jobs.cluster.kube.room import require_room
from pertcast_jobs.cluster.ray_logs import follow_logs
from pertcast_jobs.cluster.retry import Unreachable, patiently, until_ended
from pertcast_jobs.cluster.submission import Asked, submit

DEFAULT_CLUSTER: Final = "pertcast"
_POLL_S: Final = 2.0
_JOBS: Final = "rayjobs.ray.io"
_CLUSTERS: Final = "rayclusters.ray.io"
_OURS: Final = ",".join(f"{key}={value}" for key, value in render.PART_OF.items())
_log: Final = logging.getLogger(__name__)


class KubeJobs:
    """The jobs of one namespace; the methods are those of `ClusterJobs`.

    Parameters
    ----------
    namespace
        The namespace; the current context's (or the template's) where None.
    cluster
        Name of the standing RayCluster that new jobs run on; `DEFAULT_CLUSTER` where None.
    manifests
        File with the RayJob that new jobs take their own cluster from, ``-`` for standard input; with it no
        standing cluster is used.
    files
        Small files that new jobs name and that travel with them, beside their configuration.
    cpus
        CPUs of a worker that a command's own process takes; where None, the template's, or it runs on the
        head, which has room for a driver only.
    """

    def __init__(
        self,
        namespace: str | None = None,
        cluster: str | None = None,
        manifests: str | None = None,
        files: Sequence[Path] = (),
        cpus: float | None = None,
    ) -> None:
        if cluster is not None and manifests is not None:
            raise ConfigError(
                "Give --cluster or --manifests: a job runs on a standing cluster or on its own."
            )
        self._cluster = cluster or DEFAULT_CLUSTER
        self._files = tuple(files)
        self._cpus = cpus
        self._templates = None if manifests is None else read_documents(manifests)
        self._kubectl = Kubectl(namespace)

    @property
    def namespace(self) -> str | None:
        """The namespace, or None for the current context's."""
        return self._kubectl.namespace

    def render(self, words: Sequence[str], submission_id: str | None = None) -> str:
        """Return the YAML of the RayJob that `submit` would create where nothing of it ran before."""
        asked = self._asked(words)
        document = self._document(submission_id or asked.command_id, asked)
        return yaml.safe_dump(document, sort_keys=False, width=110)

    def submit(self, words: Sequence[str], submission_id: str | None = None) -> str:
        """Run a pertcast command line as a job and return its id; see `ClusterJobs.submit`."""
        asked = self._asked(words)
        # What KubeRay would not take is told before anything is asked.
        first = self._document(submission_id or asked.command_id, asked)["metadata"]
        if self._kubectl.namespace is None and first.get("namespace"):
            self._kubectl = Kubectl(first["namespace"])
        return submit(self, asked, submission_id)

    def create(self, submission_id: str, asked: Asked) -> None:
        """Start a job; see `Backend`."""
        document = self._document(submission_id, asked)
        if self._templates is None:
            self._require_cluster()
        self._kubectl.create(document)

    def describe(self, submission_id: str) -> JobRow:
        """Return what the cluster knows of a job."""
        return row_of(self._job(submission_id))

    def logs(self, submission_id: str) -> str:
        """Return what the job has printed so far; nothing before it has a cluster."""
        job = self._job(submission_id)
        if not _has_begun(job):
            return ""
        with Head(self._kubectl, job) as head:
            return head.logs()

    def follow(self, submission_id: str) -> Iterator[str]:
        """Yield the job's output as it grows, until the job ends; see `ClusterJobs.follow`.

        A job that the operator tries again has a new cluster: its output then follows from its beginning.
        """
        what = f"job {submission_id}"
        shown: tuple[str, str] | None = None
        while True:
            job = patiently(lambda: self._job(submission_id), what)
            if _has_begun(job) and _attempt(job) != shown:
                with Head(self._kubectl, job) as head:
                    yield from self._follow_attempt(head, job)
                shown = _attempt(job)
            elif status_of(job) in ENDED:
                return
            else:
                time.sleep(_POLL_S)

    def _follow_attempt(self, head: Head, job: Mapping[str, Any]) -> Iterator[str]:
        """Yield the output of one attempt, until it ends or another has taken its place."""
        name = job["metadata"]["name"]
        try:
            head.check()
        except Unreachable as error:
            _log.info("Waiting for the head of job %s: %s", name, error)
        except JobFailed as error:  # how the job ended is known all the same
            _log.warning("%s", error)
            return

        def is_over() -> bool:
            now = self._job(name)
            return status_of(now) in ENDED or not _has_begun(now) or _attempt(now) != _attempt(job)

        yield from follow_logs(head.tail, has_ended=is_over, whole=head.logs, what=f"job {name}")

    def wait(self, submission_id: str) -> JobRow:
        """Wait for the job's end and return what the cluster knows of it then; see `ClusterJobs.wait`."""
        return until_ended(lambda: self.describe(submission_id), f"job {submission_id}", _POLL_S)

    def stop(self, submission_id: str) -> bool:
        """Ask the job to stop; returns whether it was pending or running.

        Ray stops a job that has begun (SIGTERM, so that it leaves a checkpoint): its RayJob stays as the
        record, and the operator removes a cluster of its own. One that has not begun is deleted: it has
        nothing to keep.
        """
        job = self._job(submission_id)
        if status_of(job) in ENDED:
            return False
        if not (_has_begun(job) and (job["status"].get("jobStatus"))):
            self._kubectl.delete(_JOBS, submission_id)
            return True
        with Head(self._kubectl, job) as head:
            return head.stop()

    def list(self) -> list[JobRow]:
        """Return the namespace's jobs, newest first; a template that waits to be copied is none."""
        found = self._kubectl.list(_JOBS, _OURS)
        if not found:
            self._require_namespace()
        jobs = [job for job in found if not _is_template(job)]
        jobs.sort(key=lambda job: str(job["metadata"].get("creationTimestamp")), reverse=True)
        return [row_of(job) for job in jobs]

    def _asked(self, words: Sequence[str]) -> Asked:
        parsed = command.parse_command(command.job_command(words), configs_here=False)
        command.require_lasting_out(parsed)
        return Asked.sent(*sent_files(parsed, self._files))

    def _document(self, name: str, asked: Asked) -> dict[str, Any]:
        """Return the RayJob of a command."""
        words = list(asked.words)
        if self._templates is None:
            document = render.standing_job(name, words, render.shell_line(words, asked.files), self._cluster)
        else:
            template = render.template_of(words[0], self._templates)
            if template["spec"].get("backoffLimit"):  # the operator runs the same words again
                words = command.resumed(words)
            document = render.own_cluster_job(name, words, render.shell_line(words, asked.files), template)
        if self._cpus is not None:
            document["spec"]["entrypointNumCpus"] = self._cpus
        if self._kubectl.namespace:
            document["metadata"]["namespace"] = self._kubectl.namespace
        document["metadata"]["annotations"][COMMAND_ID_ANNOTATION] = asked.command_id
        render.require_valid(document)
        if wanted := document["spec"].get("entrypointNumCpus"):
            require_room(wanted, document)
        return document

    def _job(self, submission_id: str) -> dict[str, Any]:
        try:
            return self._kubectl.get(_JOBS, submission_id)
        except NoSuchObject as error:
            known = ", ".join(row.submission_id for row in self.list()) or "none"
            raise NoSuchJob(f"No job {submission_id!r} in {self._where()}; known: {known}.") from error

    def _require_cluster(self) -> None:
        try:
            cluster = self._kubectl.get(_CLUSTERS, self._cluster)
        except NoSuchObject as error:
            self._require_namespace()
            known = [item["metadata"]["name"] for item in self._kubectl.list(_CLUSTERS, "")]
            raise ConfigError(
                f"No RayCluster {self._cluster!r} in {self._where()}; known: {', '.join(known) or 'none'}. "
                "Name one with --cluster, install one (docs/kubernetes.md), or give the job one of its own "
                "with --manifests."
            ) from error
        if self._cpus:
            require_room(self._cpus, cluster)
        state = (cluster.get("status") or {}).get("state")
        if state != "ready":
            _log.warning("RayCluster %s is not ready (%s): the job waits for it.", self._cluster, state)

    def _require_namespace(self) -> None:
        """Raise ConfigError where the namespace does not exist: a list of nothing looks the same."""
        if self._kubectl.namespace is None:
            return
        try:
            self._kubectl.get("namespace", self._kubectl.namespace)
        except NoNamespace:
            raise
        except PertcastError as error:  # many accounts may not look at namespaces
            _log.debug("Namespace not checked: %s", error)

    def _where(self) -> str:
        return f"namespace {self._kubectl.namespace}" if self._kubectl.namespace else "this namespace"


def _has_begun(job: Mapping[str, Any]) -> bool:
    """Return whether a RayJob has a cluster that it was, or is about to be, sent to."""
    status = job.get("status") or {}
    return all(status.get(key) for key in ("jobId", "rayClusterName", "dashboardURL"))


def _is_template(job: Mapping[str, Any]) -> bool:
    """Return whether a RayJob is one of an overlay's that was not started (`suspend`)."""
    is_ours = render.WORDS_ANNOTATION in (job["metadata"].get("annotations") or {})
    return bool(job["spec"].get("suspend")) and not is_ours


def _attempt(job: Mapping[str, Any]) -> tuple[str, str]:
    return job["status"]["rayClusterName"], job["status"]["jobId"]
