"""Do virtual screens find targets and reversers that they never saw? Models beside the mean profile.

On a simulated atlas, models are trained on part of the genes (compounds); predicted knock-outs of the others
(responses to the other compounds) are screened with measured signatures. Hits are known from the truth of
the atlas. Rows: the models, what a mean profile and effect sizes alone reach, measured responses in the place
of predicted ones, and the noise-free ones.

    python benchmarks/atlas_screens.py --seeds 100-104 --out screens.json

`network` screens genes, `null` both kinds, other regimes compounds. Seeds 0-9 are for building, 100-109
for reporting. Finished seeds are kept in --out and not run again. `--quick`: small, ridge models only.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from paired import keep_lines, read_lines, seeds_of
from pertcast.predictor import Predictor
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, generator_hash, simulate_atlas, write_atlas
from pertcast_data.simulate.signatures import SIGNATURE_HOURS
from pertcast_data.splits import Split, make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training
from screen_questions import (
    LOSS,
    Floats,
    KnownAtlas,
    Question,
    compound_questions,
    connectivity,
    gene_questions,
    known_atlas,
    own_hidden,
    ranked,
    stacked,
)
from screen_tables import MEAN, MEAN_OWN, SCORES, SIZE, show

Line = dict[str, Any]
MEASURED, NOISE_FREE = "measured responses", "noise-free responses"
TRUTH_OF: Final = {"null": "network"}
"""Regime -> the regime whose noise-free responses say who is a hit."""
SIZES: Final[dict[bool, dict[str, Any]]] = {
    False: {"n_genes": 300, "n_compounds": 240, "n_plates": 3},
    True: {"n_genes": 150, "n_compounds": 120, "n_plates": 2},
}
REST: Final[dict[str, Any]] = {
    "n_contexts": 1, "n_unprofiled": 0, "doses": (1.0, 10.0), "times": (24.0,), "knockout_share": 1.0,
    "n_knockouts": 2, "n_pairs": 0, "n_cells": 100,
}  # fmt: skip
"""Every gene is a candidate and measured; cells are not asked about here: as few as can be."""


@dataclass(frozen=True)
class Side:
    """One kind of screen: what is trained on which store, and what stands for the mean profile.

    `models` and `baselines` are row -> name in the registry; None: as the configuration says.
    """

    store: str
    split: str
    config: str
    models: Mapping[str, str | None]
    baselines: Mapping[str, str]


SIDES: Final = {
    "genes": Side(
        "signatures", "unseen_perturbation", "multiplex_network",
        {"multiplex_network": None, "ridge_own_gene": "ridge_own_gene"},
        {MEAN: "type_mean", MEAN_OWN: "own_gene"},
    ),
    "compounds": Side(
        "wells", "unseen_compound", "latent_diffusion",
        {"latent_diffusion": None, "fingerprint_ridge": "fingerprint_ridge"},
        {MEAN: "train_mean"},
    ),
}  # fmt: skip

SIDES_OF: Final = {"network": ("genes",), "null": ("genes", "compounds")}
"""Regime -> what is screened; compounds elsewhere: networks tell of genes, structures of compounds."""


def candidates_table(side: Side, known: KnownAtlas) -> pl.DataFrame:
    """Return a row a candidate of a screen: knock-outs of all genes, or compounds at the highest dose."""
    if side.store == "signatures":
        genes = sorted(known.signatures[LOSS])
        rows: dict[str, Any] = {"pert_id": genes, "pert_type": LOSS, "pert_time": SIGNATURE_HOURS}
    else:
        names = sorted(known.compounds)
        rows = {
            "pert_id": names,
            "canonical_smiles": [known.smiles[name] for name in names],
            "pert_type": "trt_cp",
            "pert_dose": max(REST["doses"]),
            "pert_time": max(REST["times"]),
        }
    return pl.DataFrame({"cell_iname": known.cell_iname, **rows})


def libraries_of(
    side: Side, root: Path, settings: Sequence[str], table: pl.DataFrame, genes: Sequence[str], quick: bool
) -> dict[str, Floats]:
    """Train every model and baseline of a side; return row -> (C, G) predicted responses."""
    found = {}
    for row, name in {**side.models, **side.baselines}.items():
        if name is None and quick:
            continue
        model = [] if name is None else [f"model.name={name}"]
        run = root / row.replace(" ", "_")
        run_training(load_config(side.config, [*settings, *model]), run)
        predictor = Predictor.from_bundle(run / "bundle")
        place = {gene: column for column, gene in enumerate(predictor.genes)}
        columns = [place[gene] for gene in genes]
        found[row] = predictor.predict(table).mean[:, columns].astype(np.float64)
    return found


def groups_of(split: Split, fold: int, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Return group -> (C,) bool: which candidates the fold never trained on, and which it did."""
    parts = split.fold(fold)
    members = {"held_out": parts.test, "trained": parts.train}
    perturbed = {group: {name.split("|")[2] for name in part} for group, part in members.items()}
    return {group: np.array([name in known for name in names]) for group, known in perturbed.items()}


