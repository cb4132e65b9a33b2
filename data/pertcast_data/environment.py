"""What every room does before it starts Ray: its environment, and who answers signals meanwhile.

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
def answers_kept(ray_internals: Any) -> Iterator[None]:
    """Keep the program's answers to SIGTERM and Ctrl-C while `ray.init` runs in the block.

    Ray would take SIGTERM over and exit at once, with a code of its own, as soon as it begins to start; its
    core does so again when it connects. An answer that raises while the core is being made would leave one
    that aborts the process at its end: until Ray is connected, answers wait.

    A program without an answer to SIGTERM gets Ray's, which ends Ray's processes too. Outside the main thread
    nothing changes.

    Parameters
    ----------
    ray_internals
        The package `ray._private`, by which Ray takes it over.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    answers = {number: answer for number, answer in found.items() if callable(answer)}
    utils, worker = ray_internals.utils, ray_internals.worker
    takes_over, connect = utils.set_sigterm_handler, worker.connect

    def connect_unheard(*given: Any, **named: Any) -> Any:
        asked: list[int] = []
        for number in answers:
            signal.signal(number, lambda number, _: asked.append(number))
        try:
            return connect(*given, **named)
        finally:
            for number, answer in answers.items():
                signal.signal(number, answer)
            for each in asked[:1]:
                signal.raise_signal(each)

    worker.connect = connect_unheard
    if signal.SIGTERM in answers:
        utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        utils.set_sigterm_handler, worker.connect = takes_over, connect
