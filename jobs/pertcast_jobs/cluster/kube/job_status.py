"""What KubeRay's status of a RayJob says, in the words of every way to a cluster's jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pertcast_jobs.cluster.job_client import (
    ENDED,
    FAILED,
    PENDING,
    RUNNING,
    STOPPED,
    SUCCEEDED,
    JobRow,
    shell_code,
)
from pertcast_jobs.cluster.kube.render import WORDS_ANNOTATION

_EXIT_CODE: Final = re.compile(r"failed with exit code (-?\d+)")

COMMAND_ID_ANNOTATION: Final = "pertcast.io/command-id"
"""Holds what tells whether two submissions ask the same; see `Asked`."""


def status_of(job: Mapping[str, Any]) -> str:
    """Return PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.

    A RayJob has two statuses: `jobStatus` is Ray's and may be stale or missing, `jobDeploymentStatus` is the
    operator's. A suspended one waits (Kueue queues jobs so), one that is retried waits for its new cluster.
    """
    status = job.get("status") or {}
    ray, deployment = status.get("jobStatus"), status.get("jobDeploymentStatus")
    if deployment in ("Failed", "ValidationFailed"):
        return str(ray) if ray == STOPPED else FAILED
    if deployment == "Complete":
        return str(ray) if ray in ENDED else SUCCEEDED
    if job["metadata"].get("deletionTimestamp"):
        return STOPPED
    return RUNNING if deployment == "Running" and (ray == RUNNING or ray in ENDED) else PENDING


def exit_code_of(job: Mapping[str, Any]) -> int | None:
    """Return the code of an ended job's process where Ray's message tells it: RayJobs have no field."""
    ended = status_of(job)
    if ended == SUCCEEDED:
        return 0
    found = _EXIT_CODE.search((job.get("status") or {}).get("message") or "")
    if ended not in ENDED or found is None:
        return None
    return shell_code(int(found[1]))


def row_of(job: Mapping[str, Any]) -> JobRow:
    """Return a RayJob as a row."""
    status = job.get("status") or {}
    info = status.get("rayJobInfo") or {}
    # `reason` is AppFailed where Ray's message says it all.
    reason = status.get("reason") or ""
    notes = job["metadata"].get("annotations") or {}
    said = [text for text in ("" if reason == "AppFailed" else reason, status.get("message")) if text]
    return JobRow(
        submission_id=job["metadata"]["name"],
        status=status_of(job),
        entrypoint=job["spec"].get("entrypoint") or "",
        message=": ".join(said),
        started=_time(info.get("startTime") or status.get("startTime")),
        ended=_time(info.get("endTime") or status.get("endTime")),
        exit_code=exit_code_of(job),
        words=tuple(json.loads(notes[WORDS_ANNOTATION])) if WORDS_ANNOTATION in notes else None,
        command_id=notes.get(COMMAND_ID_ANNOTATION),
    )


def _time(stamp: str | None) -> str | None:
    return None if stamp is None else stamp.removesuffix("Z") + "+00:00"
