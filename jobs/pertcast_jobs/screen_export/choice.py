"""Which profiles of a screen are exported: a few numbers a profile are held, whatever their table holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.screens.finished import FinishedScreen
from pertcast_data.errors import ConfigError, CorruptStore, UnknownContext, UnknownName

_NEAR: Final = 50
"""Names that are compared letter by letter with one that is not known."""


class UnknownSignature(UnknownName):
    """A sig_id that the screen does not hold."""

    kind = "signature"


class UnknownPerturbation(UnknownName):
    """A perturbation that the screen does not hold."""

    kind = "perturbation"


class UnknownPerturbationType(UnknownName):
    """A perturbation type that the screen does not hold."""

    kind = "perturbation type"


@dataclass(frozen=True)
class Choice:
    """What is asked of a screen; every condition must hold, an empty one holds for all.

    Attributes
    ----------
    sig_ids, pert_ids, cells, pert_types
        Names that are wanted.
    doses, times
        Doses (uM) and times (h) that are wanted.
    min_effect
        Smallest effect_size.
    max_fdr
        Largest false-discovery rate; profiles without one are left out.
    top
        So many of the best hits among those that pass everything else.
    """

    sig_ids: tuple[str, ...] = ()
    pert_ids: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    pert_types: tuple[str, ...] = ()
    doses: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    min_effect: float | None = None
    max_fdr: float | None = None
    top: int | None = None

    def names(self) -> dict[str, tuple[tuple[str, ...], type[UnknownName]]]:
        """Return column -> (wanted names, error of an unknown one)."""
        return {
            "sig_id": (self.sig_ids, UnknownSignature),
            "pert_id": (self.pert_ids, UnknownPerturbation),
            "cell_iname": (self.cells, UnknownContext),
            "pert_type": (self.pert_types, UnknownPerturbationType),
        }


@dataclass(frozen=True)
class Chosen:
    """The chosen profiles of a screen.

    Attributes
    ----------
    rows
        (M,) int64 their rows, ascending.
    keys
        (M,) uint64 sorted hashes of their sig_ids: 64 bits confuse no two of a million names.
    """

    rows: NDArray[np.int64]
    keys: NDArray[np.uint64]

    def holds(self, sig_ids: pl.Series) -> NDArray[np.bool_]:
        """Say which of these profiles are chosen."""
        return _is_among(_keys(sig_ids), self.keys)


def choose(screen: FinishedScreen, choice: Choice) -> Chosen:
    """Find the profiles that are asked for.

    Raises
    ------
    UnknownName
        A sig_id, perturbation, cell line or type that the screen does not hold; names the nearest.
    ConfigError
        No profile is left, or `max_fdr` is asked of profiles without false-discovery rates.
    """
    rows, keys = _pass_table(screen, choice)
    if len(rows) and (choice.max_fdr is not None or choice.top is not None):
        best = _pass_hits(screen, choice, np.sort(keys))
        kept = _is_among(keys, best)
        rows, keys = rows[kept], keys[kept]
    if not len(rows):
        raise ConfigError(
            f"{screen.path}: no profile is left of {screen.n_profiles:,}. Ask for less: a smaller "
            "--min-effect, a larger --fdr, more cell lines, types, doses or times."
        )
    return Chosen(rows, np.sort(keys))


def chosen_hits(screen: FinishedScreen, chosen: Chosen) -> Iterator[pl.DataFrame]:
    """Yield the rows of the chosen profiles in the table of hits, best first, in blocks."""
    for block in screen.hits():
        yield block.filter(pl.Series(chosen.holds(block["sig_id"])))


def _pass_table(screen: FinishedScreen, choice: Choice) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    wanted = {column: names for column, (names, _) in choice.names().items() if names}
    found: dict[str, set[str]] = {column: set() for column in wanted}
    rows, keys, first = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)], 0
    columns = ["sig_id", "pert_id", "cell_iname", "pert_type", "pert_dose", "pert_time", "effect_size"]
    test = _test(choice)
    for block in screen.sig_info(columns):
        for column, names in wanted.items():
            found[column].update(block[column].filter(block[column].is_in(names)).unique().to_list())
        passed = np.flatnonzero(block.select(test).to_series().fill_null(False).to_numpy())
        rows.append(passed + first)
        keys.append(_keys(block["sig_id"].gather(passed)))
        first += block.height
    for column, names in wanted.items():
        for name in names:
            if name not in found[column]:
                _refuse(screen, choice, column, name)
    return np.concatenate(rows), np.concatenate(keys)


def _test(choice: Choice) -> pl.Expr:
    tests = [pl.col("sig_id").is_not_null()]
    tests += [pl.col(column).is_in(names) for column, (names, _) in choice.names().items() if names]
    for column, numbers in (("pert_dose", choice.doses), ("pert_time", choice.times)):
        if numbers:
            near = [(pl.col(column) - number).abs() <= 1e-6 * abs(number) for number in numbers]
            tests.append(pl.any_horizontal(near))
    if choice.min_effect is not None:
        tests.append(pl.col("effect_size") >= choice.min_effect)
    return pl.all_horizontal(tests)


def _pass_hits(screen: FinishedScreen, choice: Choice, among: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the sorted keys of the best hits among the given ones."""
    kept, count, last_rank, has_rate = [np.zeros(0, np.uint64)], 0, 0, False
    for block in screen.hits():
        ranks = block["rank"]
        if int(ranks[0]) < last_rank or not ranks.is_sorted():
            raise CorruptStore(
                f"{screen.path / 'hits.parquet'} is not ordered by rank. Run the screen again."
            )
        last_rank = int(ranks[-1])
        passed = pl.Series(_is_among(_keys(block["sig_id"]), among))
        rates = block["fdr"].cast(pl.Float64).fill_nan(None)
        has_rate = has_rate or bool((rates.is_not_null() & passed).any())
        if choice.max_fdr is not None:
            passed &= (rates <= choice.max_fdr).fill_null(False)
        keys = _keys(block["sig_id"].filter(passed))
        kept.append(keys[: None if choice.top is None else choice.top - count])
        count += len(kept[-1])
        if choice.top is not None and count >= choice.top:
            break
    if choice.max_fdr is not None and not has_rate:
        raise ConfigError(
            f"{screen.path}: none of the chosen profiles has a false-discovery rate, because nothing "
            "calibrated this screen in these cell lines and types. Leave out --fdr; a rank is a rank."
        )
    return np.sort(np.concatenate(kept))


