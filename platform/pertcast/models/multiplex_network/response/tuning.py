"""Chooses the covariance by the marginal likelihood of some training conditions.

Components of a class (1, 2-3, 4-7, ...) share how much of their variance is signal, so that the weak ones
fade out together; everything else is common to all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from pertcast.models.multiplex_network.response.covariance import Shape, Slots, SlotTables, covariance

LAST_CLASS = 6
"""Components from the 64th on are one class."""
JITTER = 1e-6
LEAST_NOISE = 1e-3
"""Share of a class of components that is noise at least, and signal at least."""
_PRIOR_PRECISION = 0.5
_START_SIGNAL = (0.0, -3.0)
_START_MEMORY = -1.5
_START_LENGTH = -0.5


def component_classes(count: int) -> Tensor:
    """Return (K,) int64 the class of each component, by octaves of its rank."""
    return torch.log2(torch.arange(1, count + 1, dtype=torch.float64)).floor().long().clamp(max=LAST_CLASS)


@dataclass(frozen=True, slots=True)
class Tuned:
    """A chosen covariance.

    Attributes
    ----------
    shape
        Float64.
    signal
        (O,) share of a class's variance that is signal.
    noise
        (T,) variance of the rest by type, in units of the class's noise.
    fixed_noise
        () share of the noise that more profiles of a condition do not reduce.
    """

    shape: Shape
    signal: Tensor
    noise: Tensor
    fixed_noise: Tensor

    def diagonal(self, kind: Tensor, few: Tensor) -> Tensor:
        """Return (N,) the noise of conditions.

        Parameters
        ----------
        kind
            (N,) type of each.
        few
            (N,) typical number of profiles over that of the condition.
        """
        return self.noise[kind] * (self.fixed_noise + (1 - self.fixed_noise) * few)


class _Unknowns(nn.Module):
    """The numbers that are chosen, free of bounds."""

    def __init__(self, coupled: tuple[bool, ...], n_blocks: int, n_views: int, n_classes: int) -> None:
        super().__init__()
        n_types = len(coupled)
        known = torch.tensor(coupled)
        self.is_free = torch.outer(known, known) | torch.eye(n_types, dtype=torch.bool)

        def free(values: Tensor) -> nn.Parameter:
            return nn.Parameter(values.double())

        self.factor = free(torch.eye(n_types) + 0.3)
        self.shares = free(torch.zeros(n_blocks + n_views))
        self.lengths = free(torch.full((n_views,), _START_LENGTH))
        self.memory = free(torch.full((n_types,), _START_MEMORY))
        self.agreement = free(torch.full((n_types,), 0.5))
        self.context = free(torch.ones(()))
        self.signal = free(torch.linspace(*_START_SIGNAL, n_classes))
        self.noise, self.fixed_noise = free(torch.zeros(n_types)), free(torch.zeros(()))

    def tuned(self) -> Tuned:
        """Return what the numbers mean."""
        is_free = self.is_free.to(self.factor.device)
        factor = torch.tril(self.factor) * is_free
        spread, agreement = _bounded(self.memory, 4.0), torch.tanh(self.agreement)
        leading = spread * agreement
        memory = torch.outer(leading, leading) + torch.diag(spread.square() * (1 - agreement.square()))
        shape = Shape(
            shares=torch.softmax(self.shares, dim=0),
            lengths=_bounded(self.lengths, 2.0),
            coupling=_with_unseen(factor @ factor.T),
            memory=_with_unseen(memory * is_free),
            context_correlation=torch.sigmoid(self.context),
        )
        signal = LEAST_NOISE + (1 - 2 * LEAST_NOISE) * torch.sigmoid(self.signal)
        return Tuned(shape, signal, _bounded(self.noise, 3.0), torch.sigmoid(self.fixed_noise))

    def prior(self) -> Tensor:
        """Return the negative logarithm of a weak prior around the start."""
        common = (self.noise, self.fixed_noise, self.context - 1, self.lengths - _START_LENGTH, self.shares)
        return _PRIOR_PRECISION * sum((each.square().sum() for each in common), torch.zeros(())) + (
            0.05 * (self.signal.square().sum() + (self.memory - _START_MEMORY).square().sum())
            + 0.05 * self.factor.square().sum()
        )


def _bounded(logarithm: Tensor, most: float) -> Tensor:
    """Return exp of a number that is bent to -most..most, so that no step of the search leaves all bounds."""
    return torch.exp(most * torch.tanh(logarithm / most))


def _with_unseen(known: Tensor) -> Tensor:
    """Return the (T + 1, T + 1) matrix in which an unseen type is like the mean of the known ones."""
    mean = known.mean(dim=0)
    last = torch.cat([mean, mean.mean().unsqueeze(0)])
    return torch.cat([torch.cat([known, mean.unsqueeze(0)]), last.unsqueeze(1)], dim=1)


def tune(slots: Slots, scores: Tensor, few: Tensor, coupled: tuple[bool, ...], max_steps: int) -> Tuned:
    """Maximise the marginal likelihood of N conditions by L-BFGS.

    Parameters
    ----------
    slots
        N conditions, float64.
    scores
        (N, K) float64 with unit mean square.
    few
        (N,) typical number of profiles over that of each condition.
    coupled
        Of each of the T types, whether it may tell of the others that may.
    max_steps
        Of L-BFGS.
    """
    classes = component_classes(scores.shape[1]).to(scores.device)
    members = [torch.nonzero(classes == each).flatten() for each in range(int(classes.max()) + 1)]
    n_views = sum(len(ends) for _, *ends in slots.blocks)
    unknowns = _Unknowns(coupled, len(slots.blocks), n_views, len(members)).to(scores.device)
    tables, kind = SlotTables.of(slots, slots), slots.last_kind()
    optimiser = torch.optim.LBFGS(
        unknowns.parameters(), max_iter=max_steps, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )

    def loss() -> Tensor:
        tuned = unknowns.tuned()
        common = covariance(slots, slots, tuned.shape, tables)
        noise = tuned.diagonal(kind, few)
        total = unknowns.prior()
        for number, columns in enumerate(members):
            total = total + _negative_log_likelihood(common, noise, tuned.signal[number], scores[:, columns])
        return total / scores.numel()

    def closure() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return _detached(unknowns.tuned())


def _negative_log_likelihood(common: Tensor, noise: Tensor, signal: Tensor, scores: Tensor) -> Tensor:
    factor = torch.linalg.cholesky(noisy(common, noise, signal))
    white = torch.linalg.solve_triangular(factor, scores, upper=False)
    value: Tensor = 0.5 * white.square().sum() + scores.shape[1] * factor.diagonal().log().sum()
    return value


def noisy(common: Tensor, noise: Tensor, signal: Tensor) -> Tensor:
    """Return the (N, N) covariance of measured scores of a class."""
    jitter = JITTER * (1 + signal * common.diagonal().mean())
    return signal * common + torch.diag((1 - signal) * noise + jitter)


def _detached(tuned: Tuned) -> Tuned:
    shape = tuned.shape
    return Tuned(
        Shape(
            *(getattr(shape, each.name).detach() for each in fields(shape)),
        ),
        tuned.signal.detach(),
        tuned.noise.detach(),
        tuned.fixed_noise.detach(),
    )  # fmt: skip
