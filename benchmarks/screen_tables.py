"""Tables and verdicts of screens whose hits are known: values a query in, means with 95 % intervals out.

A line holds one question, group of candidates, fold and seed; intervals are over seeds, and over units (the
names that queries go by) within seeds, all rows of a table drawn together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from paired import DRAWS, Gain, figures
from pertcast.evaluation.text import text_table

Line = dict[str, Any]
Column = tuple[str, str, str | None]
"""A metric of a row, and the row that is taken from it where it is not None."""

SCORES: Final = ("cosine", "wtcs")
GROUPS: Final = {"held_out": "never trained", "trained": "in training"}
METRICS: Final = {"auroc": "AUROC", "first": "reciprocal rank", "top": "top 1 %"}
MEAN, MEAN_OWN, SIZE = "mean profile", "mean + own gene", "effect size alone"


def values_of(line: Line, score: str, columns: Sequence[Column]) -> np.ndarray[Any, Any]:
    """Return the (Q, K) values of a line's queries."""
    rows = line["found"][score]

    def one(metric: str, row: str, against: str | None) -> np.ndarray[Any, Any]:
        values = np.array(rows[row][metric], dtype=np.float64)
        return values if against is None else values - np.array(rows[against][metric], dtype=np.float64)

    return np.stack([one(*column) for column in columns], axis=1)


def estimates(lines: Sequence[Line], score: str, columns: Sequence[Column]) -> dict[Column, Gain]:
    """Return the mean over queries of each column; seeds are drawn again, and units within drawn seeds."""
    seeds: dict[int, dict[str, int]] = {}
    for line in lines:
        for unit in line["unit"]:
            units = seeds.setdefault(line["seed"], {})
            units.setdefault(unit, len(units))
    sums = {seed: np.zeros((len(units), len(columns) + 1)) for seed, units in seeds.items()}
    for line in lines:
        place = [seeds[line["seed"]][unit] for unit in line["unit"]]
        values = values_of(line, score, columns)
        np.add.at(sums[line["seed"]], place, np.column_stack([values, np.ones(len(values))]))
    random = np.random.default_rng(0)
    drawn = random.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=DRAWS)
    totals = np.zeros((DRAWS, len(columns) + 1))
    for times, each in zip(drawn.T, sums.values(), strict=True):
        totals += random.multinomial(times * len(each), np.full(len(each), 1 / len(each))) @ each
    draws = totals[:, :-1] / totals[:, -1:]
    whole = np.sum([each.sum(axis=0) for each in sums.values()], axis=0)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return {
        column: Gain(
            whole[k] / whole[-1], float(low[k]), float(high[k]), float(draws[:, k].std()), int(whole[-1])
        )
        for k, column in enumerate(columns)
    }


def group_table(lines: Sequence[Line], score: str) -> list[str]:
    """Return a row a contender: AUROC, place of the first hit, hits in the top, gain over the mean."""
    names = list(lines[0]["found"][score])
    own: list[Column] = [(metric, row, None) for row in names for metric in METRICS]
    found = estimates(lines, score, [*own, *(("auroc", row, MEAN) for row in names)])
    rows = []
    for row in names:
        cells = [f"{found[metric, row, None].mean:.3f}" for metric in METRICS]
        cells[0] = figures(found["auroc", row, None], ".3f")
        rows.append([row, *cells, "" if row == MEAN else figures(found["auroc", row, MEAN])])
    return text_table(["", *METRICS.values(), "AUROC - mean profile"], rows, indent="    ")


def show_question(lines: Sequence[Line], regime: str) -> None:
    """Print a question's tables, one a group of candidates and score."""
    print(f"\n{regime}, {lines[0]['question']}: {lines[0]['title']}")
    for group, words in GROUPS.items():
        chosen = [line for line in lines if line["group"] == group and line["unit"]]
        if not chosen:
            print(f"  candidates {words}: no query has hits among them")
            continue
        queries = sum(len(line["unit"]) for line in chosen)
        candidates = np.mean([line["candidates"] for line in chosen])
        hits = sum(line["hits"] for line in chosen) / queries
        seeds = len({line["seed"] for line in chosen})
        for score in SCORES:
            print(
                f"\n  candidates {words}, {score}: {seeds} seeds, {queries} queries x {candidates:.0f} "
                f"candidates, {hits:.1f} hits a query"
            )
            print("\n".join(group_table(chosen, score)), flush=True)


def verdicts(lines: Sequence[Line], regime: str) -> Iterator[str]:
    """Yield, for each question, score and model, whether never trained hits are found above the baselines."""
    for name in dict.fromkeys(line["question"] for line in lines):
        chosen = [e for e in lines if e["question"] == name and e["group"] == "held_out" and e["unit"]]
        for score in SCORES if chosen else ():
            rows = list(chosen[0]["found"][score])
            others = [row for row in (MEAN, MEAN_OWN, SIZE) if row in rows]
            columns = [("auroc", row, other) for row in rows[: rows.index(MEAN)] for other in others]
            found = estimates(chosen, score, columns)
            for model in rows[: rows.index(MEAN)]:
                gains = {other: found["auroc", model, other] for other in others}
                said = [f"{verdict(gain)} {other} {figures(gain)}" for other, gain in gains.items()]
                yield f"  {regime}, {name}, {score}: {model} is {'; '.join(said)}"


def verdict(gain: Gain) -> str:
    """Return in words on which side of 0 the interval lies."""
    return "above" if gain.low > 0 else "BELOW" if gain.high < 0 else "NOT above"


def show(lines: Sequence[Line], regime: str) -> None:
    """Print all tables of a regime, and the verdicts."""
    for name in dict.fromkeys(line["question"] for line in lines):
        show_question([line for line in lines if line["question"] == name], regime)
    print("\nNever trained candidates: difference in AUROC over the same queries [95 %]")
    print("\n".join(verdicts(lines, regime)), flush=True)
