"""The driver's side of a screen on Ray Serve: asks replicas for shards, and counts the replicas.

A bounded number of shards is asked for at once; what a dying replica dropped is asked for again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Final, Self

from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse
from ray.serve.schema import ReplicaState

from pertcast_jobs.screen.ray_workers import TRIES_A_SHARD, died, shard_done
from pertcast_jobs.screen.shards import ShardDone

log = logging.getLogger(__name__)

_POLL_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.2


class ReplicaCount:
    """How many replicas of a deployment run, and when that changed.

    Parameters
    ----------
    application, deployment
        Whose replicas are counted.

    Attributes
    ----------
    changes
        (seconds since the count began, replicas from then on), oldest first.
    """

    def __init__(self, application: str, deployment: str) -> None:
        self._application, self._deployment = application, deployment
        self._started = time.monotonic()
        self.changes: list[tuple[float, int]] = []

    @property
    def current(self) -> int:
        """Replicas that ran when last looked."""
        return self.changes[-1][1] if self.changes else 0

    def look(self) -> None:
        """Count now; a controller that does not answer is asked the next time."""
        try:
            application = serve.status().applications.get(self._application)
        except (RayError, RayServeException):
            return
        if application is None or self._deployment not in application.deployments:
            return
        states = application.deployments[self._deployment].replica_states
        running = int(states.get(ReplicaState.RUNNING, 0))
        if not self.changes or running != self.current:
            seconds = time.monotonic() - self._started
            self.changes.append((seconds, running))
            log.info("%d replicas", running, extra={"replicas": running, "seconds": seconds})

    def note(self) -> str:
        """Return what to show beside the progress."""
        return f"{self.current} replica{'' if self.current == 1 else 's'}"


class ServedShards:
    """Computes shards by asking a deployment for them, `most_asked` at once.

    Parameters
    ----------
    handle
        The deployment.
    most_asked
        Shards that are asked for at once; more than the replicas there may be can take, so that the load
        shows that more of them are wanted.
    replicas
        Counts the replicas.
    """

    def __init__(self, handle: DeploymentHandle[Any], most_asked: int, replicas: ReplicaCount) -> None:
        # One handle for all calls: each new one would measure its own load, and go on when it is dropped.
        self._compute, self._most_asked = handle.options(method_name="compute"), most_asked
        self.replicas = replicas
        self._is_over = threading.Event()
        self._threads = ThreadPoolExecutor(most_asked, thread_name_prefix="ask-for-shard")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what is still asked for."""
        self._is_over.set()
        self._threads.shutdown(cancel_futures=True)
        self._compute.shutdown()

    def __call__(self, shards: Sequence[int]) -> Iterator[ShardDone]:
        """Yield every shard once it is written, with the number of replicas for its note."""
        coming = iter(shards)
        asked: set[Future[dict[str, Any]]] = set()
        while True:
            for shard in coming:
                # Sent by this thread: the first call sets the handle up, which may be done once only.
                asked.add(self._threads.submit(self._ask, shard, self._compute.remote(shard)))
                if len(asked) == self._most_asked:
                    break
            if not asked:
                return
            finished, asked = wait(asked, return_when=FIRST_COMPLETED)
            for answer in finished:
                yield shard_done(answer.result(), self.replicas.note())

    def _ask(self, shard: int, response: DeploymentResponse[dict[str, Any]]) -> dict[str, Any]:
        """Return the row of a shard; asked again where its replica died."""
        pause = _FIRST_PAUSE_S
        for attempt in range(1, TRIES_A_SHARD + 1):
            try:
                return self._answer(response)
            except RayActorError as error:
                log.warning("a replica died", extra={"shard": shard, "attempt": attempt})
                if attempt == TRIES_A_SHARD or self._is_over.wait(pause):
                    raise died(f"shard {shard}", error) from error
                pause *= 2
                response = self._compute.remote(shard)
        raise AssertionError("a shard is tried at least once")

    def _answer(self, response: DeploymentResponse[dict[str, Any]]) -> dict[str, Any]:
        while True:
            try:
                row: dict[str, Any] = response.result(timeout_s=_POLL_S)
                return row
            except RayTaskError:  # raised in the replica, where it may be a TimeoutError too
                raise
            except TimeoutError:
                if self._is_over.is_set():
                    response.cancel()
                    raise
