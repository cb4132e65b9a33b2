"""Does a model get the biology right where the truth is known: pathways, growth with dose and time, EC50.

On the `saturating` atlas with held-out compounds, against what was measured and against the noise-free truth:
NES of the strongest third of conditions, Spearman of effect size with dose and time in strong curves, and how
often what is said of a strong curve's EC50 holds within twofold. Many strong curves have their half below the
lowest dose, so that who says nothing of dose is often right: hence the curves with the half inside the doses.

    python benchmarks/atlas_biology.py response_mlp --seeds 0-2 --out biology.json train.epochs=60

Seeds 0-9 are for tuning. Two to three minutes a seed on one core, most of it gseapy's permutations. Finished
seeds are kept in --out and not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pertcast.analysis.association import pearson
from pertcast.analysis.compared import CONDITION_COLUMNS, ComparedResponses
from pertcast.analysis.dose_response import MEASURED, DoseResponse, dose_response
from pertcast.analysis.dose_response.curves import main_direction
from pertcast.analysis.dose_response.result import FittedCurve, dense_title
from pertcast.analysis.pathways import PathwayAgreement, pathway_agreement
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.simulate import (
    Atlas,
    AtlasConfig,
    generator_hash,
    get_regime,
    gives_same_data,
    simulate_atlas,
    write_atlas,
)
from pertcast_data.simulate.regimes import CompoundConditions
from pertcast_data.simulate.responses import compound_changes
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.evaluate import Evaluation, evaluate_run
from pertcast_jobs.evaluate.dose_curves import generated_dose_curves
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

ORACLE = "Noise-free truth"
TRUE_DOSES = np.geomspace(1e-3, 1e3, 121)
"""uM; the truth is known far beyond the doses that were measured."""

BARS = (
    ("nes_strong", "NES Pearson, model vs measured, strong", 0.9),
    ("nes_strong_true", "NES Pearson, model vs noise-free truth, strong", 0.9),
    ("nes_strong_baseline", "NES Pearson, best baseline vs measured", None),
    ("nes_strong_oracle", "NES Pearson, noise-free truth vs measured", None),
    ("dose", "Spearman of effect with dose, model, strong", 0.9),
    ("dose_measured", "Spearman of effect with dose, measured, strong", None),
    ("time", "Spearman of effect with time, model, strong", None),
    ("time_measured", "Spearman of effect with time, measured, strong", None),
    ("ec50_dense", "EC50 within 2x of truth, model on a dense grid", 0.8),
    ("ec50_generated", "EC50 within 2x of truth, model at the tested doses", 0.8),
    ("ec50_baseline", "EC50 within 2x of truth, best baseline", None),
    ("ec50_noise_free", "EC50 within 2x of truth, noise-free, tested doses", None),
    ("ec50_measured", "EC50 within 2x of truth, measured", None),
    ("ec50_dense_inside", "  truth inside the doses: model on a dense grid", None),
    ("ec50_generated_inside", "  truth inside the doses: model at the tested doses", None),
    ("ec50_baseline_inside", "  truth inside the doses: best baseline", None),
    ("ec50_measured_inside", "  truth inside the doses: measured", None),
)


@dataclass(frozen=True)
class Trained:
    """One seed: the atlas, a finished run on it, and its held-out conditions."""

    atlas: Atlas
    run: Path
    gene_sets: Path
    compared: ComparedResponses


def train(config_name: str, seed: int, overrides: Sequence[str], root: Path) -> Trained:
    """Simulate, ingest, hold compounds out, train and evaluate."""
    atlas = simulate_atlas(AtlasConfig(regime="saturating", seed=seed))
    files = write_atlas(atlas, root / "atlas")
    ingest([files.wells], root / "store")
    make_split(ExpressionStore.open(root / "store"), "unseen_compound", seed=seed).save(root / "split.json")
    data = [f"data.store={root / 'store'}", f"data.split={root / 'split.json'}", f"train.seed={seed}"]
    run_training(load_config(config_name, [*data, *overrides]), root / "run")
    evaluation = evaluate_run(root / "run", n_draws=200)
    return Trained(atlas, root / "run", files.gene_sets, compare(atlas, evaluation))


def compare(atlas: Atlas, evaluation: Evaluation) -> ComparedResponses:
    """Return the model, the strongest baseline and the truth on the held-out conditions."""
    evidence, trust = evaluation.evidence, evaluation.trust
    assert evidence is not None
    titles = {contender.name: contender.title for contender in trust.order}
    model, *baselines = list(evidence.predictions)
    known = dict(zip(atlas.wells_truth.condition_ids, atlas.wells_truth.response, strict=True))
    column = {gene: place for place, gene in enumerate(atlas.world.network.gene_symbols)}
    genes = [column[gene] for gene in evidence.held.genes]
    truth = np.stack([known[name][genes] for name in evidence.held.conditions["condition_id"]])
    said = {titles.get(name, name): evidence.predictions[name] for name in (model, *baselines[:1])}
    return ComparedResponses(
        conditions=evidence.held.conditions.select(CONDITION_COLUMNS),
        genes=evidence.held.genes,
        measured=evidence.held.truth,
        generated={**said, ORACLE: truth},
        control=evidence.held.control,
    )


def true_ec50(atlas: Atlas, key: Sequence[Any], genes: Sequence[str]) -> float:
    """Return the dose (uM) at which the noise-free response is half of what it is at 1,000 uM.

    Along the noise-free response's own main direction over the atlas' doses.
    """
    world, config = atlas.world, atlas.config
    line, _, compound, hours = key
    place = world.contexts.names.index(line), world.library.pert_ids.index(compound)
    column = {gene: number for number, gene in enumerate(world.network.gene_symbols)}

    def response(doses: NDArray[np.float64]) -> NDArray[np.float32]:
        context, number = (np.full(len(doses), each) for each in place)
        asked = CompoundConditions(context, number, doses, np.full(len(doses), float(hours)))
        changes = compound_changes(config, world, get_regime(config.regime), asked)
        return changes[:, [column[gene] for gene in genes]]

    along = response(TRUE_DOSES) @ main_direction(response(np.asarray(config.doses)))
    above = int(np.argmax(along >= along[-1] / 2))
    if above == 0:
        return float(TRUE_DOSES[0])
    share = (along[-1] / 2 - along[above - 1]) / (along[above] - along[above - 1])
    return float(TRUE_DOSES[above - 1] * (TRUE_DOSES[above] / TRUE_DOSES[above - 1]) ** share)


def ec50_shares(found: Trained) -> tuple[dict[str, float], DoseResponse]:
    """Return how often what is said of the EC50 of strong curves holds within twofold of the truth."""
    compared = found.compared
    model, *others = list(compared.generated)
    dense = generated_dose_curves(found.run, compared, most_curves=10_000)
    response = dose_response(compared, dense=dense, n_draws=200)
    strong = [each for each in response.curves if each.curve.is_strong]
    truth = {each.curve.key: true_ec50(found.atlas, each.curve.key, compared.genes) for each in strong}

    inside = [each for each in strong if 0.1 <= truth[each.curve.key] <= 10]

    def share(title: str, curves: Sequence[FittedCurve]) -> float:
        return float(np.mean([each.fits[title].agrees_with(truth[each.curve.key]) for each in curves]))

    titles = {
        "dense": dense_title(model),
        "generated": model,
        "noise_free": ORACLE,
        "measured": MEASURED,
        "baseline": others[0],
    }
    shares = {
        **{f"ec50_{name}": share(title, strong) for name, title in titles.items()},
        **{f"ec50_{name}_inside": share(title, inside) for name, title in titles.items()},
        "curves": len(strong),
        "inside": len(inside),
    }
    return shares, response


def nes_figures(found: Trained) -> dict[str, float]:
    """Return how NES of the strongest third of conditions correlate."""
    third = math.ceil(found.compared.conditions.height / 3)
    agreement: PathwayAgreement = pathway_agreement(
        found.compared, found.gene_sets, most_conditions=third, n_draws=200
    )
    model, baseline, oracle = agreement.contenders
    scores = agreement.generated
    strong = agreement.conditions["is_strong"].to_numpy()
    truth = scores[ORACLE].counted_nes[strong].ravel()
    return {
        "nes_strong": model.strong.value,
        "nes_strong_baseline": baseline.strong.value,
        "nes_strong_oracle": oracle.strong.value,
        "nes_strong_true": pearson(scores[model.title].counted_nes[strong].ravel(), truth),
        "nes_by_set": model.pathway_mean,
        "nes_by_set_oracle": oracle.pathway_mean,
        "recovered": model.recovered,
        "right_sign": model.right_sign,
    }


def judge(config_name: str, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Return every figure of one seed."""
    with tempfile.TemporaryDirectory(prefix="pertcast-biology-") as folder:
        found = train(config_name, seed, overrides, Path(folder))
        shares, response = ec50_shares(found)
        model = response.drift_of(response.model)
        measured = response.drift_of(MEASURED)
        return {
            "config": config_name,
            "seed": seed,
            "overrides": list(overrides),
            "model": response.model,
            "baseline": list(found.compared.generated)[1],
            **nes_figures(found),
            "dose": model.dose_strong.value,
            "dose_measured": measured.dose_strong.value,
            "time": model.time_strong.value,
            "time_measured": measured.time_strong.value,
            **shares,
        }


