"""Networks as databases list them: part of what is true, wrong edges among it, much-studied genes first.

Each file has the layout of a real edge list (docs/atlas.md); what was hidden and what is wrong stands in the
truth file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast_data.simulate.config import AtlasConfig
from pertcast_data.simulate.genome import Network
from pertcast_data.simulate.interactions import LAYERS, Floats, Integers, Layer
from pertcast_data.simulate.streams import stream

LARGEST_ERROR_SHARE: Final = 0.9
ATTENTION_SPREAD: Final = 0.8
_ROUNDS: Final = 20


@dataclass(frozen=True, slots=True)
class Errors:
    """How a database errs at noise 1.

    Attributes
    ----------
    hidden
        Share of the true edges that are not listed.
    wrong
        Share of the listed edges that are not true.
    hub_bias
        Power of both genes' popularity with researchers in the odds of an edge, true or wrong; 0: none.
    """

    hidden: float
    wrong: float
    hub_bias: float


ERRORS: Final[Mapping[str, Errors]] = MappingProxyType(
    {
        "protein_interactions": Errors(hidden=0.4, wrong=0.2, hub_bias=1.0),
        "coexpression": Errors(hidden=0.3, wrong=0.3, hub_bias=0.5),
        "regulation": Errors(hidden=0.5, wrong=0.1, hub_bias=1.0),
        "complexes": Errors(hidden=0.4, wrong=0.05, hub_bias=0.5),
        "pathways": Errors(hidden=0.6, wrong=0.1, hub_bias=0.5),
        "neighbourhood": Errors(hidden=0.1, wrong=0.0, hub_bias=0.0),
    }
)
"""Layer -> how its file errs. At another noise, both shares are multiplied by it and held under 0.9."""


@dataclass(frozen=True, slots=True)
class ListedNetwork:
    """A network as its file lists it, and what is true.

    Attributes
    ----------
    name
        Name of the layer and of its file.
    truth
        All true edges.
    is_listed
        (E,) bool, which of the true edges the file lists.
    wrong
        (F, 2) int64 pairs of genes that the file lists and that are not true.
    true_score, wrong_score
        (E,) and (F,) float64, the weights that the file gives them (those of hidden edges stay unused).
    """

    name: str
    truth: Layer
    is_listed: NDArray[np.bool_]
    wrong: Integers
    true_score: Floats
    wrong_score: Floats

    @property
    def edges(self) -> Integers:
        """(L, 2) the listed edges, true ones first."""
        return np.concatenate([self.truth.edges[self.is_listed], self.wrong])

    @property
    def scores(self) -> Floats:
        """(L,) the weights of the listed edges."""
        return np.concatenate([self.true_score[self.is_listed], self.wrong_score])

    def summary(self) -> dict[str, float | int]:
        """Return counts and the shares that were reached."""
        n_listed = int(self.is_listed.sum()) + len(self.wrong)
        return {
            "n_true": len(self.is_listed),
            "n_listed": n_listed,
            "hidden_share": round(1.0 - float(self.is_listed.mean()), 4),
            "wrong_share": round(len(self.wrong) / max(n_listed, 1), 4),
        }


def list_networks(config: AtlasConfig, network: Network) -> tuple[ListedNetwork, ...]:
    """Return what databases list of every layer, in the order of `LAYERS`."""
    attention = stream(config.seed, "attention").lognormal(0.0, ATTENTION_SPREAD, size=network.n_genes)
    return tuple(_listed(name, config, network, attention) for name in LAYERS)


def _listed(name: str, config: AtlasConfig, network: Network, attention: Floats) -> ListedNetwork:
    random, errors = stream(config.seed, f"network {name}"), ERRORS[name]
    truth = LAYERS[name](network, stream(config.seed, f"layer {name}"))
    popularity = attention**errors.hub_bias
    hidden, wrong_share = (
        min(share * config.noise, LARGEST_ERROR_SHARE) for share in (errors.hidden, errors.wrong)
    )
    is_listed = _chosen_edges(truth.edges, round((1.0 - hidden) * len(truth.edges)), popularity, random)
    n_wrong = round(wrong_share / (1.0 - wrong_share) * int(is_listed.sum()))
    sources = network.regulators if name == "regulation" else np.arange(network.n_genes)
    wrong = _wrong_edges(truth.edges, n_wrong, sources, popularity, random)
    true_score, wrong_score = SCORES[name](truth.weight, len(wrong), random)
    return ListedNetwork(name, truth, is_listed, wrong, true_score, wrong_score)


def _chosen_edges(
    edges: Integers, count: int, popularity: Floats, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose `count` of the (E, 2) edges, in proportion to the popularity of both genes."""
    chosen = np.zeros(len(edges), dtype=np.bool_)
    if count:
        chance = popularity[edges].prod(axis=1)
        chosen[random.choice(len(edges), size=count, replace=False, p=chance / chance.sum())] = True
    return chosen


