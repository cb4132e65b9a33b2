"""What `pertcast screen` prints: an estimate, the verdict, the first hits."""

from __future__ import annotations

from typing import Any, Final

import polars as pl
from pertcast.naming import condition_name
from pertcast.report.tables import format_number
from pertcast_data.text import counted

from pertcast_jobs.screen.estimate import ScreenEstimate
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.run import ScreenOutcome

_SHOWN_HITS: Final = 10


def estimate_lines(found: ScreenEstimate) -> list[str]:
    """Return what a screen would cost, for a terminal."""
    left_out = f"{found.n_refused:,} refused, {found.n_repeated:,} repeated"
    return [
        f"profiles  {found.n_profiles:,}: {counted(found.n_perturbations, 'perturbation')}, "
        f"{counted(found.n_cells, 'cell line')}, {counted(found.n_doses, 'dose')}, "
        f"{counted(found.n_times, 'time')}",
        f"left out  {left_out}",
        f"space     {counted(found.n_genes, 'gene')}, {counted(found.n_sets, 'gene set')}",
        f"shards    {found.n_shards:,}",
        f"time      about {found.seconds:,.0f} s: {found.profiles_per_second:,.0f} profiles/s "
        f"x {counted(found.workers, 'worker')}",
        f"memory    about {found.memory_bytes / 1e9:.1f} GB",
        f"disk      {found.disk_bytes / 1e6:,.1f} MB of profiles",
    ]


def _top_hits(hits: pl.DataFrame) -> list[dict[str, Any]]:
    columns = (
        "rank",
        "sig_id",
        "score",
        "effect_size",
        "n_deg",
        "p_value",
        "fdr",
        "flag",
        "top_up",
        "top_down",
    )
    return [
        {"condition": condition_name(row), **{name: row[name] for name in columns}}
        for row in hits.head(_SHOWN_HITS).iter_rows(named=True)
    ]


def _verdict(outcome: ScreenOutcome, settings: ScreenSettings) -> str:
    ranked = {
        "effect_size": "ranked by predicted effect",
        "excess_size": "ranked by what a pair does beyond its singles",
        "connectivity": f"ranked by how well they {settings.objective} the signature",
    }[settings.ranks_by]
    if outcome.n_calibrated == 0:
        return f"{ranked}; no false-discovery rate: {outcome.uncalibrated or 'uncalibrated'}"
    called = ", ".join(f"{count:,} hits at {level:.0%}" for level, count in outcome.n_hits.items())
    return f"{ranked}; false-discovery rate of {outcome.n_calibrated:,}: {called}"


def outcome_json(outcome: ScreenOutcome) -> dict[str, Any]:
    """Return a finished screen as plain JSON."""
    return {
        "out": str(outcome.out),
        "report": str(outcome.out / "report.html"),
        "profiles": outcome.n_profiles,
        "computed": outcome.n_computed,
        "refused": outcome.n_refused,
        "calibrated": outcome.n_calibrated,
        "uncalibrated": outcome.uncalibrated,
        "hits_at_fdr": {f"{level:g}": count for level, count in outcome.n_hits.items()},
        "hits": _top_hits(outcome.hits),
    }


def outcome_lines(outcome: ScreenOutcome, settings: ScreenSettings) -> list[str]:
    """Return the verdict, the first hits and the path of the report, for a terminal."""
    top = _top_hits(outcome.hits)
    width = max(len(row["condition"]) for row in top)
    score = "effect" if settings.ranks_by == "effect_size" else settings.ranks_by.split("_")[0]
    lines = [f"{counted(outcome.n_profiles, 'condition')} {_verdict(outcome, settings)}"]
    lines.append(f"{'rank':>4}  {'condition':<{width}}  {score:>12}  {'fdr':>6}  trust")
    lines += [
        f"{row['rank']:>4}  {row['condition']:<{width}}  {format_number(row['score']):>12}  "
        f"{'-' if row['fdr'] is None else format_number(row['fdr']):>6}  {row['flag'] or '-'}"
        for row in top
    ]
    already = outcome.n_profiles - outcome.n_computed
    lines.append(f"{counted(outcome.n_computed, 'profile')} computed now, {already:,} found finished")
    if outcome.n_refused:
        lines.append(f"{counted(outcome.n_refused, 'row')} refused: {outcome.out / 'refused.csv'}")
    lines.append(f"report {outcome.out / 'report.html'}")
    return lines