def seeds_of(text: str) -> list[int]:
    """Read "0-3,7" as 0, 1, 2, 3, 7."""
    parts = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return [seed for part in parts for seed in range(part[0], part[-1] + 1)]


def show(line: dict[str, Any]) -> None:
    """Print one seed as a line."""
    nes = f"{line['nes_strong']:.3f} (truth {line['nes_strong_oracle']:.3f}, {line['baseline']} "
    nes += f"{line['nes_strong_baseline']:.3f})"
    ec50 = f"{line['ec50_generated']:.0%} (dense grid {line['ec50_dense']:.0%}, measured "
    ec50 += f"{line['ec50_measured']:.0%}) of {line['curves']}, {line['inside']} inside the doses"
    drift = f"dose {line['dose']:.2f}  time {line['time']:.2f}"
    print(f"seed {line['seed']:<4} {line['model']}: NES {nes}  {drift}  EC50 {ec50}", flush=True)


def summary(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return the mean over seeds, with the spread between them, beside the bars."""
    rows = [f"\n{'mean over ' + str(len(lines)) + ' seeds':<52}  mean   sd    bar"]
    for name, title, bar in BARS:
        values = np.array([line[name] for line in lines], dtype=np.float64)
        spread = f"{np.std(values, ddof=1):.3f}" if len(values) > 1 else "–"
        met = "" if bar is None else f"  {bar:.2f}  {'met' if values.mean() >= bar else 'not met'}"
        rows.append(f"{title:<52} {values.mean():.3f}  {spread}{met}")
    return rows


def main() -> None:
    """Judge every seed that --out does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", default="response_mlp")
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--out", type=Path, default=Path("atlas_biology.json"))
    parser.add_argument("overrides", nargs="*", help="a.b=c for the training")
    asked = parser.parse_args()
    prepare_environment()
    # The noise-free truth has genes that never move: gseapy notes their ties for every profile.
    logging.disable(logging.WARNING)
    known = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    if not gives_same_data(known.get("generator_hash")):
        known = {"generator_hash": generator_hash(), "lines": []}
    done = {(line["config"], tuple(line["overrides"]), line["seed"]): line for line in known["lines"]}
    chosen = []
    for seed in seeds_of(asked.seeds):
        key = (asked.config, tuple(asked.overrides), seed)
        if key not in done:
            done[key] = judge(asked.config, seed, asked.overrides)
            known["lines"] = list(done.values())
            asked.out.write_text(json.dumps(known, indent=1) + "\n")
        show(done[key])
        chosen.append(done[key])
    print("\n".join(summary(chosen)))


if __name__ == "__main__":
    main()
