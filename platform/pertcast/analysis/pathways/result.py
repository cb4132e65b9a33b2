"""Pathway agreement as a result: arrays for figures, sentences for a terminal, JSON for files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pertcast.analysis.association import FloatArray, Interval, plain_number, plain_numbers
from pertcast.analysis.gene_sets import DroppedSet
from pertcast.analysis.pathways.scores import PathwayScores
from pertcast.analysis.printing import decimal, percent, sentence_lines, table_lines

_SHOWN_PATHWAYS = 12


@dataclass(frozen=True)
class ContenderPathways:
    """How one contender's pathway responses agree with the measured ones, over C conditions and S sets.

    Attributes
    ----------
    title
        The contender.
    overall, strong
        Pearson of all C x S pairs of NES, and of those of strong conditions; intervals over perturbations.
    by_condition, by_condition_rank
        (C,) Pearson and Spearman over the sets; NaN where a profile has no scores.
    by_pathway
        (S,) Pearson over the conditions: whether it tells perturbations apart, which `overall` does not ask.
    n_significant
        Pairs of condition and set that are significant in the measured profiles.
    right_sign
        Share of those whose NES has the measured sign.
    recovered
        Share of those that are significant with the measured sign.
    confirmed
        Of its own significant pairs, the share that are significant in the measured profile with that sign.
    """

    title: str
    overall: Interval
    strong: Interval
    by_condition: FloatArray
    by_condition_rank: FloatArray
    by_pathway: FloatArray
    n_significant: int
    right_sign: float
    recovered: float
    confirmed: float

    @property
    def condition_mean(self) -> float:
        """Mean of `by_condition`, undefined ones as 0; NaN where all are undefined."""
        return counted_mean(self.by_condition)

    @property
    def condition_rank_mean(self) -> float:
        """Mean of `by_condition_rank`, undefined ones as 0; NaN where all are undefined."""
        return counted_mean(self.by_condition_rank)

    @property
    def pathway_mean(self) -> float:
        """Mean of `by_pathway`, undefined ones as 0; NaN where all are undefined."""
        return counted_mean(self.by_pathway)

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, None where undefined."""
        shares = ("condition_mean", "condition_rank_mean", "pathway_mean", "right_sign", "recovered")
        return {
            "title": self.title,
            "overall": self.overall.to_json(),
            "strong": self.strong.to_json(),
            "n_significant": self.n_significant,
            **{name: plain_number(getattr(self, name)) for name in (*shares, "confirmed")},
            "by_condition": plain_numbers(self.by_condition),
            "by_condition_rank": plain_numbers(self.by_condition_rank),
            "by_pathway": plain_numbers(self.by_pathway),
        }


def counted_mean(values: FloatArray) -> float:
    """Return the mean with undefined values as 0: nothing is won by saying nothing. NaN where all are."""
    return float(np.nan_to_num(values).mean()) if np.isfinite(values).any() else float("nan")


