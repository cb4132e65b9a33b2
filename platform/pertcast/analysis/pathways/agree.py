"""Choose conditions, score their measured and generated profiles, and compare the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError, FormatError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.analysis.association import (
    N_DRAWS,
    FloatArray,
    clustered_pearson,
    is_strongest_third,
    pearson,
    spearman,
)
from pertcast.analysis.compared import CONDITION_COLUMNS, ComparedResponses, Values
from pertcast.analysis.gene_sets import MIN_SIZE, GeneSets, SetIndex, index_sets, read_gmt
from pertcast.analysis.pathways.result import ContenderPathways, PathwayAgreement
from pertcast.analysis.pathways.scores import PathwayScores, score_profiles
from pertcast.effect_size import effect_sizes

MOST_CONDITIONS: Final = 40
"""Conditions that are scored unless asked otherwise: the permutations of one profile take a third of a
second on 978 genes and 49 sets."""
SIGNIFICANT: Final = 0.05
CEILING_TITLE: Final = "Half of the replicates"

_MEASURED: Final = "measured"
_HALVES: Final = ("first half of the replicates", "second half of the replicates")
_FEW_GENES: Final = 0.5

Sets = GeneSets | Mapping[str, Sequence[str]] | Path | str


def pathway_agreement(
    compared: ComparedResponses,
    sets: Sets,
    *,
    halves: tuple[Values, Values] | None = None,
    min_size: int = MIN_SIZE,
    max_size: int | None = None,
    most_conditions: int | None = MOST_CONDITIONS,
    permutations: int = 1000,
    fdr: float = SIGNIFICANT,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> PathwayAgreement:
    """Compare the pathway responses of generated profiles with the measured ones.

    Every profile is ranked and scored by gseapy's prerank (Subramanian et al. 2005: weighted running sum,
    normalised by permuted gene labels), generated and measured ones alike; nothing is fetched.

    Parameters
    ----------
    compared
        N conditions over G genes.
    sets
        Gene sets: read already, name -> genes, or the path of a GMT file.
    halves
        Two (N, G) responses from disjoint halves of the replicates; rows with NaN have none. They are scored
        against each other, which is no upper limit: half of the replicates is noisier than all.
    min_size, max_size
        Sets with fewer or more measured genes are dropped, by name.
    most_conditions
        The strongest conditions by measured effect size (root mean square over genes; equal ones in their
        order) are scored, at most so many; None for all.
    permutations
        Of gene labels; the smallest p is about 1 / permutations.
    fdr
        A set counts as significant at or below this rate.
    n_draws, seed
        Of the bootstrap over perturbations; the seed also of the permutations.
    progress
        Told of profiles scored.

    Raises
    ------
    FormatError, SchemaError
        The GMT file cannot be read, no set has enough measured genes, or a profile is not finite.
    ConfigError
        There is nothing to score, or halves do not fit the conditions.
    """
    _require_sense(compared, halves, most_conditions, permutations)
    read = _gene_sets(sets)
    index = index_sets(read, compared.genes, min_size, max_size)
    sizes = effect_sizes(compared.measured)
    rows = np.argsort(-sizes, kind="stable")[:most_conditions]
    conditions = _described(compared, sizes, rows)
    profiles = {_MEASURED: compared.measured, **compared.generated}
    chosen = {title: values[rows] for title, values in profiles.items()}
    halved, with_halves = _chosen_halves(halves, rows)
    scored = score_profiles(
        chosen | halved, compared.genes, index, permutations=permutations, seed=seed, progress=progress
    )
    judge = _Judge(conditions, fdr, n_draws, seed)
    return PathwayAgreement(
        conditions=conditions,
        pathways=index.names,
        sizes=tuple(index.sizes.tolist()),
        full_sizes=tuple(index.full_sizes.tolist()),
        measured=scored[_MEASURED],
        generated={title: scored[title] for title in compared.generated},
        contenders=tuple(
            judge.compare(title, scored[title], scored[_MEASURED]) for title in compared.generated
        ),
        ceiling=_ceiling(judge, scored, with_halves),
        dropped=index.dropped,
        n_left_out=len(sizes) - len(rows),
        source=read.source or "the given sets",
        permutations=permutations,
        fdr=fdr,
        seed=seed,
        warnings=_warnings(index, conditions, len(sizes), permutations),
    )


def _require_sense(
    compared: ComparedResponses,
    halves: tuple[Values, Values] | None,
    most_conditions: int | None,
    permutations: int,
) -> None:
    if not compared.conditions.height or not compared.generated:
        raise ConfigError(
            f"{compared.conditions.height} conditions of {len(compared.generated)} contenders: there is "
            "nothing to compare. Give at least one condition and one contender."
        )
    if permutations < 1 or (most_conditions is not None and most_conditions < 1):
        raise ConfigError(
            f"permutations={permutations} and most_conditions={most_conditions} must be at least 1."
        )
    for half in halves or ():
        if half.shape != compared.measured.shape:
            raise ConfigError(
                f"Halves of the replicates have shape {half.shape}, the measured responses "
                f"{compared.measured.shape}; give one row a condition, NaN where there is no half."
            )


def _gene_sets(sets: Sets) -> GeneSets:
    if isinstance(sets, GeneSets):
        return sets
    if isinstance(sets, Mapping):
        return GeneSets({name: tuple(dict.fromkeys(genes)) for name, genes in sets.items()})
    if not Path(sets).is_file():
        raise FormatError(
            f"{sets} is no file. Give the path of a GMT file: names of online libraries are not looked up."
        )
    return read_gmt(sets)


def _described(compared: ComparedResponses, sizes: FloatArray, rows: NDArray[np.int64]) -> pl.DataFrame:
    return compared.conditions.select(CONDITION_COLUMNS)[rows].with_columns(
        pl.Series("effect_size", sizes[rows]),
        pl.Series("is_strong", is_strongest_third(sizes)[rows]),
    )


def _chosen_halves(
    halves: tuple[Values, Values] | None, rows: NDArray[np.int64]
) -> tuple[dict[str, FloatArray], NDArray[np.int64]]:
    """Return the halves of the chosen rows that have both, and their places among the chosen."""
    if halves is None:
        return {}, np.empty(0, dtype=np.int64)
    known = np.isfinite(halves[0][rows]).all(axis=1) & np.isfinite(halves[1][rows]).all(axis=1)
    places = np.flatnonzero(known)
    return {
        name: half[rows[places]] for name, half in zip(_HALVES, halves, strict=True) if len(places)
    }, places


def _ceiling(
    judge: _Judge, scored: Mapping[str, PathwayScores], places: NDArray[np.int64]
) -> ContenderPathways | None:
    if not len(places):
        return None
    return judge.at(places).compare(CEILING_TITLE, scored[_HALVES[0]], scored[_HALVES[1]])


class _Judge:
    """Compares scores of C conditions with those measured."""

    def __init__(self, conditions: pl.DataFrame, fdr: float, n_draws: int, seed: int) -> None:
        self.conditions = conditions
        self.fdr = fdr
        self.n_draws = n_draws
        self.seed = seed

    def at(self, rows: NDArray[np.int64]) -> _Judge:
        """Return the judge of some of the conditions."""
        return _Judge(self.conditions[rows], self.fdr, self.n_draws, self.seed)

    def compare(self, title: str, generated: PathwayScores, measured: PathwayScores) -> ContenderPathways:
        """Return every figure of one contender."""
        said, truth = generated.counted_nes, measured.counted_nes
        cluster = np.repeat(self.conditions["pert_id"].cast(pl.String).to_numpy(), said.shape[1])
        strong = self.conditions["is_strong"].to_numpy()
        wide = np.repeat(strong, said.shape[1])
        pairs = said.ravel(), truth.ravel()
        significant = measured.fdr <= self.fdr
        own = generated.fdr <= self.fdr
        same = np.sign(generated.nes) == np.sign(measured.nes)
        return ContenderPathways(
            title=title,
            overall=clustered_pearson(*pairs, cluster, self.n_draws, self.seed),
            strong=clustered_pearson(pairs[0][wide], pairs[1][wide], cluster[wide], self.n_draws, self.seed),
            by_condition=_each(pearson, generated.nes, measured.nes),
            by_condition_rank=_each(spearman, generated.nes, measured.nes),
            by_pathway=_each(pearson, said.T, truth.T),
            n_significant=int(significant.sum()),
            right_sign=_share(same & significant, significant),
            recovered=_share(same & own & significant, significant),
            confirmed=_share(same & own & significant, own),
        )


def _each(
    correlate: Callable[[FloatArray, FloatArray], float], first: FloatArray, second: FloatArray
) -> FloatArray:
    return np.array([correlate(x, y) for x, y in zip(first, second, strict=True)])


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")


def _warnings(index: SetIndex, conditions: pl.DataFrame, n_given: int, permutations: int) -> tuple[str, ...]:
    said = []
    measured = float(np.median(index.sizes / index.full_sizes))
    if measured < _FEW_GENES:
        said.append(
            f"Only a part of each set is measured (median {measured:.0%} of its genes, as on the landmark "
            "genes of L1000): scores are of these genes, and not of the whole pathway."
        )
    if conditions.height < n_given:
        said.append(
            f"Scored are the {conditions.height:,} conditions with the largest measured effect; "
            f"{n_given - conditions.height:,} weaker ones are left out."
        )
    if conditions["is_strong"].all():
        said.append("All scored conditions are strong: in the upper third of all by measured effect.")
    said.append(
        f"Permuted are gene labels ({permutations:,} times), as if genes were independent: significance is "
        "overstated for measured and generated profiles alike."
    )
    return tuple(said)
