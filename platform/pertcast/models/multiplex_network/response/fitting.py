"""Chooses and solves the process: which types are coupled is settled by what left-out conditions bear out.

The likelihood chooses each covariance; between types coupled, apart, and only some of them coupled, exact
left-out errors decide, because a likelihood believes in its own model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from pertcast.models.multiplex_network.config import ProcessConfig
from pertcast.models.multiplex_network.response.covariance import Slots, covariance
from pertcast.models.multiplex_network.response.tuning import Tuned, component_classes, noisy, tune

_ROWS: Final = 1024
_LEAST_SIGNAL: Final = 5e-3


@dataclass(frozen=True, slots=True)
class ProcessData:
    """The n training conditions that the process is solved on.

    Attributes
    ----------
    slots
        Their perturbations, float64.
    scores
        (n, K) float64 with unit mean square.
    scale
        (K,) what a unit is worth.
    few
        (n,) typical number of profiles over that of each.
    """

    slots: Slots
    scores: Tensor
    scale: Tensor
    few: Tensor

    def take(self, rows: Tensor) -> ProcessData:
        """Return some of the conditions, their scores scaled anew."""
        scores = self.scores[rows]
        size = scores.square().mean(dim=0).sqrt()
        size = torch.where(size > 1e-9, size, torch.ones_like(size))
        return ProcessData(self.slots.take(rows), scores / size, self.scale * size, self.few[rows])


@dataclass(frozen=True, slots=True)
class Solution:
    """A solved process over n conditions.

    Attributes
    ----------
    tuned
        Its covariance.
    weights
        (n, K) float64: scores are covariances times these.
    without_condition, without_gene
        (n, K) float64 scores of each condition from all others, and from those of other genes.
    variance
        (O,) of left-out scores by class, in units of the scores' mean square.
    """

    tuned: Tuned
    weights: Tensor
    without_condition: Tensor
    without_gene: Tensor
    variance: Tensor


def fit_process(data: ProcessData, n_types: int, cross_type: bool, config: ProcessConfig) -> Solution:
    """Choose which types are coupled, and solve.

    Parameters
    ----------
    data
        Training conditions.
    n_types
        T.
    cross_type
        Whether types may be coupled.
    config
        Sizes of the tuning.
    """
    together = (cross_type and n_types > 1,) * n_types
    best = _fitted(data, together, config)
    if not any(together):
        return best
    apart = _fitted(data, (False,) * n_types, config)
    kind = data.slots.last_kind()
    errors = [left_out_error(each, data, kind, n_types) for each in (best, apart)]
    helped = errors[0] <= errors[1]
    n_coupled = int(helped.sum())
    if n_coupled == n_types:
        return best
    if n_coupled < 2:
        return apart
    some = _fitted(data, tuple(helped.tolist()), config)
    candidates = (best, apart, some)
    return min(candidates, key=lambda each: float(left_out_error(each, data, kind, n_types).sum()))


def left_out_error(solution: Solution, data: ProcessData, kind: Tensor, n_types: int) -> Tensor:
    """Return (T,) squared errors of scores left out with and without the same gene's other types."""
    weight = data.scale.square()
    measured = data.scores * data.scale
    total = measured.new_zeros(n_types + 1)
    for found in (solution.without_condition, solution.without_gene):
        error = ((measured - found) / data.scale).square() @ weight
        total.index_add_(0, kind, error)
    return total[:n_types]


def borne_out(solution: Solution, data: ProcessData, kind: Tensor, n_types: int) -> Tensor:
    """Return (T + 1,) the share of predicted deviations that left-out conditions bear out, 0 to 1, by type.

    The slope of measured on predicted scores, left out with and without the same gene's other types; that of
    an unseen type is the mean.
    """
    measured = data.scores * data.scale
    along, size = measured.new_zeros(n_types + 1), measured.new_zeros(n_types + 1)
    for found in (solution.without_condition, solution.without_gene):
        along.index_add_(0, kind, (measured * found).sum(dim=1))
        size.index_add_(0, kind, found.square().sum(dim=1))
    slope = (along / size.clamp(min=1e-12)).clamp(0.0, 1.0)
    slope[-1] = slope[:-1].mean()
    return slope


def _fitted(data: ProcessData, coupled: tuple[bool, ...], config: ProcessConfig) -> Solution:
    chosen = _whole_genes(data.slots, config.tuned_conditions, config.seed)
    part = data.take(chosen)
    tuned = tune(part.slots, part.scores, part.few, coupled, config.tuning_steps)
    return solve_scores(data, tuned)


def solve_scores(data: ProcessData, tuned: Tuned) -> Solution:
    """Solve the process of a given covariance, class by class of components."""
    slots, scale = data.slots, data.scale
    common = torch.cat([covariance(slots.take(part), slots, tuned.shape) for part in _parts(len(slots))])
    noise = tuned.diagonal(slots.last_kind(), data.few)
    classes = component_classes(len(scale)).to(scale.device)
    weights, without_condition, without_gene = (torch.zeros_like(data.scores) for _ in range(3))
    variance = data.scores.new_ones(len(tuned.signal))
    genes = list(_same_genes(slots))
    for number, signal in enumerate(tuned.signal):
        columns = torch.nonzero(classes == number).flatten()
        measured = data.scores[:, columns]
        if float(signal) < _LEAST_SIGNAL:
            variance[number] = measured.square().mean()
            continue
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(noisy(common, noise, signal)))
        solved = inverse @ measured
        weights[:, columns] = signal * solved * scale[columns]
        exact = measured - solved / inverse.diagonal().unsqueeze(1)
        without_condition[:, columns] = exact * scale[columns]
        without_gene[:, columns] = (measured - _left_out(inverse, solved, genes)) * scale[columns]
        variance[number] = (1 / inverse.diagonal()).mean()
    return Solution(tuned, weights, without_condition, without_gene, variance)


def _left_out(inverse: Tensor, solved: Tensor, genes: list[Tensor]) -> Tensor:
    """Return (n, K) errors of conditions that are left out group by group: blocks of the inverse."""
    errors = torch.empty_like(solved)
    for rows in genes:
        blocks = inverse[rows.unsqueeze(2), rows.unsqueeze(1)]
        errors[rows] = torch.linalg.solve(blocks, solved[rows])
    return errors


def _same_genes(slots: Slots) -> Iterator[Tensor]:
    """Yield (groups, m) int64 the conditions of one set of genes, sets with m conditions together."""
    members = torch.where(slots.is_filled, slots.row, -1).sort(dim=1).values
    _, group, size = torch.unique(members, dim=0, return_inverse=True, return_counts=True)
    order = torch.argsort(group, stable=True)
    start = size.cumsum(0) - size
    for count in size.unique().tolist():
        first = start[size == count].unsqueeze(1)
        yield order[first + torch.arange(count, device=first.device)]


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]


def _whole_genes(slots: Slots, most: int, seed: int) -> Tensor:
    """Return (M,) int64 at most `most` conditions: all those of genes that are drawn one by one."""
    if len(slots) <= most:
        return torch.arange(len(slots), device=slots.row.device)
    gene = torch.where(slots.is_filled, slots.row, -1).amax(dim=1).cpu()
    _, gene, size = torch.unique(gene, return_inverse=True, return_counts=True)
    order = torch.randperm(len(size), generator=torch.Generator().manual_seed(seed))
    taken = order[size[order].cumsum(0) <= most]
    if not len(taken):
        return torch.arange(most, device=slots.row.device)
    return torch.nonzero(torch.isin(gene, taken)).flatten().to(slots.row.device)
