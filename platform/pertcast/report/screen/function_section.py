"""The section of a screen's report on gene function: which genes the profiles put together, by type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from pertcast.evaluation.parts import CoMembership
from pertcast.report.figures import interval_forest
from pertcast.report.page import Section, figure_html, paragraph_html
from pertcast.report.tables import format_number

_ROWS: Final = MappingProxyType(
    {
        "predicted": "similarity of predicted profiles",
        "network features": "networks alone",
        "degree": "degree alone",
        "shuffled": "profiles of other genes",
    }
)


@dataclass(frozen=True)
class FunctionOfScreen:
    """Whether the profiles of a screen tell which genes belong together.

    Attributes
    ----------
    found
        Perturbation type -> what was found over all its screened genes.
    reasons
        Perturbation type -> why nothing was.
    n_measured
        Perturbation type -> screened genes that training measured; of the others features alone are known.
    """

    found: Mapping[str, CoMembership]
    reasons: Mapping[str, str]
    n_measured: Mapping[str, int]


def gene_function(function: FunctionOfScreen | None) -> list[Section]:
    """Return a section for each perturbation type; none where gene function was not asked for."""
    if function is None:
        return []
    sections = [
        _section(kind, found, function.n_measured.get(kind, 0)) for kind, found in function.found.items()
    ]
    sections += [
        Section(f"Gene function, {kind}", paragraph_html(reason), width="half", tone="care")
        for kind, reason in function.reasons.items()
    ]
    return sections


def _section(kind: str, found: CoMembership, n_measured: int) -> Section:
    estimates = list(found.rows.values())
    figure = interval_forest(
        [_ROWS.get(name, name) for name in found.rows],
        np.array([estimate.mean for estimate in estimates]),
        np.array([estimate.low for estimate in estimates]),
        np.array([estimate.high for estimate in estimates]),
        axis_title="area under the ROC curve",
        reference=0.5,
    )
    html = figure_html(figure, 90 + 42 * len(estimates), f"Recovery of common membership, {kind}")
    precision = ", ".join(
        f"{_ROWS.get(name, name)} {format_number(estimate.mean)}"
        for name, estimate in found.precision.items()
    )
    html += paragraph_html(
        f"{found.n_pairs:,} pairs of the {found.n_genes:,} screened genes in a set of {found.source}: "
        f"half of them share a set, half are drawn among genes that share sets with as many others. Training "
        f"measured {n_measured:,} of the genes of this type. Average precision: {precision} (chance 0.5).",
        muted=True,
    )
    subtitle = (
        "do genes of one complex or pathway get similar profiles? hollow: not distinguishable from chance"
    )
    return Section(f"Gene function, {kind}", html, subtitle, width="half")
