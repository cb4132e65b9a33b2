"""What is asked of a virtual screen where the truth is known: queries, candidates, and who is a true hit.

Every question is queries x candidates with a yes or no a pair; contenders are libraries of candidate
profiles. All scores are those of `pertcast.analysis.connectivity`. Plain arrays, no training here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast.analysis.connectivity import get_score
from pertcast.evaluation.metrics.gene_rows import roc_area_rows
from pertcast_data.simulate.atlas import Atlas
from pertcast_data.simulate.genetics import GENETIC_KINDS
from pertcast_data.simulate.regimes.drives import structure_efficacy
from pertcast_data.simulate.signatures import SIGNATURE_HOURS
from pertcast_data.vocabulary import condition_id

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Profiles = dict[str, Floats]
"""Name of a gene or compound -> (G,) response."""

INHIBITED: Final = -0.3
"""Efficacy at or below which a regulator counts as a target that the compound inhibits."""
OPPOSED: Final = -0.4
"""Cosine of noise-free responses below which a candidate truly reverses a signature."""
TOP_SHARE: Final = 0.01
TIE_BREAKS: Final = 16
DECIMALS: Final = 5
"""Scores closer than this are ties: one profile for all gives equal scores up to rounding of products."""
LOSS, GAIN = "trt_xpr", "trt_oe"


@dataclass(frozen=True)
class KnownAtlas:
    """What was measured and what is true, name by name; all over the same G genes of one cell line.

    Attributes
    ----------
    cell_iname, genes
        The cell line, and G names.
    signatures, true_signatures
        Type -> gene -> z-scores, as measured and without noise.
    compounds, true_compounds
        Compound -> log2 response at the highest dose, as measured and without noise.
    inhibited
        Compound -> regulators that its structure inhibits.
    smiles, scaffold
        Compound -> structure, and name of its scaffold.
    """

    cell_iname: str
    genes: tuple[str, ...]
    signatures: Mapping[str, Profiles]
    true_signatures: Mapping[str, Profiles]
    compounds: Profiles
    true_compounds: Profiles
    inhibited: Mapping[str, tuple[str, ...]]
    smiles: Mapping[str, str]
    scaffold: Mapping[str, str]


@dataclass(frozen=True)
class Question:
    """Q queries over C candidates.

    Attributes
    ----------
    name, title
        For tables.
    unit
        Q names of what is drawn in intervals: queries of one name are drawn together.
    queries
        (Q, G) measured profiles.
    candidates
        C names.
    is_hit
        (Q, C) whether the candidate is truly looked for.
    sign
        1: hits mimic the query; -1: they reverse it.
    hides_own
        Whether perturbed genes' own transcripts are those of other perturbations, in queries (already) and in
        libraries.
    removes_mean
        Whether the mean over queries is taken from queries (already), and the mean profile from libraries, as
        `pertcast targets` does.
    """

    name: str
    title: str
    unit: tuple[str, ...]
    queries: Floats
    candidates: tuple[str, ...]
    is_hit: Flags
    sign: int
    hides_own: bool = False
    removes_mean: bool = False


def known_atlas(atlas: Atlas, truth: Atlas) -> KnownAtlas:
    """Collect an atlas of one cell line and time; `truth` is the atlas whose noise-free responses count.

    The two are the same atlas but in `null`, where nothing happens: there the truth of another regime of the
    same seed says what would be looked for, and nothing can find it.
    """
    world = atlas.world
    line = world.contexts.names[0]
    landmarks = [world.network.gene_symbols[gene] for gene in atlas.landmarks]
    signatures: dict[str, Profiles] = {kind: {} for kind in GENETIC_KINDS}
    table = atlas.signatures.select("pert_type", "pert_id")
    for (kind, gene), scores in zip(table.iter_rows(), atlas.scores, strict=True):
        signatures[kind][gene] = scores.astype(np.float64)
    true = dict(zip(truth.signatures_truth.condition_ids, truth.signatures_truth.response, strict=True))
    true_signatures = {
        kind: {g: true[condition_id(line, kind, g, None, SIGNATURE_HOURS)].astype(np.float64) for g in found}
        for kind, found in signatures.items()
    }
    doses, hours = atlas.config.doses, atlas.config.times
    wells = dict(zip(truth.wells_truth.condition_ids, truth.wells_truth.response, strict=True))
    compounds = _measured_compounds(atlas)
    place = {symbol: number for number, symbol in enumerate(world.network.gene_symbols)}
    columns = [place[symbol] for symbol in landmarks]
    true_compounds = {
        name: wells[condition_id(line, "trt_cp", name, max(doses), max(hours))][columns].astype(np.float64)
        for name in compounds
    }
    return KnownAtlas(
        line,
        tuple(landmarks),
        signatures,
        true_signatures,
        {name: response[columns] for name, response in compounds.items()},
        true_compounds,
        _inhibited(atlas),
        dict(zip(world.library.pert_ids, world.library.smiles, strict=True)),
        scaffolds(atlas),
    )


def _measured_compounds(atlas: Atlas) -> Profiles:
    """Return the mean over wells of the highest dose of well minus the mean vehicle well of its plate."""
    wells = atlas.wells.select("plate", "pert_id", "pert_type", "pert_dose")
    plates, values = wells["plate"].to_numpy(), atlas.intensities.astype(np.float64)
    is_vehicle = (wells["pert_type"] == "ctl_vehicle").to_numpy()
    change = np.empty_like(values)
    for plate in np.unique(plates):
        rows = plates == plate
        change[rows] = values[rows] - values[rows & is_vehicle].mean(axis=0)
    is_highest = (wells["pert_dose"] == max(atlas.config.doses)).fill_null(False).to_numpy()
    names = wells["pert_id"].to_numpy()
    return {name: change[is_highest & (names == name)].mean(axis=0) for name in np.unique(names[is_highest])}


def scaffolds(atlas: Atlas) -> dict[str, str]:
    """Return compound -> name of its scaffold; compounds of one scaffold share targets."""
    library = atlas.world.library
    return {name: f"scaffold {each}" for name, each in zip(library.pert_ids, library.scaffold, strict=True)}


def _inhibited(atlas: Atlas) -> dict[str, tuple[str, ...]]:
    world = atlas.world
    efficacy = structure_efficacy(world, np.arange(len(world.library)))
    symbols = [world.network.gene_symbols[gene] for gene in world.network.regulators]
    return {
        name: tuple(symbols[place] for place in np.flatnonzero(row <= INHIBITED))
        for name, row in zip(world.library.pert_ids, efficacy, strict=True)
    }


def stacked(profiles: Mapping[str, Floats], names: Iterable[str]) -> Floats:
    """Return the (N, G) profiles of these names."""
    return np.stack([profiles[name] for name in names])


def own_hidden(profiles: Floats, names: Sequence[str], genes: Sequence[str], usual: Floats) -> Floats:
    """Return a copy of (N, G) profiles with `usual` (G,) at the transcript that bears the name of the row.

    Not 0: where all profiles have much in common, a 0 would mark its gene as well as its own effect does.
    """
    rest, place = profiles.copy(), {gene: number for number, gene in enumerate(genes)}
    rows = [row for row, name in enumerate(names) if name in place]
    columns = [place[names[row]] for row in rows]
    rest[rows, columns] = usual[columns]
    return rest


def cosines(first: Floats, second: Floats) -> Floats:
    """Return (N, M) cosines; 0 with a profile of zeros."""
    sides = [
        side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-12) for side in (first, second)
    ]
    return np.asarray(sides[0] @ sides[1].T)


def gene_questions(known: KnownAtlas) -> list[Question]:
    """Return the questions to a library of gene losses, all genes with a measured knock-out candidates."""
    lost, gained = known.signatures[LOSS], known.signatures[GAIN]
    candidates = tuple(sorted(lost))
    drugs = tuple(sorted(known.compounds))
    targets = np.array([[gene in known.inhibited[drug] for gene in candidates] for drug in drugs])
    # Compounds of one scaffold share targets: they are no independent evidence.
    shared = tuple(known.scaffold[drug] for drug in drugs)
    treated = stacked(known.compounds, drugs)
    true_loss = stacked(known.true_signatures[LOSS], candidates)
    opposed = cosines(stacked(known.true_signatures[GAIN], sorted(gained)), true_loss) < OPPOSED

    def own(name: str, title: str, profiles: Profiles, sign: int, hides: bool) -> Question:
        names = tuple(gene for gene in sorted(profiles) if gene in lost)
        queries = stacked(profiles, names)
        usual = np.median(queries, axis=0)
        queries = own_hidden(queries, names, known.genes, usual) if hides else queries
        is_hit = np.array(names)[:, None] == np.array(candidates)[None, :]
        return Question(name, title, names, queries, candidates, is_hit, sign, hides)

    return [
        Question(
            "drug_targets", "which gene's loss does a compound resemble? hits: the targets it inhibits",
            shared, treated, candidates, targets, 1,
        ),
        Question(
            "drug_targets_centred", "the same, mean profiles removed (as pertcast targets does)",
            shared, treated - treated.mean(axis=0), candidates, targets, 1, removes_mean=True,
        ),
        own("lost_gene", "which gene was knocked out? own transcripts hidden", lost, 1, True),
        own("lost_gene_whole", "the same with own transcripts", lost, 1, False),
        Question(
            "gene_reversers", "whose loss reverses an over-expression? hits: noise-free cosine < -.4",
            tuple(sorted(gained)), stacked(gained, sorted(gained)), candidates, opposed, -1,
        ),
        own("own_loss", "over-expression: its own gene's loss reverses it; own hidden", gained, -1, True),
    ]  # fmt: skip


def compound_questions(known: KnownAtlas) -> list[Question]:
    """Return the one question to a library of compounds: who reverses a lost or a gained gene."""
    candidates = tuple(sorted(known.compounds))
    asked = [(kind, gene) for kind in (LOSS, GAIN) for gene in sorted(known.signatures[kind])]
    true = np.stack([known.true_signatures[kind][gene] for kind, gene in asked])
    return [
        Question(
            "compound_reversers",
            "which compound reverses a knock-out or an over-expression? hits: noise-free cosine < -.4",
            tuple(gene for _, gene in asked),
            np.stack([known.signatures[kind][gene] for kind, gene in asked]),
            candidates,
            cosines(true, stacked(known.true_compounds, candidates)) < OPPOSED,
            -1,
        )
    ]


def connectivity(question: Question, library: Floats, score: str) -> Floats:
    """Return (Q, C) how well each candidate does what the question asks, higher is better."""
    found = get_score(score).of_profiles(question.queries).against(library)
    return np.asarray(question.sign * np.round(found.astype(np.float64), DECIMALS), dtype=np.float64)


def first_ranks(scores: Floats, is_hit: Flags) -> Floats:
    """Return (B, Q) place from 1 of the first hit, ties broken at random (B is 1 without any)."""
    random = np.random.default_rng(0)
    ordered = np.sort(scores, axis=1)
    has_ties = bool((ordered[:, 1:] == ordered[:, :-1]).any())
    found = np.empty((TIE_BREAKS if has_ties else 1, len(scores)))
    for row in found:
        order = np.lexsort((random.random(scores.shape), -scores), axis=1)
        row[:] = 1 + np.take_along_axis(is_hit, order, axis=1).argmax(axis=1)
    return found


def ranked(scores: Floats, is_hit: Flags) -> dict[str, list[float]]:
    """Return metric -> one value a query: AUROC, reciprocal place of the first hit, a hit in the top 1 %.

    Parameters
    ----------
    scores, is_hit
        (Q, C), every query with a hit and with a candidate that is none.
    """
    place = first_ranks(scores, is_hit)
    within = max(1, round(TOP_SHARE * scores.shape[1]))
    values = {
        "auroc": roc_area_rows(is_hit, scores),
        "first": (1.0 / place).mean(axis=0),
        "top": (place <= within).mean(axis=0),
    }
    return {name: [round(float(value), 5) for value in found] for name, found in values.items()}
