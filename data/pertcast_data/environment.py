"""What every room does before it starts Ray: its environment, and who answers SIGTERM meanwhile.

Ray is not imported with this module, so that it can be called before anything that does.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any


def prepare_environment(environment: MutableMapping[str, str] | None = None) -> None:
    """Set what Ray reads at import; values that are set already stay.

    Usage statistics are off. A local Ray gets a private token; where an address of a cluster is given
    (``RAY_ADDRESS``), its own settings are left alone.

    Parameters
    ----------
    environment
        Variables to change; those of this process where None.
    """
    env = os.environ if environment is None else environment
    env.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_ADDRESS" in env:
        return
    if env.setdefault("RAY_AUTH_MODE", "token") == "token":
        env.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@contextmanager
def sigterm_kept(ray_utils: Any) -> Iterator[None]:
    """Keep the program's answer to SIGTERM while `ray.init` runs in the block.

    Ray would take it over and exit at once, with a code of its own, as soon as it begins to start. A program
    without an answer gets Ray's, which ends Ray's processes too; so does a thread that is not the main one.

    Parameters
    ----------
    ray_utils
        The module `ray._private.utils`, by which Ray takes it over.
    """
    answer, takes_over = signal.getsignal(signal.SIGTERM), ray_utils.set_sigterm_handler
    if not callable(answer) or threading.current_thread() is not threading.main_thread():
        yield
        return
    ray_utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler = takes_over
        # Ray's core, too, has put a handler of its own in its place, which aborts.
        signal.signal(signal.SIGTERM, answer)
