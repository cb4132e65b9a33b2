"""Paired comparisons of scores by gene and type: tables, and intervals over genes within seeds, and seeds.

A line is what one fold scored: who is judged, and each contender's score of every held-out condition. Lines
are plain JSON, so that benchmarks keep them and go on where they were interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Line = dict[str, Any]
DRAWS: Final = 2000
POOLED: Final = "all types"
TYPE_TITLES: Final[Mapping[str, str]] = {
    "trt_sh": "knock-down", "trt_xpr": "knock-out", "trt_oe": "over-expression",
}  # fmt: skip


@dataclass(frozen=True)
class MetricShown:
    """A metric of the boards as tables show it; `undefined` is the score of what cannot be told apart."""

    name: str
    title: str
    sign: float
    undefined: float


METRICS: Final = (
    MetricShown("pearson_delta_pert", "Pearson of the deviation from the type's train mean", 1.0, 0.0),
    MetricShown("r2_train_mean", "R2 against the type's train mean", 1.0, 0.0),
    MetricShown("rank", "retrieval rank within the type (0 best, .5 chance)", -1.0, 0.5),
    MetricShown("pearson_without_own", "the first without the own transcript", 1.0, 0.0),
    MetricShown("discrimination_l2", "retrieval without the own transcript (1 best, .5 chance)", 1.0, 0.5),
)
"""What is shown, by the names that `typed.typed_scores` gives."""


@dataclass(frozen=True)
class Gain:
    """Mean, bounds of its 95 % interval and standard error, over `count` conditions."""

    mean: float
    low: float
    high: float
    error: float
    count: int


def seeds_of(text: str) -> list[int]:
    """Read "0-3,7" as 0, 1, 2, 3, 7."""
    parts = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return [seed for part in parts for seed in range(part[0], part[-1] + 1)]


def read_lines(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file of lines holds; an empty one where it is absent or about something else."""
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if any(known.get(key) != value for key, value in identity.items()):
        return {**identity, "lines": []}
    return known


def keep_lines(path: Path, known: Mapping[str, Any]) -> None:
    """Write the lines whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(known) + "\n")
    temporary.replace(path)


def chosen_scores(line: Line, contender: str, metric: MetricShown, kind: str) -> Floats:
    """Return a contender's scores of one type's conditions (or of all), undefined ones filled."""
    found = line["scores"].get(contender, {}).get(metric.name)
    values = np.full(len(line["gene"]), np.nan) if found is None else np.array(found, dtype=np.float64)
    keep = np.array([kind in (POOLED, own) for own in line["pert_type"]], dtype=bool)
    filled = np.where(np.isnan(values), metric.undefined, values)
    return np.asarray(filled[keep], dtype=np.float64)


def by_seed_and_gene(
    lines: Sequence[Line], values: Sequence[Floats], kind: str, *, seeds_are_data: bool
) -> list[tuple[Floats, Floats]]:
    """Return, a seed, (genes,) sums and numbers of values; one entry where seeds are only repetitions.

    Parameters
    ----------
    lines, values
        Folds, and the values of each fold's conditions of `kind`.
    kind
        A type, or `POOLED`.
    seeds_are_data
        Whether another seed means other data (a simulated atlas), and is resampled.
    """
    found: dict[Any, dict[str, list[float]]] = {}
    for line, scores in zip(lines, values, strict=True):
        genes = found.setdefault(line["seed"] if seeds_are_data else None, {})
        chosen = [g for g, own in zip(line["gene"], line["pert_type"], strict=True) if kind in (POOLED, own)]
        for gene, score in zip(chosen, scores, strict=True):
            genes.setdefault(gene, []).append(float(score))
    return [
        (np.array([sum(each) for each in genes.values()]), np.array([float(len(v)) for v in genes.values()]))
        for genes in found.values()
        if genes
    ]


def interval(seeds: Sequence[tuple[Floats, Floats]]) -> Gain:
    """Return the mean over conditions; seeds are drawn with replacement, and genes within each drawn seed."""
    random = np.random.default_rng(0)
    drawn = random.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=DRAWS)
    totals, counts = np.zeros(DRAWS), np.zeros(DRAWS)
    for times, (sums, numbers) in zip(drawn.T, seeds, strict=True):
        genes = random.multinomial(times * len(sums), np.full(len(sums), 1 / len(sums)))
        totals += genes @ sums
        counts += genes @ numbers
    means = totals / counts
    low, high = np.quantile(means, [0.025, 0.975])
    total, count = sum(s.sum() for s, _ in seeds), sum(n.sum() for _, n in seeds)
    return Gain(float(total / count), float(low), float(high), float(means.std()), int(count))


def mean_score(
    lines: Sequence[Line], contender: str, metric: MetricShown, kind: str, *, seeds_are_data: bool
) -> Gain:
    """Return a contender's mean score with its interval."""
    values = [chosen_scores(line, contender, metric, kind) for line in lines]
    return interval(by_seed_and_gene(lines, values, kind, seeds_are_data=seeds_are_data))


