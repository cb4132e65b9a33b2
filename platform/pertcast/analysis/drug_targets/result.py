"""What a match of drugs and genes found, as a record, as text for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any, Final

import polars as pl

from pertcast.analysis.association import Interval, plain_number
from pertcast.analysis.drug_targets.recovery import TOP_SHARES, Recovery
from pertcast.analysis.printing import decimal, percent, sentence_lines, table_lines

SCHEMA_VERSION: Final = 1
_SHOWN: Final = 8


@dataclass(frozen=True)
class TargetMatch:
    """Genes ranked for every drug, and how known targets stand in the rankings.

    Attributes
    ----------
    facts
        What was compared: drugs, library, score, score_title, n_drugs, n_queries, n_genes (perturbed),
        n_profiles, n_shared_genes, types, lines, removes_means, boards; plain values.
    targets
        Best genes: drug, cell_iname (null: consensus of lines), gene, type, score, rank, percentile,
        is_known (null where no target of the drug is known).
    known
        Known pairs: drug, cell_iname, gene, type, score, rank (mid-rank), percentile, n_genes; None where no
        known targets were given.
    recovery
        The result first, then what stands beside it; empty without known targets.
    remarks
        What the reader must know: what was left out and why.
    """

    facts: Mapping[str, Any]
    targets: pl.DataFrame
    known: pl.DataFrame | None
    recovery: tuple[Recovery, ...]
    remarks: tuple[str, ...]

    @property
    def controls(self) -> tuple[Recovery, ...]:
        """The contenders that know nothing of resemblance."""
        return tuple(found for found in self.recovery if found.is_control)

    def strongest_control(self, among: bool = False) -> Recovery | None:
        """Return the control with the highest AUROC, among targets or all genes; None where undefined."""
        defined = [found for found in self.controls if not isnan(_auroc(found, among).value)]
        return max(defined, key=lambda found: _auroc(found, among).value, default=None)

    def beats_controls(self, among: bool = False) -> bool | None:
        """Whether the result's AUROC is above every control's, by the intervals of the differences."""
        defined = [found for found in self.controls if not isnan(_auroc(found, among).value)]
        gaps = [found.difference_among if among else found.difference for found in defined]
        return all(gap is not None and gap.low > 0 for gap in gaps) if gaps else None

    def title(self) -> str:
        """Say what one looks at."""
        return f"Targets of {self.facts['n_drugs']:,} drugs among {self.facts['n_genes']:,} perturbed genes"

    def sentence(self) -> str:
        """Say the answer in words."""
        facts = self.facts
        said = (
            f"{facts['n_genes']:,} genes ranked for {facts['n_drugs']:,} drugs by {facts['score_title']} "
            f"({facts['n_shared_genes']:,} shared genes)."
        )
        if not self.recovery:
            return f"{said} No known targets were given: nothing says how far the rankings can be trusted."
        own = self.recovery[0]
        top = f"{percent(own.top[0.05].value)} of targets are among the top 5 % of genes."
        among = f"the {facts['n_target_genes']:,} genes that are targets of some drug"
        return " ".join(
            (
                f"{said} Over {own.n_drugs:,} drugs with known targets, a target scores above another of "
                f"all genes with chance {self._verdict(False)}; above another of {among} with chance "
                f"{self._verdict(True)}.",
                top,
            )
        )

    def _verdict(self, among: bool) -> str:
        own, strongest = _auroc(self.recovery[0], among), self.strongest_control(among)
        if strongest is None:
            return f"{own.words()} (no control is defined)"
        standing = "above" if self.beats_controls(among) else "not above"
        return (
            f"{own.words()}, {standing} every control (highest: {_lower(strongest.title)}, "
            f"{_auroc(strongest, among).words()})"
        )

    def not_shown(self) -> tuple[str, ...]:
        """Return the limits of what is found, as sentences."""
        return (
            "Resemblance is no binding: a drug that acts up- or downstream of a gene resembles its loss too.",
            "A drug that activates its target opposes the gene's knock-down and ranks it last; tables of "
            "known targets seldom say which drugs do.",
            "A gene that no table names as a target counts as none: unknown targets lower every contender's "
            "AUROC.",
            "Percentiles are places in a ranking, not probabilities, and no false-discovery rate is given.",
        )

    def lines(self) -> list[str]:
        """Return the result as text for a terminal: the answer, contenders, best genes."""
        found = sentence_lines(self.sentence())
        if self.recovery:
            found += ["", *self._recovery_lines()]
        found += ["", *self._best_lines()]
        remarks = [line for text in self.remarks for line in sentence_lines(text, bullet=True)]
        return [*found, *(["", *remarks] if remarks else [])]

    def _recovery_lines(self) -> list[str]:
        rows = [
            (
                f"{'> ' if index == 0 else '  '}{found.title}",
                found.auroc.words(),
                _signed(found.difference),
                found.among.words(),
                _signed(found.difference_among),
                f"{decimal(found.pooled.value)}",
                *(percent(found.top[share].value) for share in TOP_SHARES),
            )
            for index, found in enumerate(self.recovery)
        ]
        header = ("", "AUROC", "> minus it", "among targets", "> minus it", "pooled")
        note = (
            "AUROC: mean over drugs [95 % over drugs]; among targets: against genes that are targets of some "
            "drug; pooled: all drugs' scores together; top x %: share of targets recovered."
        )
        lines = table_lines((*header, *(f"top {share:.0%}" for share in TOP_SHARES)), rows)
        return [*lines, *(f"  {line}" for line in sentence_lines(note))]

    def _best_lines(self) -> list[str]:
        board = self.facts["boards"][-1]
        first = self.targets.filter((pl.col("type") == board) & (pl.col("rank") == 1))
        first = first.sort("score", descending=True, maintain_order=True)
        rows = [
            (
                row["drug"],
                row["cell_iname"] or "consensus",
                row["gene"],
                f"{row['score']:.3f}",
                _mark(row["is_known"]),
            )
            for row in first.head(_SHOWN).iter_rows(named=True)
        ]
        return table_lines(("best gene of", "cell line", "gene", "score", "known target"), rows)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the rankings themselves are in targets.parquet."""
        return {
            "schema": SCHEMA_VERSION,
            **self.facts,
            "beats_controls": self.beats_controls(),
            "beats_controls_among_targets": self.beats_controls(among=True),
            "recovery": [found.to_json() for found in self.recovery],
            "auroc_by_drug": {
                drug: plain_number(value)
                for found in self.recovery[:1]
                for drug, value in found.by_drug.items()
            },
            "remarks": list(self.remarks),
        }


def _mark(is_known: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[is_known]


def _auroc(found: Recovery, among: bool) -> Interval:
    return found.among if among else found.auroc


def _signed(gap: Interval | None) -> str:
    return "" if gap is None else gap.words()


def _lower(title: str) -> str:
    text = title.removeprefix("Control: ")
    return text[:1].lower() + text[1:]
