"""Calls of replicas: dead ones are asked again; overload and want of replicas are `Unavailable`."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from pertcast_serve.problems import Unavailable

log = logging.getLogger(__name__)

TRIES_ON_DEAD_REPLICA = 5


@dataclass(frozen=True)
class NotNow:
    """`Unavailable` as a value: an exception would arrive with the replica's stack in its text.

    Attributes
    ----------
    reason
        What the exception said.
    """

    reason: str


async def ask_replicas(handle: DeploymentHandle[Any], *arguments: Any) -> Any:
    """Call a deployment's method; what a dying replica dropped is sent again.

    All calls are questions, which may be asked twice.

    Raises
    ------
    Unavailable
        All replicas are busy, or none can be reached.
    """
    for attempt in range(TRIES_ON_DEAD_REPLICA):
        try:
            found = await handle.remote(*arguments)
        except RayActorError:
            log.warning("a replica died", extra={"attempt": attempt + 1})
            await asyncio.sleep(0.1 * 2**attempt)
        except BackPressureError as error:
            raise Unavailable("All replicas are busy.") from error
        except RayServeException as error:
            raise Unavailable("No replica can be reached.") from error
        else:
            if isinstance(found, NotNow):
                raise Unavailable(found.reason)
            return found
    raise Unavailable("The replicas keep dying; see the server's log.")
