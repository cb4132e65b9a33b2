"""`pertcast train --replay RUN`: what would be compared, what was found, in lines or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer

from pertcast_jobs.progress import progress_bar
from pertcast_jobs.train.replay import check_replay, replay_run
from pertcast_jobs.train.replay_facts import Difference
from pertcast_jobs.train.speed_lines import speed_lines


def require_overrides(words: Sequence[str]) -> None:
    """Raise a usage error where a configuration is named beside --replay, which brings its own."""
    names = [word for word in words if "=" not in word]
    if names:
        raise typer.BadParameter(
            f"--replay trains the recorded configuration: leave out {names[0]!r}. Only what moved "
            "may be given, such as data.store=STORE.",
            param_hint="CONFIG",
        )


def train_replay(
    run: Path, out: Path | None, words: Sequence[str], *, resume: bool, dry_run: bool, as_json: bool
) -> None:
    """Replay a run, or compare facts only; ends with exit code 1 where the replay is different.

    Parameters
    ----------
    run, out, resume
        As in `replay_run`.
    words
        Overrides.
    dry_run
        Train nothing.
    as_json
        Print JSON.
    """
    require_overrides(words)
    if dry_run:
        _print_check(run, words, as_json)
        return
    with progress_bar("replay", "steps") as progress:
        replay = replay_run(run, out, words, resume=resume, progress=progress)
    if as_json:
        print(json.dumps({**replay.to_json(), "training": replay.outcome.to_json()}, indent=1))
    else:
        lines = [f"run      {replay.outcome.run}", f"recorded {replay.recorded}"]
        lines += speed_lines(replay.outcome.result.get("speed", {}))
        lines += [*_difference_lines(replay.differences), replay.verdict()]
        print("\n".join(lines))
    if not replay.is_equal:
        raise typer.Exit(1)


def _print_check(run: Path, words: Sequence[str], as_json: bool) -> None:
    prepared, differences = check_replay(run, words)
    if as_json:
        facts = {"data_hash": prepared.data_hash, "split_hash": prepared.split_hash}
        print(json.dumps({**facts, "differences": [asdict(each) for each in differences]}, indent=1))
        return
    print(
        "\n".join(
            [
                f"data     {prepared.data_hash}, as recorded",
                f"split    {prepared.split_hash} ({prepared.split_kind}), as recorded",
                "settings as recorded",
                *_difference_lines(differences),
            ]
        )
    )


def _difference_lines(differences: Sequence[Difference]) -> list[str]:
    if not differences:
        return ["code and environment are those of the recorded run"]
    return [f"warning: {each.text()}" for each in differences]
