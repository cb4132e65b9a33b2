"""The head of a RayJob's Ray cluster, reached through a forwarded port with the cluster's token."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final

from pertcast_data.errors import PertcastError

from pertcast_jobs.cluster.job_client import JobFailed, NoSuchJob
from pertcast_jobs.cluster.kube.kubectl import Kubectl, NoSuchObject, PortForward
from pertcast_jobs.cluster.ray_jobs import RayJobs

_DASHBOARD_PORT: Final = 8265


class Head:
    """The Ray Jobs API of a RayJob's cluster; opened when it is first asked, and again after a cut.

    Parameters
    ----------
    kubectl
        Says the namespace.
    job
        A RayJob whose `status` names cluster, dashboard and job id.
    """

    def __init__(self, kubectl: Kubectl, job: Mapping[str, Any]) -> None:
        self._kubectl = kubectl
        self._name: str = job["metadata"]["name"]
        self._job_id: str = job["status"]["jobId"]
        self._cluster: str = job["status"]["rayClusterName"]
        # "NAME-head-svc.NAMESPACE.svc.cluster.local:8265"
        self._service: str = job["status"]["dashboardURL"].rpartition("//")[2].partition(".")[0]
        self._way: PortForward | None = None
        self._jobs: RayJobs | None = None

    def __enter__(self) -> Head:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._way is not None:
            self._way.close()

    def open(self) -> RayJobs:
        """Return the cluster's jobs.

        Raises
        ------
        JobFailed
            The cluster is gone.
        Unreachable
            The way cannot be opened at the moment.
        ConfigError
            The account may not read the token or forward a port.
        """
        if self._jobs is not None and self._way is not None and self._way.is_open():
            return self._jobs
        if self._way is not None:
            self._way.close()
            self._way = None
        try:
            self._way = PortForward(self._kubectl, self._service, _DASHBOARD_PORT)
        except NoSuchObject as error:
            raise JobFailed(
                f"The Ray cluster {self._cluster} of job {self._name} is gone, and with it the job's output. "
                "Look into the job's --out; `ttlSecondsAfterFinished` of the RayJob keeps a cluster longer."
            ) from error
        address = f"http://127.0.0.1:{self._way.local_port}"
        who = f"The head of Ray cluster {self._cluster}"
        self._jobs = RayJobs(address, token=self._token(), who=who)
        return self._jobs

    def check(self) -> None:
        """Ask the head for nothing but an answer; errors as of `open`, ConfigError for a wrong token too."""
        self.open().check()

    def logs(self) -> str:
        """Return what the job has printed so far; errors as of `check`, JobFailed where it is forgotten."""
        try:
            return self.open().logs(self._job_id)
        except NoSuchJob as error:
            raise JobFailed(
                f"The head of Ray cluster {self._cluster} does not know job {self._name}, or no longer: one "
                "that starts anew has forgotten the output. Look into the job's --out."
            ) from error

    def stop(self) -> bool:
        """Ask the job to stop; errors as of `check`."""
        return self.open().stop(self._job_id)

    def tail(self) -> AsyncIterator[str]:
        """Return a connection that sends the output from its beginning on, or raise ConnectionError."""
        try:
            return self.open().tail(self._job_id)
        except PertcastError as error:
            raise ConnectionError(str(error)) from error

    def _token(self) -> str | None:
        """Return the token that KubeRay made for the cluster, or None for a cluster without one."""
        try:
            secret = self._kubectl.get("secret", self._cluster)
        except NoSuchObject:
            return None
        token = (secret.get("data") or {}).get("auth_token")
        return None if token is None else base64.b64decode(token).decode()