def scores_of(
    question: Question, libraries: Mapping[str, Floats], genes: Sequence[str], score: str
) -> dict[str, Floats]:
    """Return row -> (Q, C) scores of every library, and of effect sizes alone (those of the first model)."""
    found, n_candidates = {}, len(question.candidates)
    for row, library in libraries.items():
        # One profile for all candidates is asked once, so that rounding cannot tell them apart.
        asked = library[:1] if row == MEAN else library
        if question.hides_own and row != MEAN:
            asked = own_hidden(library, question.candidates, genes, np.median(library, axis=0))
        if question.removes_mean:
            asked = asked - libraries[MEAN][0]
        scores = connectivity(question, asked, score)
        found[row] = np.repeat(scores, n_candidates, axis=1) if row == MEAN else scores
    model = next(iter(libraries.values()))
    first = own_hidden(model, question.candidates, genes, np.median(model, axis=0))
    found[SIZE] = np.tile(np.sqrt(np.square(first).mean(axis=1)), (len(question.queries), 1))
    return found


def judged(
    question: Question,
    libraries: Mapping[str, Floats],
    groups: Mapping[str, np.ndarray[Any, Any]],
    genes: Sequence[str],
) -> list[Line]:
    """Return, for each group of candidates, the values of every query with hits and others among them."""
    scores = {score: scores_of(question, libraries, genes, score) for score in SCORES}
    lines = []
    for group, members in groups.items():
        is_hit = question.is_hit[:, members]
        asked = np.logical_and(is_hit.any(axis=1), ~is_hit.all(axis=1))
        found = {
            score: {row: ranked(each[asked][:, members], is_hit[asked]) for row, each in rows.items()}
            for score, rows in scores.items()
        }
        units = [unit for unit, is_asked in zip(question.unit, asked.tolist(), strict=True) if is_asked]
        facts = {"candidates": int(members.sum()), "hits": float(is_hit[asked].sum()), "unit": units}
        lines.append(
            {"question": question.name, "title": question.title, "group": group, **facts, "found": found}
        )
    return lines


def simulated(regime: str, seed: int, quick: bool, root: Path) -> KnownAtlas:
    """Simulate, write and ingest one atlas."""
    size = SIZES[quick]
    config = AtlasConfig.model_validate(
        {"regime": regime, "seed": seed, **size, **REST, "n_signature_genes": size["n_genes"]}
    )
    atlas = simulate_atlas(config)
    files = write_atlas(atlas, root / "atlas")
    ingest([files.signatures], root / "signatures")
    ingest([files.wells], root / "wells")
    other = TRUTH_OF.get(regime)
    truth = atlas if other is None else simulate_atlas(config.model_copy(update={"regime": other}))
    return known_atlas(atlas, truth)


def folds_of(side: Side, seed: int, folds: int, quick: bool, root: Path, known: KnownAtlas) -> Iterator[Line]:
    """Train every fold of one kind of screen, and yield what each question and group came to."""
    store = root / side.store
    split = make_split(ExpressionStore.open(store), side.split, n_folds=folds, seed=seed)
    split.save(root / f"{side.store}.json")
    settings = [f"data.store={store}", f"data.split={root / side.store}.json", f"train.seed={seed}"]
    if side.store == "signatures":
        networks = sorted(str(path) for path in (root / "atlas" / "networks").glob("*.tsv"))
        settings.append(f"encoder.gene_network=[{','.join(networks)}]")
        measured, true = known.signatures[LOSS], known.true_signatures[LOSS]
        questions = gene_questions(known)
    else:
        measured, true = known.compounds, known.true_compounds
        questions = compound_questions(known)
    table = candidates_table(side, known)
    names = table["pert_id"].to_list()
    for fold in range(folds):
        where, now = root / f"{side.store}{fold}", [*settings, f"data.fold={fold}"]
        found = libraries_of(side, where, now, table, known.genes, quick)
        found |= {MEASURED: stacked(measured, names), NOISE_FREE: stacked(true, names)}
        groups = groups_of(split, fold, names)
        for question in questions:
            yield from ({"fold": fold, **line} for line in judged(question, found, groups, known.genes))


def lines_of(regime: str, seed: int, folds: int, quick: bool) -> list[Line]:
    """Return all lines of one atlas."""
    with tempfile.TemporaryDirectory(prefix="pertcast-screens-") as name:
        root = Path(name)
        known = simulated(regime, seed, quick, root)
        sides = [SIDES[side] for side in SIDES_OF.get(regime, ("compounds",))]
        found = [line for side in sides for line in folds_of(side, seed, folds, quick, root, known)]
    return [{"regime": regime, "seed": seed, **line} for line in found]


def main() -> None:
    """Screen every regime and seed that --out does not hold yet, then print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regimes", default="network,saturating,linear,null")
    parser.add_argument("--seeds", default="100-104")
    parser.add_argument("--folds", type=int, default=2, help="each gene and compound is held out in one")
    parser.add_argument("--quick", action="store_true", help="a small atlas, ridge models only")
    parser.add_argument("--out", type=Path, default=Path("atlas_screens.json"))
    asked = parser.parse_args()
    prepare_environment()
    logging.disable(logging.INFO)
    identity = {"generator_hash": generator_hash(), "folds": asked.folds, "quick": asked.quick}
    known = read_lines(asked.out, identity)
    done = {(line["regime"], line["seed"]) for line in known["lines"]}
    regimes, seeds = asked.regimes.split(","), seeds_of(asked.seeds)
    for seed in seeds:
        for regime in regimes:
            if (regime, seed) not in done:
                known["lines"] += lines_of(regime, seed, asked.folds, asked.quick)
                keep_lines(asked.out, known)
    for regime in regimes:
        show([line for line in known["lines"] if line["regime"] == regime and line["seed"] in seeds], regime)


if __name__ == "__main__":
    main()
