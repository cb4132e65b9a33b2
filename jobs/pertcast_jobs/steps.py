"""Ordinary command lines in a row: printed as they run, passed over where their result is there already."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Step:
    """One step: a command line of `pertcast` (without the program) and what it leaves.

    Attributes
    ----------
    words
        The command line.
    result
        The file or folder that it leaves.
    proofs
        What else must be there before the step is done: a folder of trainings exists long before the last
        of them has ended.
    """

    words: tuple[str, ...]
    result: Path
    proofs: tuple[Path, ...] = ()

    @property
    def line(self) -> str:
        """The command line as it is typed."""
        return f"pertcast {shlex.join(self.words)}"

    @property
    def needs_ray(self) -> bool:
        """Whether the command runs on Ray; such steps share one."""
        return self.words[0] in ("tune", "screen") or "cluster.launcher=ray" in self.words

    @property
    def is_done(self) -> bool:
        """Whether the result is there already."""
        return self.result.exists() and all(proof.exists() for proof in self.proofs)


def run_steps(
    steps: Iterable[Step],
    run: Callable[[Sequence[str]], int],
    ray: Callable[[], AbstractContextManager[Any]],
) -> int:
    """Run steps in order, printing each; stop at the first that fails.

    Parameters
    ----------
    steps
        May be made as they are asked for: what follows can depend on what has been left.
    run
        Runs one command line and returns its exit code.
    ray
        Starts Ray, once, for the steps that need it.

    Returns
    -------
    int
        The exit code of the step that failed, or 0.
    """
    with ExitStack() as stack:
        is_started = False
        for number, step in enumerate(steps, 1):
            print(f"\n[{number}] $ {step.line}", flush=True)
            if step.is_done:
                print(f"    done already: {step.result}")
                continue
            if step.needs_ray and not is_started:
                stack.enter_context(ray())
                is_started = True
            code = run(step.words)
            if code:
                return code
    return 0
