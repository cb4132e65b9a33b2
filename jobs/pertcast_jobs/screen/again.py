"""What can be made anew of a finished screen, without the bundle that made it: enrichment, and its report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from pertcast.analysis.enrichment import SizeMatchedNull
from pertcast.analysis.gene_sets import SetIndex, index_sets, read_gmt
from pertcast.report.screen.report import screen_report
from pertcast.screen_results import FinishedTables, screen_results
from pertcast.screens.files import (
    DOSES,
    ENRICHMENT,
    FUNCTION,
    GENE_SETS,
    HITS,
    MANIFEST,
    NEIGHBORS,
    REPORT,
    SELECTIVITY,
    SIG_INFO,
)
from pertcast.screens.finished import RESPONSE, FinishedScreen
from pertcast.screens.intact import REMEDY, require_intact
from pertcast.screens.manifest import read_manifest
from pertcast.training.files import sha256_of, write_json
from pertcast_data.errors import CorruptStore, StorageError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.storage.new_file import new_file
from pydantic import ValidationError

from pertcast_jobs.screen.finishing.enrichment import ScoreTables, prerank_rows
from pertcast_jobs.screen.finishing.function import function_of
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.summaries import set_columns
from pertcast_jobs.screen.workspace import write_atomically, write_blocks

_READ_BY_REPORT: Final = (
    *(SIG_INFO, HITS, NEIGHBORS, ENRICHMENT, SELECTIVITY, DOSES, FUNCTION, GENE_SETS),
    *("profiles.zarr/X", "profiles.zarr/layers/sd"),
)
_FACTS_OF_REPORT: Final = (
    *("absent", "bundle", "files", "function", "gene_sets", "layers", "n_cells", "n_genes", "n_profiles"),
    *("n_repeated", "pertcast_version", "plan", "plan_hash", "signature"),
)
_TOP_SETS: Final = 3
_TOP_HITS: Final = 5


@dataclass(frozen=True)
class EnrichedScreen:
    """Enrichment of a finished screen against other gene sets.

    Attributes
    ----------
    out
        The table that was written.
    n_profiles
        Profiles scored.
    sets
        Gene sets over the screen's genes.
    top
        The sets of largest screen_z of the first hits: rank, sig_id, cmap_name, term, es, nes, fdr, screen_z.
    """

    out: Path
    n_profiles: int
    sets: SetIndex
    top: pl.DataFrame


def enrich_screen(
    path: Path, gmt: Path, out: Path, min_size: int, progress: ProgressCallback = no_progress
) -> EnrichedScreen:
    """Score every profile of a finished screen against gene sets.

    The ranks of genes are those of the full-precision predictions; the values that weigh them are the stored
    float16, so that scores differ from those of a screen run with the same sets by less than 0.001 or so.

    Parameters
    ----------
    path
        A finished screen.
    gmt
        Gene sets.
    out
        Parquet file to write, with the columns of enrichment.parquet.
    min_size
        Fewest genes of a set among the screen's genes.
    progress
        Told of profiles scored.

    Raises
    ------
    FormatError, SchemaError
        No finished screen; no gene sets, or none with enough genes.
    ConfigError
        `out` exists.
    CorruptStore, StorageError
        The screen is damaged; `out` cannot be written.
    """
    manifest = read_manifest(path)
    screen = FinishedScreen.open(path)
    settings = _settings(path, manifest)
    sets = index_sets(read_gmt(gmt), screen.genes, min_size)
    strongest = screen.strongest(settings.n_reported)
    with new_file(out) as unfinished, tempfile.TemporaryDirectory(prefix="pertcast-enrich-") as folder:
        paths = list(_score(screen, sets, settings.seed, Path(folder), progress))
        tested = prerank_rows(strongest, screen.genes, sets, settings)
        tables = ScoreTables(paths, screen.n_profiles, Path(folder))
        write_blocks(unfinished, tables.blocks(sets, tested))
    return EnrichedScreen(out, screen.n_profiles, sets, _top_sets(screen, out))


def _score(
    screen: FinishedScreen, sets: SetIndex, seed: int, folder: Path, progress: ProgressCallback
) -> Iterator[Path]:
    """Score the profiles block by block; yield the tables written."""
    null = SizeMatchedNull.of(sets, seed)
    rows = np.arange(screen.n_profiles, dtype=np.int64)
    names = screen.sig_info(["sig_id"], at_once=screen.block_rows)
    blocks = zip(screen.profiles(RESPONSE, rows, progress), names, strict=True)
    for number, ((start, profiles), sig_ids) in enumerate(blocks):
        order = screen.descending(rows[start : start + len(profiles)], profiles)
        path = folder / f"{number:06d}.parquet"
        sig_ids.with_columns(set_columns(profiles, order, sets, null)).write_parquet(path)
        yield path


def _top_sets(screen: FinishedScreen, out: Path) -> pl.DataFrame:
    first = next(screen.hits()).head(_TOP_HITS).select("rank", "sig_id", "cmap_name")
    wanted = pl.col("sig_id").is_in(first["sig_id"].to_list())
    found = pl.scan_parquet(out).filter(wanted).collect()
    joined = first.join(found, on="sig_id", maintain_order="left")
    strength = pl.coalesce("screen_z", "nes", "es").abs()
    order = joined.with_columns(strength=strength).sort(
        "rank", "strength", "term", descending=[False, True, False], nulls_last=True
    )
    columns = ["rank", "sig_id", "cmap_name", "term", "es", "nes", "fdr", "screen_z"]
    return order.group_by("rank", maintain_order=True).head(_TOP_SETS).select(columns)


def remake_report(path: Path) -> Path:
    """Write the report of a finished screen anew, from its tables alone, and record it in the manifest.

    The reported hits are shown as they are stored (float16).

    Raises
    ------
    ConfigError, CorruptStore, FormatError
        There is no finished screen, or one of its tables is damaged.
    """
    manifest = read_manifest(path)
    lacking = [name for name in _FACTS_OF_REPORT if name not in manifest]
    if lacking:
        raise CorruptStore(f"{path / MANIFEST} does not state {', '.join(lacking)}. {REMEDY}")
    settings = _settings(path, manifest)
    require_intact(path, manifest, _READ_BY_REPORT)
    screen = FinishedScreen.open(path)
    sets = None
    if manifest["gene_sets"] is not None:
        sets = index_sets(read_gmt(path / GENE_SETS), screen.genes, settings.min_size)
    function = None
    if manifest["function"] is not None:
        function = function_of(pl.read_parquet(path / FUNCTION), manifest["function"])
    strongest = screen.strongest(settings.n_reported)
    tables = FinishedTables(path, manifest, screen.genes, sets, strongest, function)
    html = screen_report(screen_results(tables))
    target = path / REPORT
    try:
        write_atomically(target, lambda unfinished: unfinished.write_text(html, encoding="utf-8"))
        record = {"bytes": target.stat().st_size, "sha256": sha256_of(target)}
        described = {**manifest, "files": dict(sorted({**manifest["files"], REPORT: record}.items()))}
        write_atomically(path / MANIFEST, lambda unfinished: write_json(unfinished, described))
    except OSError as error:
        raise StorageError(
            f"{target}: cannot be written ({error}). Free the disk or permit it, and give the command again."
        ) from error
    return target


def _settings(path: Path, manifest: dict[str, Any]) -> ScreenSettings:
    """Return how a screen was computed, as its manifest says."""
    try:
        return ScreenSettings.model_validate(manifest["plan"]["settings"])
    except (KeyError, TypeError, ValidationError) as error:
        why = (
            f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}"
            if isinstance(error, ValidationError)
            else repr(error)
        )
        raise CorruptStore(
            f"{path / MANIFEST} does not say how the screen was computed ({why}): it was edited, or written "
            f"by another version of Pertcast. {REMEDY}"
        ) from error
