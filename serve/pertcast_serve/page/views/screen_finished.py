"""What a finished screen shows on the page: its verdict and its figures, by the functions of its report.

Read once and kept for the screens looked at last: a finished screen does not change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import polars as pl
from pertcast.report.page import Section
from pertcast.report.screen.panels import (
    AddressOf,
    Panel,
    effect_panel,
    likeness_panel,
    map_panel,
    rank_panel,
    responses_panel,
)
from pertcast.report.screen.results import ScreenResults, thinned
from pertcast.report.screen.verdict_sections import verdict
from pertcast.report.screen.words import names_of
from pertcast.screen_results import FinishedTables, profile_plane, screen_results
from pertcast.screens.files import DOSES, HITS, MANIFEST, NEIGHBORS, SELECTIVITY
from pertcast.screens.finished import FinishedScreen
from pertcast.screens.manifest import read_manifest

MOST_POINTS: Final = 2_000
"""Points of a figure of the page: what a browser draws and moves without delay."""
_MOST_MAPPED: Final = 1_500
_KEPT: Final = 4
_DEFAULT_REPORTED: Final = 20

FigureOf = Callable[[ScreenResults, AddressOf], Panel]
FIGURES: Final[Mapping[str, FigureOf]] = MappingProxyType(
    {
        "rank": rank_panel,
        "effect": effect_panel,
        "responses": lambda results, address_of: responses_panel(results),
        "likeness": lambda results, address_of: likeness_panel(results),
        "map": map_panel,
    }
)
"""Figures of a finished screen by the names that their parts have in addresses."""

_reading = threading.Lock()
_mapping = threading.Lock()


def finished_results(folder: Path) -> ScreenResults:
    """Read what a finished screen shows, without the map of profiles; slow the first time.

    Raises
    ------
    ConfigError, CorruptStore, FormatError
        There is no finished screen, or one of its tables is damaged.
    """
    with _reading:
        return _results(folder, _version(folder))


def screen_figure(folder: Path, name: str, address_of: AddressOf) -> Panel:
    """Return a figure of `FIGURES` of a finished screen; raises as `finished_results`.

    Parameters
    ----------
    folder
        The screen.
    name
        A key of `FIGURES`.
    address_of
        Where a click on the point of a sig_id leads.
    """
    results = finished_results(folder)
    if name == "map":
        with _mapping:
            results = _with_map(folder, _version(folder))
    return FIGURES[name](results, address_of)


def verdict_of(results: ScreenResults) -> Section:
    """Say how many conditions stand out, or why that is not known, and which one comes first."""
    return verdict(results, names_of(results.hits.head(1))[0])


def _version(folder: Path) -> tuple[int, int]:
    """Tell one screen of a folder from another that is put there later."""
    state = (folder / MANIFEST).stat() if (folder / MANIFEST).is_file() else None
    return (state.st_mtime_ns, state.st_size) if state else (0, 0)


@lru_cache(_KEPT)
def _results(folder: Path, version: tuple[int, int]) -> ScreenResults:
    results = screen_results(_tables(folder), has_map=False)
    shown = thinned(results.ranked.height, MOST_POINTS)
    return replace(results, ranked=results.ranked[shown])


@lru_cache(_KEPT)
def _with_map(folder: Path, version: tuple[int, int]) -> ScreenResults:
    plane = profile_plane(_tables(folder), most=_MOST_MAPPED)
    return replace(_results(folder, version), map=plane)


def _tables(folder: Path) -> FinishedTables:
    """Open a screen; gene sets and gene function stand in its report."""
    manifest = read_manifest(folder)
    screen = FinishedScreen.open(folder)
    screen.require([HITS, NEIGHBORS, *(name for name in (SELECTIVITY, DOSES) if name in screen.files)])
    settings = manifest["plan"]["settings"]
    strongest = screen.strongest(int(settings.get("n_reported", _DEFAULT_REPORTED)))
    return FinishedTables(folder, manifest, screen.genes, None, strongest, None)


def contexts_of(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the cell lines and the perturbation types of a finished screen, each rising."""
    return _contexts(folder, _version(folder))


@lru_cache(_KEPT)
def _contexts(folder: Path, version: tuple[int, int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = ("cell_iname", "pert_type")
    found = pl.scan_parquet(folder / HITS).select(names).unique().collect(engine="streaming")
    cells, types = (tuple(found[name].cast(pl.String).drop_nulls().unique().sort()) for name in names)
    return cells, types
