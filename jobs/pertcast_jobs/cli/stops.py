"""What a command that was stopped says; Ctrl-C (SIGINT) ends it with 130, preemption (SIGTERM) with 143."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

INTERRUPTED: Final = 130
PREEMPTED: Final = 143


def stop_message(stop: KeyboardInterrupt | None, words: Sequence[str]) -> str:
    """Return what a stopped command says last: what happened, and how to go on.

    Parameters
    ----------
    stop
        What stopped it.
    words
        The command line, without the program's name.
    """
    happened = str(stop) if stop is not None and str(stop) else "interrupted"
    if words[:1] == ["job"]:
        return happened
    if words[:1] != ["train"]:
        return f"{happened}; run the same command again to go on"
    again = list(words) if "--resume" in words else [*words, "--resume"]
    return f"{happened}; go on with: pertcast {shlex.join(again)}"
