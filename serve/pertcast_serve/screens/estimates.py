"""What a screen would cost: its own command with --dry-run, run beside the server for a limited time.

The command checks everything that it would check before it computes, and says in words what it refuses.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pertcast_serve.problems import Unavailable
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.screens import ScreenEstimate
from pertcast_serve.screens.command import ScreenCommand
from pertcast_serve.screens.messages import error_in, in_our_words

PROGRAM: Final = (sys.executable, "-m", "pertcast_jobs")
"""The command line `pertcast` of this installation."""
AT_ONCE: Final = 2
"""Estimates that run beside each other: each takes a CPU for some seconds."""
_KEPT: Final = 256


class Estimator:
    """Estimates screens.

    Parameters
    ----------
    options
        Words that say where shards would be computed.
    seconds
        Longest time that an estimate may take.
    program
        What `pertcast` is here.
    """

    def __init__(self, options: Sequence[str], seconds: float, program: Sequence[str] = PROGRAM) -> None:
        self._options = list(options)
        self._seconds = seconds
        self._program = list(program)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._known: OrderedDict[str, ScreenEstimate] = OrderedDict()

    async def estimate(self, command: ScreenCommand, model: str) -> ScreenEstimate | Problem:
        """Return what a command would compute and take, or why it is refused; raises Unavailable."""
        key = await asyncio.to_thread(_key_of, command)
        if key in self._known:
            return self._known[key]
        async with self._turns:
            found = await self._run(command, model)
        if isinstance(found, ScreenEstimate):
            self._known[key] = found
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return found

    async def _run(self, command: ScreenCommand, model: str) -> ScreenEstimate | Problem:
        with tempfile.TemporaryDirectory(prefix="pertcast-estimate-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            await asyncio.to_thread(command.write_lists, folder)
            words = [*self._program, *command.words(folder), *self._options, "--dry-run", "--json"]
            code, out, errors = await self._output(words)
            if code == 0:
                return _estimate_of(json.loads(out))
            if code < 0:
                raise Unavailable("The estimate was ended by the system, probably for want of memory.")
            detail = in_our_words(error_in(errors), command.names(folder, model))
            return Problem(title="Screen refused", status=422, detail=detail)

    async def _output(self, words: Sequence[str]) -> tuple[int, str, str]:
        """Run a command; return its exit code and what it printed. It ends with the request that wants it."""
        process = await asyncio.to_thread(
            subprocess.Popen,
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            out, errors = await asyncio.to_thread(process.communicate, timeout=self._seconds)
        except subprocess.TimeoutExpired as error:
            _kill(process)
            await asyncio.to_thread(process.communicate)
            raise Unavailable(
                f"The estimate took longer than {self._seconds:g} s. Screen less at once, or try when the "
                "server is less busy."
            ) from error
        finally:
            # Where the request was given up meanwhile; the thread that waits for the process reaps it.
            _kill(process)
        return process.returncode, out, errors


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process, if it has not ended, with all that it started."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _key_of(command: ScreenCommand) -> str:
    """Return what an estimate follows from: the request, the bundle and the state of the gene sets."""
    request = command.request.model_copy(update={"title": "", "model": None})
    sets = command.gene_sets
    stamp = "" if sets is None or not sets.is_file() else f"{sets} {sets.stat().st_mtime_ns}"
    words = f"{command.bundle}\n{_stamp(Path(command.bundle))}\n{stamp}\n{request.model_dump_json()}"
    # Lists have megabytes, and hundreds of estimates are remembered.
    return hashlib.sha256(words.encode()).hexdigest()


def _stamp(bundle: Path) -> str:
    return " ".join(str(file.stat().st_mtime_ns) for file in sorted(bundle.glob("*.json")))


def _estimate_of(found: dict[str, Any]) -> ScreenEstimate:
    remarks = []
    if found["n_refused"]:
        remarks.append(f"{found['n_refused']:,} rows cannot be predicted and are left out.")
    if found["n_repeated"]:
        remarks.append(f"{found['n_repeated']:,} rows say the same as another and count once.")
    remarks.append(
        f"{found['profiles_per_second']:,.0f} profiles/s, measured on the server's own machine; "
        f"{found['workers']} at once."
    )
    return ScreenEstimate(
        n_perturbations=found["n_perturbations"],
        n_profiles=found["n_profiles"],
        n_refused=found["n_refused"],
        seconds=found["seconds"],
        bytes=found["disk_bytes"],
        remarks=remarks,
    )
