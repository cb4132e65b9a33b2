"""The chosen profiles of a screen as csv: their rows in the table of hits, or a row a profile and gene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.screens.finished import FinishedScreen
from pertcast_data.progress import ProgressCallback

from pertcast_jobs.screen_export.choice import Chosen, chosen_hits


def write_hits(screen: FinishedScreen, chosen: Chosen, file: Path, progress: ProgressCallback) -> None:
    """Write the hits of the chosen profiles, best first, with the screen's own ranks."""
    done = 0
    with file.open("wb") as text:
        for number, block in enumerate(chosen_hits(screen, chosen)):
            block.write_csv(text, include_header=number == 0)
            done += block.height
            progress(done, len(chosen.rows))


def write_long(
    screen: FinishedScreen, rows: NDArray[np.int64], file: Path, layer: str, progress: ProgressCallback
) -> None:
    """Write sig_id, gene and the value of a layer, profile after profile."""
    genes = pl.Series("gene", screen.genes, dtype=pl.String)
    start = 0
    with file.open("wb") as text:
        for table in screen.sig_info(["sig_id"], rows, at_once=screen.block_rows):
            values = screen.read(layer, rows[start : start + table.height])
            profile = np.repeat(np.arange(table.height), len(genes))
            long = pl.DataFrame(
                [
                    table["sig_id"].gather(profile),
                    genes.gather(np.tile(np.arange(len(genes)), table.height)),
                    pl.Series(layer, values.ravel()),
                ]
            )
            long.write_csv(text, include_header=start == 0)
            start += table.height
            progress(start, len(rows))
