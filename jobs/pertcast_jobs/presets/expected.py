"""The table at the end: published numbers above, what was measured here below, with every baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev
from textwrap import wrap
from typing import Any, Final

from pertcast.evaluation.text import MISSING, text_table, with_interval

from pertcast_jobs.presets.preset import Preset, PresetSplit, Published

_WIDTH: Final = 110
_TABLE_WIDTH: Final = 140
_OF_RUNS: Final = "runs/*/evaluation/trust.json"
_PARTS: Final = ("metrics", "well_metrics", "across_metrics")
_KINDS: Final = {"model": "measured", "baseline": "baseline"}


def expected_lines(preset: Preset, split: PresetSplit, report: Path | None) -> list[str]:
    """Return the table of one split, and one for every stratum of its test conditions by members seen.

    Parameters
    ----------
    preset, split
        Whose published numbers and metrics.
    report
        Folder of the trust report over all folds; None where nothing was measured yet. The reports of single
        draws are looked for in ``runs`` beside it: they tell the standard deviation between draws.
    """
    published = [one for one in preset.published if one.split == split.kind]
    trust = {} if report is None else _read(report / "trust.json")
    paths = sorted(report.parent.glob(_OF_RUNS)) if report is not None and split.is_drawn else []
    draws = [_read(path) for path in paths]
    head = f"{preset.name}, {split.kind}, {split.dealt}, seed {split.seed}"
    lines = []
    for stratum in dict.fromkeys(["", *_strata(trust), *(one.stratum for one in published)]):
        rows = [_published_row(one, preset.metrics) for one in published if one.stratum == stratum]
        rows += _measured_rows(_table(trust, stratum), preset.metrics)
        rows += _spread_row([_table(draw, stratum) for draw in draws], preset.metrics)
        if rows:
            lines += [f"{head}: {stratum}" if stratum else head, *_folded(preset.metrics, rows)]
    if not lines:
        return [f"{head}: no published numbers are known"]
    for one in published:
        lines += wrap(f"{one.who}: {one.note}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return lines


def _folded(metrics: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the table of the rows; metrics that are too many for one line follow in a table below."""
    titles, *columns = zip(["", *metrics], *rows, strict=True)
    first = 2 + max(map(len, titles))
    groups: list[list[tuple[str, ...]]] = [[]]
    width = first
    for column in columns:
        needed = 2 + max(map(len, column))
        if width + needed > _TABLE_WIDTH and groups[-1]:
            groups.append([])
            width = first
        groups[-1].append(column)
        width += needed
    lines = []
    for group in groups:
        header, *body = zip(titles, *group, strict=True)
        lines += text_table(header, body)
    return lines


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _strata(trust: Mapping[str, Any]) -> list[str]:
    return [stratum["name"] for stratum in trust.get("by_members", [])]


def _table(trust: Mapping[str, Any], stratum: str) -> list[Mapping[str, Any]]:
    """Return the contenders of a report with their scores, of one stratum where it has a name."""
    table: list[Mapping[str, Any]] = trust.get("table", [])
    if not stratum:
        return table
    found = (one["scores"] for one in trust.get("by_members", []) if one["name"] == stratum)
    of_stratum: Mapping[str, Any] = next(found, {})
    return [
        {"role": entry["role"], "title": entry["title"], "metrics": of_stratum[entry["name"]]}
        for entry in table
        if entry["name"] in of_stratum
    ]


def _spread_row(draws: Sequence[Sequence[Mapping[str, Any]]], metrics: Sequence[str]) -> list[list[str]]:
    """Return the model's standard deviation between draws as a row; none of fewer than two draws."""
    models = [entry for table in draws for entry in table if entry["role"] == "model"]
    if len(models) < 2:
        return []
    found = [[_found(entry, metric) for entry in models] for metric in metrics]
    means = [[one["mean"] for one in each if one and one["mean"] is not None] for each in found]
    cells = [f"{stdev(each):.3f}" if len(each) > 1 else MISSING for each in means]
    return [[f"           sd between {len(models)} draws", *cells]]


def _published_row(one: Published, metrics: Sequence[str]) -> list[str]:
    return [f"published  {one.who}", *(_stated(one, metric) for metric in metrics)]


def _stated(one: Published, metric: str) -> str:
    if metric not in one.values:
        return MISSING
    spread = f" ± {one.spread[metric]:.3f}" if metric in one.spread else ""
    return f"{one.values[metric]:.3f}{spread}"


def _measured_rows(table: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> list[list[str]]:
    """Return the model first, then the baselines in the report's order."""
    chosen = [entry for entry in table if entry["role"] in _KINDS]
    chosen.sort(key=lambda entry: entry["role"] != "model")
    return [
        [f"{_KINDS[entry['role']]}   {entry['title']}", *(_measured(entry, metric) for metric in metrics)]
        for entry in chosen
    ]


def _found(entry: Mapping[str, Any], metric: str) -> Mapping[str, Any] | None:
    return next((entry[part][metric] for part in _PARTS if metric in entry.get(part, {})), None)


def _measured(entry: Mapping[str, Any], metric: str) -> str:
    found = _found(entry, metric)
    if found is None or found["mean"] is None:
        return MISSING
    low, high = (found[name] if found[name] is not None else float("nan") for name in ("low", "high"))
    return with_interval(found["mean"], low, high)
