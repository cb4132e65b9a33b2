"""hits.parquet and hits.csv: every condition in the order of its rank, written without holding them all.

Ranks need a number a profile; rows are dealt to buckets of neighbouring ranks and sorted bucket by bucket.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pertcast.analysis.hits import hit_columns
from pertcast.evaluation.hit_calibration import HitCalibration, screen_fdr
from pertcast.screens.files import HITS, HITS_CSV
from pertcast.screens.sig_info import SigInfo

from pertcast_jobs.screen.conditions import rebatched
from pertcast_jobs.screen.summaries import SCORE
from pertcast_jobs.screen.workspace import Workspace, write_blocks

_BUCKET_ROWS: Final = 1 << 13
"""Ranks of a bucket, which is sorted in memory."""
_DEALT_ROWS: Final = 1 << 12
"""Rows dealt at once: few and large batches in each bucket."""


@dataclass(frozen=True)
class Ranking:
    """Ranks and significance of every condition.

    Attributes
    ----------
    order
        (N,) int64, rows from the first rank to the last; ties in the order of rows.
    p_value, fdr
        (N,) float64 by row; NaN where nothing calibrates a condition.
    """

    order: NDArray[np.int64]
    p_value: NDArray[np.float64]
    fdr: NDArray[np.float64]


def rank_conditions(sig_info: SigInfo, calibration: HitCalibration | None) -> Ranking:
    """Rank all conditions by their score; hold their effects against inactive ones where there are such."""
    order = np.argsort(-sig_info.values(SCORE), kind="stable")
    p_value, share = np.full(sig_info.n_rows, np.nan), np.full(sig_info.n_rows, np.nan)
    if calibration is not None:
        for start, block in sig_info.blocks(calibration.columns):
            rows = slice(start, start + block.height)
            p_value[rows], share[rows] = calibration.significance(block)
    return Ranking(order, p_value, screen_fdr(p_value, share))


def write_hits(
    workspace: Workspace, sig_info: SigInfo, ranking: Ranking, calibration: HitCalibration | None
) -> None:
    """Write every condition in the order of its rank."""
    folder = workspace.parts / "ranked"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    ranks = {
        "rank": _ranks(ranking.order),
        "rank_pos": _ranks(np.argsort(-sig_info.values("effect_up"), kind="stable")),
        "rank_neg": _ranks(np.argsort(-sig_info.values("effect_down"), kind="stable")),
    }
    hits = (_hits_of(start, block, ranks, ranking, calibration) for start, block in sig_info.blocks())
    _deal(rebatched(hits, _DEALT_ROWS), folder)
    buckets = sorted(folder.iterdir())
    workspace.publish(workspace.path / HITS, lambda path: write_blocks(path, _sorted(buckets)))
    workspace.publish(workspace.path / HITS_CSV, lambda path: _write_csv(path, _sorted(buckets)))
    shutil.rmtree(folder)


def _ranks(order: NDArray[np.int64]) -> NDArray[np.int64]:
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    return rank


def _hits_of(
    start: int,
    block: pl.DataFrame,
    ranks: dict[str, NDArray[np.int64]],
    ranking: Ranking,
    calibration: HitCalibration | None,
) -> pl.DataFrame:
    rows = slice(start, start + block.height)
    return hit_columns(
        block,
        ranks={name: values[rows] for name, values in ranks.items()},
        p_value=ranking.p_value[rows],
        fdr=ranking.fdr[rows],
        calibration=None if calibration is None else calibration.stratum_text(block),
    )


def _deal(hits: Iterator[pl.DataFrame], folder: Path) -> None:
    """Write rows to the files of their buckets: streams, which hold no footer of batches in memory."""
    with ExitStack() as stack:
        writers: dict[int, pa.RecordBatchStreamWriter] = {}
        for block in hits:
            for bucket, rows in _dealt(block):
                table = rows.to_arrow()
                if bucket not in writers:
                    path = folder / f"{bucket:06d}.arrows"
                    writers[bucket] = stack.enter_context(pa.ipc.new_stream(str(path), table.schema))
                writers[bucket].write_table(table)


def _dealt(hits: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    bucket = (hits["rank"] - 1) // _BUCKET_ROWS
    for number in bucket.unique().sort():
        yield int(number), hits.filter(bucket == number)


def _sorted(buckets: list[Path]) -> Iterator[pl.DataFrame]:
    for path in buckets:
        yield pl.read_ipc_stream(path).sort("rank")


def _write_csv(path: Path, blocks: Iterator[pl.DataFrame]) -> None:
    with path.open("wb") as stream:
        for number, block in enumerate(blocks):
            block.write_csv(stream, include_header=number == 0)
