"""Sweeps that were begun when `advantage` was called `skill`: refused, with the command that renames it.

Skill is the trust report's share of what is left to the ceiling, and one word stands for one thing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pertcast_data.errors import ConfigError

from pertcast_jobs.tune.records import SCORE_FILE

_OLDER: Final = re.compile(r'metric: skill\b|"skill')
_RENAMES: Final = 's/metric: skill/metric: advantage/; s/"skill/"advantage/g'


def require_present_names(out: Path) -> None:
    """Raise ConfigError where the sweep at `out` names its metric as older versions did."""
    older = [path for path in _that_name_metrics(out) if _OLDER.search(_text(path))]
    if older:
        files = " ".join(shlex.quote(str(path)) for path in older)
        raise ConfigError(
            f"{older[0]}: an older version called `skill` what is `advantage` now. Rename it, and continue: "
            f"sed -i '{_RENAMES}' {files}"
        )


def _that_name_metrics(out: Path) -> Iterator[Path]:
    yield out / "sweep.yaml"
    yield from sorted((out / "records").glob("*.json"))
    yield from sorted((out / "trials").glob(f"*/{SCORE_FILE}"))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
