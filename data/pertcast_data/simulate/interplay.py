"""How two perturbed processes interact: synergy, suppression, or something that neither does alone.

Between two processes the interaction is of one kind, as genetic interaction maps show (monochromatic), so
that measured pairs tell of pairs not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast_data.simulate.genome import Network
from pertcast_data.simulate.interactome import N_PROCESSES

Floats = NDArray[np.float64]

INTERPLAY_KINDS: Final = ("synergy", "suppression", "neomorphic")
SYNERGETIC, SUPPRESSING, NEOMORPHIC = range(3)
SYNERGY: Final = 2.0
EMERGENT_STRENGTH: Final = (1.6, 2.4)
HIDDEN_BETWEEN: Final = (1.0, 0.8)
HIDDEN_WITHIN: Final = 0.9


@dataclass(frozen=True, slots=True)
class Interplay:
    """Interactions of P processes over R regulators.

    Attributes
    ----------
    kind
        (P, P) int64, symmetric: place in `INTERPLAY_KINDS`.
    synergy
        (P, P) extra share of both drives when both processes are hit.
    hidden
        (P, P) share of a drive on the first process that hitting the second one hides: of two processes one
        is masked entirely, the other by four fifths.
    emergent
        (P, P, R) drive on regulators of other processes that appears only when both are hit.
    member
        (R, P) one where a regulator serves a process.
    masters
        (P, R) one at the regulator that answers to any loss in its process.
    """

    kind: NDArray[np.int64]
    synergy: Floats
    hidden: Floats
    emergent: Floats
    member: Floats
    masters: Floats


def build_interplay(network: Network, random: np.random.Generator) -> Interplay:
    """Draw the interactions; the three kinds are dealt evenly to the pairs of processes."""
    interactome = network.interactome
    process = interactome.process[interactome.pathway[network.regulators]]
    member = (process[:, None] == np.arange(N_PROCESSES)).astype(np.float64)
    first, second = np.triu_indices(N_PROCESSES)
    kind = np.zeros((N_PROCESSES, N_PROCESSES), dtype=np.int64)
    kind[first, second] = random.permutation(np.arange(len(first)) % len(INTERPLAY_KINDS))
    kind = np.maximum(kind, kind.T)
    order = random.permutation(N_PROCESSES)
    hidden = np.where(order[:, None] < order[None, :], *HIDDEN_BETWEEN)
    np.fill_diagonal(hidden, HIDDEN_WITHIN)
    masters = np.zeros((N_PROCESSES, network.n_regulators))
    for number in range(N_PROCESSES):
        masters[number, random.choice(np.flatnonzero(process == number))] = 1.0
    return Interplay(
        kind=kind,
        synergy=np.where(kind == SYNERGETIC, SYNERGY, 0.0),
        hidden=np.where(kind == SUPPRESSING, hidden, 0.0),
        emergent=_emergent(kind, process, random),
        member=member,
        masters=masters,
    )


def _emergent(kind: NDArray[np.int64], process: NDArray[np.int64], random: np.random.Generator) -> Floats:
    """Give each neomorphic pair of processes signed drives on regulators that serve neither."""
    n_regulators = len(process)
    drive = np.zeros((*kind.shape, n_regulators))
    for first, second in zip(*np.triu_indices(len(kind)), strict=True):
        if kind[first, second] != NEOMORPHIC:
            continue
        others = np.flatnonzero((process != first) & (process != second))
        chosen = random.choice(others, size=min(2 + n_regulators // 160, len(others)), replace=False)
        sign = np.where(random.random(len(chosen)) < 0.5, -1.0, 1.0)
        drive[first, second, chosen] = sign * random.uniform(*EMERGENT_STRENGTH, size=len(chosen))
        drive[second, first] = drive[first, second]
    return drive
