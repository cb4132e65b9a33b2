"""How well each way of integrating networks ranks edges held out of them, beside neighbours alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, cast, get_args

from pertcast.evaluation.links.link_prediction import LinkScore, link_prediction
from pertcast.models.multiplex_network.integration.config import IntegrationConfig, IntegrationMethod
from pertcast.models.multiplex_network.integration.multiplex import Multiplex
from pertcast_data.errors import ConfigError, nearest_known
from pertcast_data.progress import ProgressCallback
from pertcast_data.text import aligned

METHODS: Final[tuple[IntegrationMethod, ...]] = get_args(IntegrationMethod)

SHARE: Final = 0.1
"""Share of a network's edges that is held out."""


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """How methods are judged.

    Attributes
    ----------
    methods
        Methods of integration.
    components
        Features of a gene.
    seed
        Of the draw of edges and negatives, and of the methods.
    """

    methods: tuple[IntegrationMethod, ...] = METHODS
    components: int = 64
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Ranked:
    """A predictor in its better way of comparing pairs, averaged over the networks judged.

    Attributes
    ----------
    predictor, by
        As in `LinkScore`.
    auc_matched, auc_random
        Mean AUC with degree-matched and with random negatives.
    standard_error
        Of `auc_matched`, at most: the variance of an AUC A over n edges and n pairs is A (1 - A) / n or less
        (Birnbaum and Klose 1957, Ann. Math. Statist. 28:933).
    """

    predictor: str
    by: str
    auc_matched: float
    auc_random: float
    standard_error: float

    @classmethod
    def of(cls, predictor: str, by: str, matched: Sequence[LinkScore], random: Sequence[LinkScore]) -> Ranked:
        """Average over networks."""
        variances = [each.auc * (1 - each.auc) / each.n_edges for each in matched]
        return cls(
            predictor,
            by,
            statistics.fmean(each.auc for each in matched),
            statistics.fmean(each.auc for each in random),
            math.sqrt(sum(variances)) / len(variances),
        )

    def text(self) -> str:
        """Return the predictor and its AUC with degree-matched negatives."""
        return f"{self.predictor} ({self.by}) {self.auc_matched:.3f}"


