"""The hidden truth of an atlas: network, cell lines and what each piece of chemistry acts on.

Drawn once a seed and shared by all regimes, so that regimes differ in the response only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertcast_data.simulate.adversity import Adversity, build_adversity
from pertcast_data.simulate.chemistry import Library, build_library
from pertcast_data.simulate.fragments import SCAFFOLDS, SUBSTITUENTS
from pertcast_data.simulate.genetics import GENETIC_KINDS
from pertcast_data.simulate.genome import Network, build_network
from pertcast_data.simulate.interplay import Interplay, build_interplay
from pertcast_data.simulate.streams import stream

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pharmacology:
    """What fragments do, over R regulators.

    Attributes
    ----------
    scaffold_targets
        (scaffolds, R) signed efficacy: two targets a scaffold (more where there are over 160 regulators).
    substituent_targets
        (substituents, R) signed efficacy: half as many targets a substituent; hydrogen has none.
    scaffold_potency
        (scaffolds,) log10 of the half-maximal dose in uM.
    substituent_potency
        (substituents,) shift of that logarithm for each substituent present.
    """

    scaffold_targets: Floats
    substituent_targets: Floats
    scaffold_potency: Floats
    substituent_potency: Floats


@dataclass(frozen=True, slots=True)
class Contexts:
    """C cell lines.

    Attributes
    ----------
    names
        C names; no real line is called so.
    basal
        (C, G) log2 intensity of untreated cells, 5.5 to 11.5.
    sensitivity
        (C, R) log10 shift of each target's half-maximal dose; in `linear` the line's answer to any treatment.
    """

    names: tuple[str, ...]
    basal: Floats
    sensitivity: Floats


@dataclass(frozen=True, slots=True)
class World:
    """Everything that decides a noise-free response.

    `dose_axis` and `time_axis` are (R,): the drive of a decade of dose and of a doubling of time, for regimes
    that are linear in them around the reference dose (uM) and time (hours). `off_target` is (3, G) int64: the
    second gene that a genetic perturbation of a kind and gene hits by accident. `interplay` is what two
    processes do to each other, `adversity` what makes an atlas treacherous; a regime uses them or not.
    `type_coupling` stands in the place of the coupling of types that a regime declares; None leaves that.
    """

    network: Network
    contexts: Contexts
    library: Library
    pharmacology: Pharmacology
    dose_axis: Floats
    time_axis: Floats
    reference_dose: float
    reference_time: float
    off_target: NDArray[np.int64]
    interplay: Interplay
    adversity: Adversity
    type_coupling: float | None = None


def build_world(
    seed: int,
    *,
    n_genes: int,
    n_contexts: int,
    n_compounds: int,
    n_unprofiled: int,
    doses: tuple[float, ...],
    times: tuple[float, ...],
    type_coupling: float | None = None,
) -> World:
    """Draw the hidden truth of an atlas; reference dose and time are the geometric means of those given."""
    network = build_network(n_genes, stream(seed, "network"))
    library = build_library(n_compounds, n_unprofiled, stream(seed, "library"))
    axes = stream(seed, "axes")
    return World(
        network=network,
        contexts=_contexts(n_contexts, network, stream(seed, "contexts")),
        library=library,
        pharmacology=_pharmacology(network.n_regulators, stream(seed, "pharmacology")),
        dose_axis=_spread_targets(1, 3 + network.n_regulators // 80, network.n_regulators, 0.25, axes)[0],
        time_axis=_spread_targets(1, 3 + network.n_regulators // 80, network.n_regulators, 0.2, axes)[0],
        reference_dose=float(np.exp(np.mean(np.log(doses)))),
        reference_time=float(np.exp(np.mean(np.log(times)))),
        off_target=stream(seed, "off targets").integers(n_genes, size=(len(GENETIC_KINDS), n_genes)),
        interplay=build_interplay(network, stream(seed, "interplay")),
        adversity=build_adversity(network, len(library), library.n_profiled, stream(seed, "adversity")),
        type_coupling=type_coupling,
    )


def _spread_targets(
    rows: int, each: int, n_regulators: int, size: float, random: np.random.Generator
) -> Floats:
    """Give each row `each` regulators with signed strengths about `size`; the regulators are dealt evenly."""
    matrix = np.zeros((rows, n_regulators))
    deals = np.concatenate([random.permutation(n_regulators) for _ in range(rows * each // n_regulators + 1)])
    for row in range(rows):
        chosen = deals[row * each : (row + 1) * each]
        sign = np.where(random.random(len(chosen)) < 0.6, -1.0, 1.0)
        matrix[row, chosen] = sign * size * random.uniform(0.6, 1.4, size=len(chosen))
    return matrix


def _pharmacology(n_regulators: int, random: np.random.Generator) -> Pharmacology:
    each = 1 + n_regulators // 160
    substituent_targets = _spread_targets(len(SUBSTITUENTS), each, n_regulators, 0.6, random)
    substituent_targets[0] = 0.0
    substituent_potency = random.normal(0.0, 0.25, size=len(SUBSTITUENTS))
    substituent_potency[0] = 0.0
    return Pharmacology(
        scaffold_targets=_spread_targets(len(SCAFFOLDS), 2 * each, n_regulators, 1.0, random),
        substituent_targets=substituent_targets,
        scaffold_potency=random.normal(0.0, 0.4, size=len(SCAFFOLDS)),
        substituent_potency=substituent_potency,
    )


def _contexts(n_contexts: int, network: Network, random: np.random.Generator) -> Contexts:
    shared = random.normal(8.5, 1.3, size=network.n_genes)
    own = random.normal(0.0, 0.8, size=(n_contexts, network.n_genes))
    return Contexts(
        names=tuple(f"SIMLINE{line:02d}" for line in range(1, n_contexts + 1)),
        basal=np.clip(shared + own, 5.5, 11.5),
        sensitivity=random.normal(0.0, 0.3, size=(n_contexts, network.n_regulators)),
    )