@dataclass(frozen=True)
class PathwayAgreement:
    """NES of generated against measured profiles, of C conditions in S gene sets.

    Attributes
    ----------
    conditions
        C rows, strongest first: the columns of `CONDITION_COLUMNS`, effect_size (root mean square of the
        measured response over genes) and is_strong (in the upper third of all conditions given).
    pathways, sizes, full_sizes
        Names of the S sets, how many of their genes are measured, and how many they have.
    measured
        Scores of the measured profiles.
    generated
        Title -> scores; the model first, then baselines.
    contenders
        The agreement of each, in the same order.
    ceiling
        One half of the replicates against the other; None where no halves were given.
    dropped
        Sets that were not tested.
    n_left_out
        Conditions that were given and not scored.
    source
        Where the sets come from.
    permutations, fdr, seed
        Of gene labels; the rate below which a set counts as significant; of permutations and bootstrap.
    warnings
        Sentences about what the figures do not show.
    """

    conditions: pl.DataFrame
    pathways: tuple[str, ...]
    sizes: tuple[int, ...]
    full_sizes: tuple[int, ...]
    measured: PathwayScores
    generated: Mapping[str, PathwayScores]
    contenders: tuple[ContenderPathways, ...]
    ceiling: ContenderPathways | None
    dropped: tuple[DroppedSet, ...]
    n_left_out: int
    source: str
    permutations: int
    fdr: float
    seed: int
    warnings: tuple[str, ...]

    @property
    def model(self) -> ContenderPathways:
        """The model's agreement."""
        return self.contenders[0]

    @property
    def strongest_baseline(self) -> ContenderPathways | None:
        """The baseline whose scores agree best over all pairs; None where none was given or has a score."""
        known = [found for found in self.contenders[1:] if np.isfinite(found.overall.value)]
        return max(known, key=lambda found: found.overall.value, default=None)

    @property
    def n_strong(self) -> int:
        """Strong conditions among those scored."""
        return int(self.conditions["is_strong"].sum())

    @property
    def all_strong(self) -> bool:
        """Whether every scored condition is strong, so that there is nothing else to tell them from."""
        return self.n_strong == self.conditions.height

    def sentence(self) -> str:
        """Say the answer in words."""
        model, baseline = self.model, self.strongest_baseline
        text = (
            f"NES of {model.title} correlate with the measured ones at {model.overall.words()} "
            f"({self.conditions.height:,}{' strong' if self.all_strong else ''} conditions x "
            f"{len(self.pathways):,} gene sets)"
        )
        if not self.all_strong:
            text += f", at {model.strong.words()} in the {self.n_strong:,} strong ones"
        if baseline is not None:
            text += f"; the best baseline, {baseline.title}, at {baseline.overall.words()}"
        if self.ceiling is not None:
            text += f"; one half of the replicates with the other at {self.ceiling.overall.words()}"
        return f"{text}."

    def pathway_frame(self) -> pl.DataFrame:
        """Return one row a set, those most often significant first: sizes, mean NES, correlation."""
        mean = {"measured": self.measured, "generated": self.generated[self.model.title]}
        return pl.DataFrame(
            {
                "pathway": self.pathways,
                "measured_genes": self.sizes,
                "genes": self.full_sizes,
                "significant": (self.measured.fdr <= self.fdr).sum(axis=0),
                **{f"{name}_nes": scores.counted_nes.mean(axis=0) for name, scores in mean.items()},
                "pearson": self.model.by_pathway,
            }
        ).sort("significant", "pathway", descending=[True, False])

    def lines(self) -> list[str]:
        """Return the result as aligned text: the answer, contenders, sets, what was left out."""
        return [
            *sentence_lines(self.sentence()),
            "",
            *self._contender_lines(),
            "",
            *self._pathway_lines(),
            "",
            *self._remark_lines(),
        ]

    def _contender_lines(self) -> list[str]:
        strong = [] if self.all_strong else ["strong"]
        header = ["", "NES Pearson", *strong, "r cond.", "rank", "r set", "sign", "found", "confirmed"]
        marked = [("> " if i == 0 else "  ", found) for i, found in enumerate(self.contenders)]
        marked += [("^ ", self.ceiling)] if self.ceiling is not None else []
        rows = [
            [
                f"{mark}{found.title}",
                found.overall.words(),
                *([] if self.all_strong else [found.strong.words()]),
                decimal(found.condition_mean),
                decimal(found.condition_rank_mean),
                decimal(found.pathway_mean),
                percent(found.right_sign),
                percent(found.recovered),
                percent(found.confirmed),
            ]
            for mark, found in marked
        ]
        note = (
            "> model, ^ half of the replicates against the other half; r cond., rank: mean Pearson and "
            "Spearman over the sets; r set: mean Pearson over conditions; of "
            f"{self.model.n_significant:,} measured pairs with FDR <= {self.fdr:g}: sign right, found "
            "(significant, sign right); confirmed: of its own significant pairs. [95 %, over perturbations]"
        )
        return [*table_lines(header, rows), *(f"  {line}" for line in sentence_lines(note))]

    def _pathway_lines(self) -> list[str]:
        header = ("gene set", "genes", "significant", "measured NES", "generated NES", "Pearson")
        frame = self.pathway_frame()
        rows = [
            (
                row["pathway"],
                f"{row['measured_genes']} of {row['genes']}",
                f"{row['significant']}",
                decimal(row["measured_nes"], 2),
                decimal(row["generated_nes"], 2),
                decimal(row["pearson"], 2),
            )
            for row in frame.head(_SHOWN_PATHWAYS).iter_rows(named=True)
        ]
        more = frame.height - len(rows)
        return table_lines(header, rows) + ([f"  and {more:,} more sets"] if more > 0 else [])

    def _remark_lines(self) -> list[str]:
        dropped = [
            f"{each.name}: {each.genes_in_space} of {each.size} genes measured, {each.reason}"
            for each in self.dropped
        ]
        said = [*self.warnings, *([f"Not tested: {'; '.join(dropped)}."] if dropped else [])]
        return [line for text in said for line in sentence_lines(text, bullet=True)]

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values: the same input gives the same text; None where undefined."""
        return {
            "conditions": self.conditions.to_dicts(),
            "pathways": list(self.pathways),
            "sizes": list(self.sizes),
            "full_sizes": list(self.full_sizes),
            "measured_nes": plain_numbers(self.measured.nes),
            "measured_fdr": plain_numbers(self.measured.fdr),
            "generated_nes": {title: plain_numbers(found.nes) for title, found in self.generated.items()},
            "contenders": [found.to_json() for found in self.contenders],
            "ceiling": None if self.ceiling is None else self.ceiling.to_json(),
            "dropped": [
                {"name": d.name, "size": d.size, "genes_in_space": d.genes_in_space, "reason": d.reason}
                for d in self.dropped
            ],
            "n_left_out": self.n_left_out,
            "source": self.source,
            "permutations": self.permutations,
            "fdr": self.fdr,
            "seed": self.seed,
            "warnings": list(self.warnings),
        }
