"""The libraries of the server by name: configured ones and finished screens, opened once and kept.

A request names a library; the name is looked up among those found on disk and never becomes a path.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pertcast.errors import PertcastError
from pertcast.screens.files import MANIFEST, PROFILES
from pertcast.screens.library import SearchedLibrary, open_measured, open_screen
from pertcast.screens.manifest import read_manifest
from pertcast_data.errors import CorruptStore

from pertcast_serve.access.caller import Caller
from pertcast_serve.analysis.held import HELD_BYTES, in_memory
from pertcast_serve.analysis.random_queries import RandomQueries
from pertcast_serve.config import ServeConfig
from pertcast_serve.schemas.analysis import LibrarySummary
from pertcast_serve.screens.folder import ScreenFolder

log = logging.getLogger(__name__)

Kind = Literal["predicted", "measured"]

KEPT: Final = 8
"""Libraries that are kept open; the one unused for longest is given up."""
ALL_HELD_BYTES: Final = 1 << 30
"""Most memory of all libraries together."""
_SCREEN: Final = "screen"
_COLUMNS: Final[Mapping[str, Any]] = {
    "sig_id": pl.String,
    "pert_id": pl.String,
    "cmap_name": pl.String,
    "pert_type": pl.String,
    "cell_iname": pl.String,
    "pert_dose": pl.Float64,
    "pert_time": pl.Float64,
    "seen_pert": pl.Boolean,
}
"""What answers say of a profile; other columns would be carried through every question."""


@dataclass
class OpenLibrary:
    """A library that can be searched.

    Attributes
    ----------
    name
        As the interface names it.
    kind
        Whether its profiles were predicted or measured.
    model
        Model that predicted them.
    stored
        Reads profiles where they lie.
    n_bytes
        Memory that it takes, ranks included.
    random_queries
        Remembers the scores of random queries.
    """

    name: str
    kind: Kind
    model: str | None
    stored: SearchedLibrary
    n_bytes: int = 0
    random_queries: RandomQueries = field(default_factory=RandomQueries, repr=False)
    _held: SearchedLibrary | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of_memory(cls, name: str, model: str, profiles: SearchedLibrary) -> OpenLibrary:
        """Return a library of predictions that were computed just now."""
        return cls(name, "predicted", model, profiles, _held=profiles)

    def searched(self) -> SearchedLibrary:
        """Return what is searched: in memory where it fits, read by the first question."""
        with self._lock:
            if self._held is None:
                self._held, self.n_bytes = in_memory(self.stored, HELD_BYTES) or (self.stored, 0)
            return self._held

    def values_of(self, sig_ids: Sequence[str]) -> NDArray[np.float32]:
        """Return profiles (M, G) by their names, from memory where they are there; raises UnknownName."""
        rows = np.array([self.stored.row_of(sig_id) for sig_id in sig_ids], dtype=np.int64)
        wanted, place = np.unique(rows, return_inverse=True)
        return (self._held or self.stored).index.take(wanted).values[place]

    def summary(self) -> LibrarySummary:
        """Return what /v1/libraries says of it."""
        table = self.stored.table.filter(pl.Series(self.stored.is_searched))
        return LibrarySummary(
            name=self.name,
            kind=self.kind,
            n_profiles=table.height,
            n_genes=len(self.stored.genes),
            cell_lines=sorted(table["cell_iname"].drop_nulls().unique()),
            pert_types=sorted(table["pert_type"].drop_nulls().unique()),
            model=self.model,
        )


@dataclass(frozen=True, slots=True)
class _Stamp:
    """A manifest as it was when the library was opened."""

    place: Path
    modified_ns: int
    n_bytes: int

    @classmethod
    def of(cls, place: Path) -> _Stamp:
        status = (place / MANIFEST).stat()
        return cls(place, status.st_mtime_ns, status.st_size)


class LibraryShelf:
    """Libraries by name, for all threads of the service.

    Parameters
    ----------
    config
        Names configured libraries and the folder of screens.
    """

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._open: OrderedDict[str, tuple[_Stamp, OpenLibrary]] = OrderedDict()
        self._summaries: dict[str, tuple[_Stamp, LibrarySummary]] = {}
        self._owners: dict[Path, str] = {}
        self._lock = threading.Lock()

    def places(self, caller: Caller) -> dict[str, Path]:
        """Return name -> place of a caller's libraries: configured ones, then screens, the newest first.

        A screen is a library for whoever may see the screen: its own caller, and administrators.
        """
        found = dict(self._config.libraries)
        for place in _finished_screens(self._config.screens.folder):
            if caller.is_admin or self._owner(place.parent) == caller.id:
                found.setdefault(place.parent.name, place)
        return found

    def _owner(self, folder: Path) -> str | None:
        """Return the id of who began a screen; None where its folder does not say it."""
        if folder not in self._owners:
            try:
                self._owners[folder] = ScreenFolder(folder).record.caller_id
            except (OSError, ValueError) as error:
                log.debug("screen %s is kept from all but administrators: %s", folder.name, error)
                return None
        return self._owners[folder]

    def get(self, name: str, place: Path) -> OpenLibrary:
        """Return a library, opened where it is not yet or where its manifest has changed.

        Raises
        ------
        PertcastError, OSError
            It cannot be opened.
        """
        with self._lock:
            stamp = _Stamp.of(place)
            known = self._open.get(name)
            if known is None or known[0] != stamp:
                self._open[name] = (stamp, open_library(name, place))
            self._open.move_to_end(name)
            self._give_up()
            return self._open[name][1]

    def _give_up(self) -> None:
        """Close what was unused for longest, beyond what is kept; what was asked for last stays.

        Its own profiles are read after this: memory is bounded by all of this and one library more.
        """

        def held() -> int:
            return sum(library.n_bytes for _, library in self._open.values())

        while len(self._open) > 1 and (len(self._open) > KEPT or held() > ALL_HELD_BYTES):
            self._open.popitem(last=False)

    def summaries(self, places: Mapping[str, Path]) -> list[LibrarySummary]:
        """Return what the libraries are; one that cannot be opened is left out and logged."""
        found = {}
        for name, place in places.items():
            try:
                stamp = _Stamp.of(place)
                known = self._summaries.get(name)
                is_known = known is not None and known[0] == stamp
                found[name] = known if known and is_known else (stamp, open_library(name, place).summary())
            except (PertcastError, OSError) as error:
                log.warning("library %s cannot be opened: %s", name, error)
        others = {
            name: known
            for name, known in self._summaries.items()
            if name not in places and (known[0].place / MANIFEST).is_file()
        }
        self._summaries = others | found
        return [summary for _, summary in found.values()]


def _finished_screens(folder: Path | None) -> list[Path]:
    """Return the folders of finished screens, the newest first."""
    if folder is None or not folder.is_dir():
        return []
    finished = {}
    for each in folder.iterdir():
        manifest = each / _SCREEN / MANIFEST
        if manifest.is_file():
            finished[each / _SCREEN] = manifest.stat().st_mtime_ns
    return sorted(finished, key=lambda place: (-finished[place], place.parent.name))


def open_library(name: str, place: Path) -> OpenLibrary:
    """Open a finished screen or a store of responses; raises PertcastError or OSError where it is neither."""
    is_screen = (place / PROFILES).is_dir()
    kind: Kind = "predicted" if is_screen else "measured"
    model = None
    try:
        stored = open_screen(place) if is_screen else open_measured(place)
    except pa.ArrowException as error:
        raise CorruptStore(f"{place}: a table cannot be read ({error}). Fetch or run it again.") from error
    if is_screen:
        named = dict(read_manifest(place).get("bundle") or {}).get("model_id")
        model = None if named is None else str(named)
    table = kept_columns(stored.table)
    return OpenLibrary(name, kind, model, replace(stored, words=f"{kind} ({name})", table=table))


def kept_columns(table: pl.DataFrame) -> pl.DataFrame:
    """Return what answers say of profiles; null where a library does not say it."""
    numbered = pl.format("row {}", pl.int_range(pl.len()))
    present = [
        pl.col(column).cast(dtype, strict=False)
        if column in table.columns
        else pl.lit(None, dtype).alias(column)
        for column, dtype in _COLUMNS.items()
    ]
    return table.select(present).with_columns(sig_id=pl.coalesce("sig_id", numbered))