def _keys(names: pl.Series) -> NDArray[np.uint64]:
    keys: NDArray[np.uint64] = names.hash(seed=0).to_numpy()
    return keys


def _is_among(keys: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if not len(ordered):
        return np.zeros(len(keys), np.bool_)
    place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    same: NDArray[np.bool_] = ordered[place] == keys
    return same


def _refuse(screen: FinishedScreen, choice: Choice, column: str, name: str) -> None:
    _, error = choice.names()[column]
    near: dict[str, int] = {}
    for block in screen.sig_info([column]):
        names = block[column].drop_nulls().unique(maintain_order=True)
        likeness = _likeness(names, name)
        best = likeness.arg_sort(descending=True)[:_NEAR]
        near.update(zip(names.gather(best), likeness.gather(best), strict=True))
        near = dict(sorted(near.items(), key=lambda item: -item[1])[:_NEAR])
    raise error(name, near, where=str(screen.path))


def _likeness(names: pl.Series, name: str) -> pl.Series:
    """Count the letters that each name shares with `name` from its start and from its end."""
    folded, asked = names.str.to_lowercase(), name.lower()
    starts: Callable[[int], pl.Series] = lambda k: folded.str.starts_with(asked[:k])  # noqa: E731
    ends: Callable[[int], pl.Series] = lambda k: folded.str.ends_with(asked[-k:])  # noqa: E731
    shared = pl.Series([0] * len(names), dtype=pl.Int64)
    for size in range(1, len(asked) + 1):
        shared += starts(size).cast(pl.Int64) + ends(size).cast(pl.Int64)
    return shared
