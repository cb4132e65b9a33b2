"""Gene sets (gmt) and ranked lists (rnk) of the chosen profiles of a screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.naming import condition_name
from pertcast.screens.finished import RESPONSE, FinishedScreen
from pertcast_data.errors import ConfigError
from pertcast_data.progress import ProgressCallback

MOST_FILES: Final = 1_000
"""Ranked lists that are written into one folder."""

_DESCRIBED: Final = ("sig_id", "cmap_name", "pert_id", "pert_type", "cell_iname", "pert_dose", "pert_time")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._+=,@-]+")


def write_gmt(
    screen: FinishedScreen, rows: NDArray[np.int64], file: Path, n_genes: int, progress: ProgressCallback
) -> int:
    """Write the genes that rise most and fall most in each profile as sets SIG_ID_UP and SIG_ID_DOWN.

    A set holds at most `n_genes` genes, strongest first, and only genes of that sign; a set that would be
    empty is left out. The second field describes the condition.

    Returns
    -------
    int
        Sets that were left out.
    """
    empty = 0
    genes = np.array(screen.genes, dtype=object)
    with file.open("w", encoding="utf-8", newline="\n") as text:
        for table, chosen in _tables(screen, rows, progress):
            responses = screen.read(RESPONSE, chosen)
            order = screen.descending(chosen, responses)
            for described, response, ranked in zip(
                table.iter_rows(named=True), responses, order, strict=True
            ):
                up, down = ranked[:n_genes], ranked[::-1][:n_genes]
                sets = {"UP": up[response[up] > 0], "DOWN": down[response[down] < 0]}
                for side, members in sets.items():
                    if not len(members):
                        empty += 1
                        continue
                    first = [f"{described['sig_id']}_{side}", condition_name(described)]
                    # A tab or a line's end in a name would begin another field or set.
                    plain = [" ".join(word.split()) for word in first]
                    text.write("\t".join([*plain, *genes[members]]) + "\n")
    return empty


def write_rnk(
    screen: FinishedScreen, rows: NDArray[np.int64], folder: Path, layer: str, progress: ProgressCallback
) -> None:
    """Write one file a profile, SIG_ID.rnk: gene and value, highest first.

    Responses are ordered as they were before rounding to float16, other layers as they are stored. What a
    file's name cannot hold becomes "_"; sig_ids that would share a name are numbered.

    Raises
    ------
    ConfigError
        More than `MOST_FILES` profiles.
    """
    require_few(len(rows))
    genes = pl.Series("gene", screen.genes, dtype=pl.String)
    taken: set[str] = set()
    for table, chosen in _tables(screen, rows, progress):
        values = screen.read(layer, chosen)
        is_response = layer == RESPONSE
        order = screen.descending(chosen, values) if is_response else np.argsort(-values, 1, "stable")
        for sig_id, value, ranked in zip(table["sig_id"], values, order, strict=True):
            listed = pl.DataFrame([genes.gather(ranked), pl.Series("value", value[ranked])])
            listed.write_csv(
                folder / f"{_file_name(sig_id, taken)}.rnk", separator="\t", include_header=False
            )


def require_few(count: int) -> None:
    """Raise ConfigError where ranked lists would be too many files."""
    if count > MOST_FILES:
        raise ConfigError(
            f"{count:,} profiles would be {count:,} files, and a folder of ranked lists holds at most "
            f"{MOST_FILES:,}. Choose some with --top or --sig-id, or write one file: --to gctx or --to gmt."
        )


def _file_name(sig_id: str, taken: set[str]) -> str:
    plain = name = _UNSAFE.sub("_", sig_id)[:200]
    number = 1
    # Some file systems take names that differ only in case for one.
    while name.lower() in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name.lower())
    return name


def _tables(
    screen: FinishedScreen, rows: NDArray[np.int64], progress: ProgressCallback
) -> Iterator[tuple[pl.DataFrame, NDArray[np.int64]]]:
    """Yield what describes some profiles, and their rows, in blocks whose profiles fit in memory."""
    start = 0
    for table in screen.sig_info(_DESCRIBED, rows, at_once=screen.block_rows):
        yield table, rows[start : start + table.height]
        start += table.height
        progress(start, len(rows))