def gain_over(
    lines: Sequence[Line],
    others: Sequence[Line],
    names: tuple[str, str],
    metric: MetricShown,
    kind: str,
    *,
    seeds_are_data: bool,
) -> Gain:
    """Return by how much `names[0]` in `lines` is better than `names[1]` in `others`, condition by condition.

    Both hold the same folds in one order (the same lines, to compare contenders of one training).
    """
    values = []
    for line, other in zip(lines, others, strict=True):
        if (line["gene"], line["pert_type"]) != (other["gene"], other["pert_type"]):
            raise ValueError(f"Fold {line['fold']} of seed {line['seed']} was judged on other conditions.")
        first = chosen_scores(line, names[0], metric, kind)
        values.append(metric.sign * (first - chosen_scores(other, names[1], metric, kind)))
    return interval(by_seed_and_gene(lines, values, kind, seeds_are_data=seeds_are_data))


def kinds_of(lines: Sequence[Line]) -> list[str]:
    """Return the types that were judged, in a fixed order, and `POOLED` last."""
    present = {kind for line in lines for kind in line["pert_type"]}
    known = [kind for kind in TYPE_TITLES if kind in present]
    return [*known, *sorted(present - set(known)), POOLED]


def contenders_of(lines: Sequence[Line]) -> list[str]:
    """Return who stands in every line, the model first."""
    return [name for name in lines[0]["roles"] if all(name in line["roles"] for line in lines)]


def figures(gain: Gain, shape: str = "+.3f") -> str:
    """Return "mean [low, high]"."""
    return f"{gain.mean:{shape}} [{gain.low:{shape}}, {gain.high:{shape}}]"


def show_metric(lines: Sequence[Line], metric: MetricShown, *, seeds_are_data: bool) -> None:
    """Print a metric's table: a row a contender; a type's mean, and the model's gain with its interval."""
    kinds, model = kinds_of(lines), lines[0]["model"]
    print(f"\n  {metric.title}: mean (standard error), gain of {model} [95 % interval]")
    print("    " + " " * 22 + "".join(f"{TYPE_TITLES.get(kind, kind):<40}" for kind in kinds))
    for name in contenders_of(lines):
        cells = []
        for kind in kinds:
            own = mean_score(lines, name, metric, kind, seeds_are_data=seeds_are_data)
            cell = f"{own.mean:.3f} ({own.error:.3f})"
            if name != model:
                gain = gain_over(lines, lines, (model, name), metric, kind, seeds_are_data=seeds_are_data)
                cell += "  " + figures(gain)
            cells.append(f"{cell:<40}")
        print(f"    {name:<22}{''.join(cells)}", flush=True)


def show_strata(lines: Sequence[Line], metric: MetricShown, *, seeds_are_data: bool) -> None:
    """Print the model and the references by how many other types of the gene training shows."""
    strata = sorted({number for line in lines for number in line["other_types"]})
    if len(strata) < 2:
        return
    print(f"\n  {metric.title}, by the number of other types of the gene in training")
    for number in strata:
        chosen = [only_stratum(line, number) for line in lines if number in line["other_types"]]
        means = [
            f"{name} {mean_score(chosen, name, metric, POOLED, seeds_are_data=seeds_are_data).mean:.3f}"
            for name in contenders_of(chosen)
        ]
        count = sum(len(line["gene"]) for line in chosen)
        print(f"    {number} other types, {count} conditions: {', '.join(means)}", flush=True)


def only_stratum(line: Line, number: int) -> Line:
    """Return the line with the conditions of genes with so many other types in training."""
    keep = [row for row, count in enumerate(line["other_types"]) if count == number]
    listed = {key: [line[key][row] for row in keep] for key in ("gene", "pert_type", "other_types")}
    scores = {
        name: {metric: [values[row] for row in keep] for metric, values in found.items()}
        for name, found in line["scores"].items()
    }
    return {**line, **listed, "scores": scores}


def show(lines: Sequence[Line], title: str, *, seeds_are_data: bool) -> None:
    """Print all tables of one question."""
    number = len({line["seed"] for line in lines})
    count = sum(len(line["gene"]) for line in lines)
    print(f"\n{title}: {number} seeds, {len(lines)} folds, {count} conditions")
    for metric in METRICS:
        show_metric(lines, metric, seeds_are_data=seeds_are_data)
    show_strata(lines, METRICS[0], seeds_are_data=seeds_are_data)


def show_ablations(
    whole: Sequence[Line], without: Mapping[str, Sequence[Line]], *, seeds_are_data: bool
) -> None:
    """Print, for each part taken away, what is left and what the part gains, by type."""
    name = whole[0]["model"]
    for metric in METRICS:
        kinds = kinds_of(whole)
        print(f"\n  {metric.title}: mean, gain of the whole model over the model without the part")
        print("    " + " " * 28 + "".join(f"{TYPE_TITLES.get(kind, kind):<36}" for kind in kinds))
        for part, lines in {"whole": whole, **without}.items():
            cells = []
            for kind in kinds:
                own = mean_score(lines, name, metric, kind, seeds_are_data=seeds_are_data)
                gain = gain_over(whole, lines, (name, name), metric, kind, seeds_are_data=seeds_are_data)
                cells.append(f"{own.mean:.3f}  {figures(gain) if part != 'whole' else '':<29}")
            print(f"    {part:<28}{''.join(cells)}", flush=True)
