"""The table at the end: published numbers above, what was measured here below, with every baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from pertcast.evaluation.text import MISSING, text_table, with_interval

from pertcast_jobs.presets.preset import Preset, PresetSplit, Published

_WIDTH: Final = 110
_PARTS: Final = ("metrics", "well_metrics", "across_metrics")
_KINDS: Final = {"model": "measured", "baseline": "baseline"}


def expected_lines(preset: Preset, split: PresetSplit, report: Path | None) -> list[str]:
    """Return the table of one split.

    Parameters
    ----------
    preset, split
        Whose published numbers and metrics.
    report
        Folder of the trust report over all folds; None where nothing was measured yet.
    """
    published = [one for one in preset.published if one.split == split.kind]
    rows = [_published_row(one, preset.metrics) for one in published]
    if report is not None:
        rows += _measured_rows(
            json.loads((report / "trust.json").read_text(encoding="utf-8")), preset.metrics
        )
    head = f"{preset.name}, {split.kind}, {split.folds} folds, seed {split.seed}"
    if not rows:
        return [f"{head}: no published numbers are known"]
    lines = [head, *text_table(["", *preset.metrics], rows)]
    for one in published:
        lines += wrap(f"{one.who}: {one.note}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return lines


def _published_row(one: Published, metrics: Sequence[str]) -> list[str]:
    return [f"published  {one.who}", *(_stated(one, metric) for metric in metrics)]


def _stated(one: Published, metric: str) -> str:
    if metric not in one.values:
        return MISSING
    spread = f" ± {one.spread[metric]:.3f}" if metric in one.spread else ""
    return f"{one.values[metric]:.3f}{spread}"


def _measured_rows(trust: Mapping[str, Any], metrics: Sequence[str]) -> list[list[str]]:
    """Return the model first, then the baselines in the report's order."""
    chosen = [entry for entry in trust["table"] if entry["role"] in _KINDS]
    chosen.sort(key=lambda entry: entry["role"] != "model")
    return [
        [f"{_KINDS[entry['role']]}   {entry['title']}", *(_measured(entry, metric) for metric in metrics)]
        for entry in chosen
    ]


def _measured(entry: Mapping[str, Any], metric: str) -> str:
    found = next((entry[part][metric] for part in _PARTS if metric in entry.get(part, {})), None)
    if found is None or found["mean"] is None:
        return MISSING
    low, high = (found[name] if found[name] is not None else float("nan") for name in ("low", "high"))
    return with_interval(found["mean"], low, high)