@dataclass(frozen=True)
class LinkReport:
    """How well held-out edges were ranked.

    Attributes
    ----------
    plan
        What was asked for.
    scores
        Of every network that could be judged, as `link_prediction` returns them.
    not_judged
        Name of a network -> why no edges of it could be judged.
    """

    plan: LinkPlan
    scores: tuple[LinkScore, ...]
    not_judged: Mapping[str, str]

    def ranking(self) -> tuple[list[Ranked], list[Ranked]]:
        """Return methods, and scores of neighbours alone, each best first by AUC with matched negatives."""
        listed: dict[tuple[str, str], dict[str, list[LinkScore]]] = {}
        for score in self.scores:
            kinds = listed.setdefault((score.predictor, score.by), {})
            kinds.setdefault(score.negatives, []).append(score)
        means = [
            Ranked.of(predictor, by, kinds["degree-matched"], kinds["random"])
            for (predictor, by), kinds in listed.items()
        ]
        means.sort(key=lambda each: -each.auc_matched)
        better: dict[str, Ranked] = {}
        for each in means:
            better.setdefault(each.predictor, each)
        methods = [each for each in better.values() if each.predictor in METHODS]
        return methods, [each for each in better.values() if each.predictor not in METHODS]

    def lines(self) -> list[str]:
        """Return a table of all figures and what they say."""
        skipped = [f"{name}: not judged, {why}" for name, why in self.not_judged.items()]
        if not self.scores:
            return [*skipped, "No network could be judged by held-out edges."]
        title = (
            f"Held-out edges ({100 * SHARE:g} % of each network in turn, taken out of all), "
            f"{self.plan.components} components, seed {self.plan.seed}; .5 knows nothing"
        )
        return [title, "", *aligned(list(self._rows())), "", *self._unmatched(), *skipped, *self._verdict()]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        methods, neighbours = self.ranking()
        return {
            **asdict(self.plan),
            "share": SHARE,
            "scores": [asdict(score) for score in self.scores],
            "not_judged": dict(self.not_judged),
            "methods_best_first": [asdict(each) for each in methods],
            "neighbours_best_first": [asdict(each) for each in neighbours],
        }

    def _rows(self) -> Iterator[tuple[str, ...]]:
        yield "network", "edges", "predictor", "by", "AUC matched", "AP matched", "AUC random", "AP random"
        pairs: dict[tuple[str, str, str], dict[str, LinkScore]] = {}
        for score in self.scores:
            pairs.setdefault((score.layer, score.predictor, score.by), {})[score.negatives] = score
        for (layer, predictor, by), kinds in pairs.items():
            matched, random = kinds["degree-matched"], kinds["random"]
            figures = (matched.auc, matched.average_precision, random.auc, random.average_precision)
            yield layer, f"{matched.n_edges:,}", predictor, by, *(f"{figure:.3f}" for figure in figures)

    def _unmatched(self) -> Iterator[str]:
        counts: dict[str, dict[str, int]] = {}
        for score in self.scores:
            counts.setdefault(score.layer, {})[score.negatives] = score.n_edges
        for name, edges in counts.items():
            if edges["random"] > edges["degree-matched"]:
                fewer = edges["random"] - edges["degree-matched"]
                yield f"{name}: {fewer:,} more held-out edges have no degree-matched pair, only random ones"

    def _verdict(self) -> Iterator[str]:
        methods, neighbours = self.ranking()
        n_networks = len({score.layer for score in self.scores})
        over = "1 network" if n_networks == 1 else f"mean of {n_networks} networks"
        error = methods[0].standard_error
        near = [each for each in methods[1:] if methods[0].auc_matched - each.auc_matched <= error]
        tied = f"; not told apart from it: {', '.join(each.predictor for each in near)}" if near else ""
        yield f"Best at held-out edges: {methods[0].predictor} (standard error {error:.3f} at most){tied}"
        yield f"AUC, degree-matched negatives, {over}: {', '.join(each.text() for each in methods)}"
        best = neighbours[0]
        above = "above every method" if best.auc_matched > methods[0].auc_matched else "not above the best"
        yield f"Neighbours alone: {best.text()}, {above}"
        plain = next(each for each in neighbours if each.predictor == "degree product")
        yield (
            f"Degree product: {plain.auc_random:.3f} with random negatives, where it counts how well studied "
            f"a gene is, and {plain.auc_matched:.3f} with degree-matched ones"
        )
        yield (
            "This ranks edges, not responses: choose encoder.gene_network_integration.method by the "
            "validation of the response model."
        )


def methods_named(text: str) -> tuple[IntegrationMethod, ...]:
    """Return the methods of a list such as "union,random_walk", each once.

    Raises
    ------
    ConfigError
        A name is no method, or none is named.
    """
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise ConfigError(f"--methods names no method; use {', '.join(METHODS)}.")
    for word in words:
        if word not in METHODS:
            near = nearest_known(word, METHODS, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"--methods: no method is called {word!r}.{hint} There are {', '.join(METHODS)}."
            )
    return tuple(cast(IntegrationMethod, word) for word in words)


def judge_methods(multiplex: Multiplex, plan: LinkPlan, progress: ProgressCallback) -> LinkReport:
    """Hold out edges of each network in turn and rank them by every method of the plan.

    Parameters
    ----------
    multiplex
        L networks.
    plan
        Methods, components and seed.
    progress
        Told of steps done, of 1 + L times the number of methods; the first is the reading before.
    """
    config = IntegrationConfig(seed=plan.seed)
    n_methods = len(plan.methods)
    steps = 1 + len(multiplex.layers) * n_methods
    scores: list[LinkScore] = []
    not_judged: dict[str, str] = {}
    for place, layer in enumerate(multiplex.layers):
        before = 1 + place * n_methods

        def tell(done: int, total: int, note: str, before: int = before, name: str = layer.name) -> None:
            progress(before + done, steps, f"{name}: {note}")

        try:
            # No method, no integration: this only finds out whether enough edges can be held out.
            link_prediction(multiplex, place, (), plan.components, share=SHARE, seed=plan.seed)
        except ConfigError as error:
            not_judged[layer.name] = str(error).removeprefix(f"{layer.name}: ").split(". ")[0]
            progress(before + n_methods, steps, f"{layer.name}: too small")
            continue
        scores += link_prediction(
            multiplex,
            place,
            plan.methods,
            plan.components,
            config,
            share=SHARE,
            seed=plan.seed,
            progress=tell,
        )
    if len(multiplex.layers) == 1:
        # Neighbours in all networks are those in the one.
        scores = [score for score in scores if score.by != "union"]
    return LinkReport(plan, tuple(scores), not_judged)
