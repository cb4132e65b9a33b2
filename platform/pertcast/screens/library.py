"""A library that is searched: the profiles of a finished screen, or the responses of a store. Never both.

Profiles are read a block at a time, so memory does not grow with the library.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import (
    ConfigError,
    SchemaError,
    UnknownName,
    nearest_known,
)
from pertcast_data.store import ExpressionStore
from pertcast_data.store.readers import RowReader
from pertcast_data.text import counted

from pertcast.analysis.connectivity import ConnectivityIndex, RankedBlock
from pertcast.screens.files import PROFILES
from pertcast.screens.finished import RESPONSE, FinishedScreen

NEEDED: Final = ("sig_id", "cell_iname", "pert_type", "pert_id")
_MOST_COMPARED: Final = 20_000
"""Names that are looked through for one like the name asked for: spelling is compared slowly."""
_CONTROLS_LEFT_OUT: Final = "left out: controls are no perturbations"


@dataclass(frozen=True)
class SearchedLibrary:
    """Profiles that can be searched.

    Attributes
    ----------
    words
        What they are: "predicted (screens/first)" or "measured (stores/l1000)".
    table
        One row a profile, in the order of the profiles: sig_id, cell_iname, pert_type, pert_id and others.
    genes
        Names of the genes of a profile.
    index
        Reads them.
    is_searched
        (N,) whether a profile is one of a perturbation.
    remarks
        What is left out.
    """

    words: str
    table: pl.DataFrame
    genes: tuple[str, ...]
    index: ConnectivityIndex
    is_searched: NDArray[np.bool_]
    remarks: tuple[str, ...] = ()

    def rows(self, cells: tuple[str, ...] | None, types: tuple[str, ...] | None) -> NDArray[np.int64]:
        """Return the rows of cell lines and types (of all where None), rising.

        Raises
        ------
        ConfigError
            One of them is not known, or no profile is of both.
        """
        wanted = self.is_searched.copy()
        for column, words in (("cell_iname", cells), ("pert_type", types)):
            if words is not None:
                known = sorted(self.table[column].drop_nulls().unique())
                for word in words:
                    if word not in known:
                        near = nearest_known(word, known) or known[:5]
                        raise ConfigError(
                            f"The library {self.words} has no {column} {word!r}. Use {' or '.join(near)}."
                        )
                wanted &= self.table[column].is_in(list(words)).fill_null(False).to_numpy()
        if not wanted.any():
            raise ConfigError(f"No profile of the library {self.words} is of these cell lines and types.")
        return np.flatnonzero(wanted).astype(np.int64)

    def row_of(self, sig_id: str) -> int:
        """Return the row of a profile; UnknownName with the nearest names where there is none."""
        found = self.table["sig_id"].eq(sig_id).fill_null(False).arg_true()
        if not len(found):
            names = self.table["sig_id"].drop_nulls()
            alike = names.filter(names.str.starts_with(sig_id[: len(sig_id) // 2])).head(_MOST_COMPARED)
            raise UnknownName(sig_id, alike, f"sig_id of {self.words}")
        return int(found[0])


class _ScreenReader:
    """Reads profiles of a screen with their ranks; ranks only where a score asks for them."""

    def __init__(self, screen: FinishedScreen) -> None:
        self._screen = screen

    def __call__(self, rows: NDArray[np.int64]) -> RankedBlock:
        screen = self._screen
        values = screen.read(RESPONSE, rows)
        return RankedBlock(values, (lambda: screen.ranks(rows)) if screen.has_ranks else None)


class _StoreReader:
    """Reads responses of a store; their ranks are computed."""

    def __init__(self, reader: RowReader, path: Path) -> None:
        self._reader, self._path = reader, path

    def __call__(self, rows: NDArray[np.int64]) -> RankedBlock:
        values = self._reader.dense(rows)
        is_finite = np.isfinite(values).all(axis=1)
        if not is_finite.all():
            row = int(rows[np.flatnonzero(~is_finite)[0]])
            raise SchemaError(
                f"{self._path}, profile {row:,} holds NaN or infinite values; it cannot be compared. Ingest "
                "the source without the genes or profiles that lack values."
            )
        return RankedBlock(values)


def open_screen(path: Path) -> SearchedLibrary:
    """Open the predicted profiles of a finished screen.

    Raises
    ------
    ConfigError
        There is none, or it is not finished.
    CorruptStore, FormatError
        It is damaged.
    """
    # Profiles and ranks are too many to be hashed before every query: their sizes tell missing chunks.
    screen = FinishedScreen.open(path, checks_chunks=False)
    table = pl.concat(screen.sig_info(screen.sig_info_columns))
    remarks: tuple[str, ...] = ()
    if not screen.has_ranks:
        remarks = ("The screen holds no ranks: they are computed from the stored profiles.",)
    index = ConnectivityIndex(_ScreenReader(screen), screen.n_profiles, len(screen.genes))
    everything = np.ones(screen.n_profiles, dtype=np.bool_)
    return SearchedLibrary(
        f"predicted ({path})", _require_columns(table, path), screen.genes, index, everything, remarks
    )


def open_measured(path: Path) -> SearchedLibrary:
    """Open the measured responses of a store.

    Raises
    ------
    ConfigError
        It is a screen.
    FormatError, CorruptStore
        There is no store, or it is damaged.
    SchemaError
        It holds levels, or names no cell lines and types.
    """
    if (path / PROFILES).is_dir():
        raise ConfigError(f"--store {path} is a screen of predictions. Search it with --screen {path}.")
    store = ExpressionStore.open(path)
    if store.measure != "response":
        raise SchemaError(
            f"{path} holds levels ({store.normalisation}), not responses. Query a store of z-scores or fold "
            "changes (level 5), or subtract controls first."
        )
    numbered = pl.format("row {}", pl.int_range(store.n_rows))
    table = _require_columns(store.obs, path).with_columns(sig_id=pl.coalesce("sig_id", numbered))
    n_controls = int(store.is_control.sum())
    remarks = (f"{counted(n_controls, 'control profile')} {_CONTROLS_LEFT_OUT}.",) if n_controls else ()
    index = ConnectivityIndex(_StoreReader(store.reader(), path), store.n_rows, store.n_genes)
    return SearchedLibrary(f"measured ({path})", table, store.genes, index, ~store.is_control, remarks)


def _require_columns(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise SchemaError(f"{path} has no column {' and '.join(missing)}. It is no library of perturbations.")
    flat = [name for name in table.columns if not table[name].dtype.is_nested()]
    return table.select(flat).with_columns(pl.col(*NEEDED).cast(pl.String))