def _wrong_edges(
    true_edges: Integers, count: int, sources: Integers, popularity: Floats, random: np.random.Generator
) -> Integers:
    """Draw up to `count` distinct pairs that are not true: popular genes more often than others.

    Fewer are found only where nearly all pairs of a tiny genome are true.
    """
    n_genes = len(popularity)
    is_ordered = len(sources) < n_genes
    taken = true_edges[:, 0] * n_genes + true_edges[:, 1]
    n_true = len(taken)
    for _ in range(_ROUNDS):
        missing = count - (len(taken) - n_true)
        if missing == 0:
            break
        first = random.choice(sources, size=2 * missing, p=popularity[sources] / popularity[sources].sum())
        second = random.choice(n_genes, size=2 * missing, p=popularity / popularity.sum())
        if not is_ordered:
            first, second = np.minimum(first, second), np.maximum(first, second)
        key = (first * n_genes + second)[first != second]
        new = np.unique(key[~np.isin(key, taken)])
        taken = np.concatenate([taken, random.permutation(new)[:missing]])
    wrong = np.sort(taken[n_true:])
    return np.stack([wrong // n_genes, wrong % n_genes], axis=1).astype(np.int64)


def _rounded(values: Floats, decimals: int) -> Floats:
    return np.asarray(np.round(values, decimals), dtype=np.float64)


def _evidence_scores(weight: Floats, n_wrong: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Score evidence from 0 to 1; wrong edges tend to score lower, yet the two overlap."""
    of_true, of_wrong = random.beta(4.0, 2.5, size=len(weight)), random.beta(2.5, 3.0, size=n_wrong)
    return _rounded(np.maximum(of_true, 0.01), 6), _rounded(np.maximum(of_wrong, 0.01), 6)


def _correlation_scores(weight: Floats, n_wrong: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the cosines less an error of estimation; wrong edges look like the weaker ones."""
    measured = weight - np.abs(random.normal(0.0, 0.15, size=len(weight)))
    of_wrong = random.uniform(0.15, 0.8, size=n_wrong)
    return _rounded(np.clip(measured, 0.15, 0.999), 3), _rounded(of_wrong, 3)


def _signs(weight: Floats, n_wrong: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    return np.sign(weight), random.choice([-1.0, 1.0], size=n_wrong)


def _given_weights(weight: Floats, n_wrong: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    return _rounded(weight, 3), _rounded(random.choice(weight, size=n_wrong), 3)


SCORES: Final[Mapping[str, Callable[[Floats, int, np.random.Generator], tuple[Floats, Floats]]]] = (
    MappingProxyType(
        {
            "protein_interactions": _evidence_scores,
            "coexpression": _correlation_scores,
            "regulation": _signs,
            "complexes": _given_weights,
            "pathways": _given_weights,
            "neighbourhood": _given_weights,
        }
    )
)
"""Layer -> the weights in its file, of true and of wrong edges."""
