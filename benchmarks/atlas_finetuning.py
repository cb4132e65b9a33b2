"""Whether fine-tuning a bundle on a tenth of a new cell line beats training on that tenth alone.

An atlas of four cell lines: a bundle is trained on three, with three quarters of the compounds. The fourth
line is a small screen in its own store: a tenth of the compounds (all doses and times) to train on, two
more to choose weights by, the rest to test. Compared on the same conditions: the fine-tuned bundle, the
same model trained from scratch on the tenth (for its usual epochs, and for 300), the bundle as it is, every
baseline fitted on the tenth, and what the same compound did in the other lines on average.

    python benchmarks/atlas_finetuning.py response_mlp latent_diffusion --seeds 100-109 --out tuned.json

About half a minute a seed and model on one core. Choices were made on seeds 0-9; finished lines are kept.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anndata
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from paired import Gain, figures, interval, keep_lines, read_lines, seeds_of
from pertcast.encoding import ConditionEncoder, make_training_data
from pertcast.evaluation.rowwise import pearson
from pertcast.models.contract import ResponseModel
from pertcast.models.registry import baselines_for
from pertcast.training.bundle import build_model, load_bundle_files
from pertcast.training.config import TrainConfig
from pertcast.training.fit import fit
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.loading import pair_controls
from pertcast_data.simulate import AtlasConfig, generator_hash, simulate_atlas, write_atlas
from pertcast_data.splits import Fold, Split, make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.train import run_training
from pertcast_jobs.train.prepare import build_seeded_model, prepare

Floats = NDArray[np.float32]
TUNED, SCRATCH, LONGER, AS_IT_IS, OTHERS = (
    "fine-tuned",
    "from scratch",
    "from scratch, longer",
    "bundle as it is",
    "same compound, other lines",
)
LONG: Final = ("train.epochs=300", "train.patience=50")
METRICS: Final = {
    "pearson_delta": "Pearson of the response",
    "pearson_delta_pert": "Pearson of the response without the mean of the tenth",
    "mse": "mean squared error (log2 units)",
}
SIGN: Final = {"pearson_delta": 1.0, "pearson_delta_pert": 1.0, "mse": -1.0}
STRATA: Final = {"all": "all conditions", "known": "compounds the bundle knows", "new": "compounds new to it"}


class Screens:
    """The three lines, and the fourth as a screen of its own, of one atlas.

    Parameters
    ----------
    root
        Folder to make them in.
    seed
        Of the atlas, of who is held out and of training.
    regime, share
        Of the atlas; which share of the compounds the small screen trains on.
    """

    def __init__(self, root: Path, seed: int, regime: str, share: float) -> None:
        atlas = simulate_atlas(AtlasConfig(regime=regime, seed=seed, n_contexts=4))  # type: ignore[arg-type]
        wells = anndata.read_h5ad(write_atlas(atlas, root / "atlas").wells)
        line = wells.obs["cell_iname"] == sorted(wells.obs["cell_iname"].unique())[-1]
        self.large = self._store(wells[~line], root / "large")
        self.small = self._store(wells[line], root / "small")
        self.compounds = np.array(sorted(set(_treated(self.small)["pert_id"].to_list())))
        order = np.random.default_rng(seed).permutation(self.compounds)
        count = max(1, round(share * len(order)))
        trained, chosen_by, tested = np.split(order, [count, count + 2])
        self.new = set(tested[: len(order) // 4].tolist())
        self.split = root / "small.json"
        _dealt(self.small, trained, chosen_by, tested, seed).save(self.split)
        self.large_split = root / "large.json"
        known = np.array([name for name in order if name not in self.new])
        some = np.random.default_rng(seed + 1).permutation(known)[:5]
        _dealt(self.large, np.setdiff1d(known, some), some, np.array(sorted(self.new)), seed).save(
            self.large_split
        )

    @staticmethod
    def _store(wells: anndata.AnnData, path: Path) -> ExpressionStore:
        file = path.with_suffix(".h5ad")
        wells.copy().write_h5ad(file)
        ingest([file], path)
        return ExpressionStore.open(path)


def _treated(store: ExpressionStore) -> pl.DataFrame:
    return store.conditions.filter(~pl.col("is_control"))


def _dealt(
    store: ExpressionStore, train: NDArray[Any], validation: NDArray[Any], test: NDArray[Any], seed: int
) -> Split:
    """Return a split by compounds."""
    treated = _treated(store)

    def ids(names: NDArray[Any]) -> tuple[str, ...]:
        return tuple(treated.filter(pl.col("pert_id").is_in(names.tolist()))["condition_id"].to_list())

    split = make_split(store, "unseen_compound", seed=seed)
    fold = Fold(train=ids(train), validation=ids(validation), test=ids(test))
    return split.model_copy(update={"folds": (fold,)})


class Tested:
    """Conditions of a store with their measured responses and basal profiles.

    Parameters
    ----------
    store, ids
        The store and the conditions.
    """

    def __init__(self, store: ExpressionStore, ids: Sequence[str]) -> None:
        self.table = store.conditions.filter(pl.col("condition_id").is_in(list(ids)))
        reader, pairing = store.reader(), pair_controls(store)
        means = pairing.means(reader)
        profiles = reader.dense(np.arange(store.n_rows))
        index = self.table["condition_index"].to_numpy()
        rows = [np.flatnonzero(store.condition_of_row == number) for number in index]
        basal = [means[pairing.group_of_row[of]].mean(axis=0) for of in rows]
        self.basal: Floats = np.stack(basal)
        self.truth: Floats = np.stack([profiles[of].mean(axis=0) for of in rows]) - self.basal

    def predicted(self, model: ResponseModel, encoder: ConditionEncoder) -> Floats:
        """Return the (N, G) responses that a model predicts."""
        conditions = encoder.encode(self.table)
        found: Floats = model.eval().predict(conditions, torch.from_numpy(self.basal)).mean.numpy()
        return found


def elsewhere(large: Tested, asked: pl.DataFrame, fallback: Floats) -> Floats:
    """Return the mean response of the same compound, dose and time in the large screen, else `fallback`."""
    keys = ("pert_id", "pert_dose", "pert_time")
    places: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(large.table.select(keys).iter_rows()):
        places.setdefault(key, []).append(row)
    found = [places.get(key) for key in asked.select(keys).iter_rows()]
    return np.stack([fallback if rows is None else large.truth[rows].mean(axis=0) for rows in found])


def baselines(screens: Screens, small: Tested, config: RunConfig) -> dict[str, Floats]:
    """Return the predictions of every baseline fitted on the tenth."""
    split = Split.load(screens.split)
    encoder = prepare(config).encoder
    data = make_training_data(screens.small, split, 0, encoder, batch_size=256)
    found = {}
    for entry in baselines_for(encoder.space):
        model = entry.build({}, encoder.space, encoder.training_conditions)
        fit(model, data, TrainConfig(batch_size=256))
        found[entry.name] = small.predicted(model, encoder)
    return found


def run(name: str, screens: Screens, root: Path, seed: int, settings: Sequence[str]) -> dict[str, Floats]:
    """Train a bundle, fine-tune it and train from scratch; return what each predicts of the test."""
    large = [f"data.store={screens.large.path}", f"data.split={screens.large_split}", f"train.seed={seed}"]
    small = [f"data.store={screens.small.path}", f"data.split={screens.split}", f"train.seed={seed}"]
    small.append("train.batch_size=32")
    base = root / f"{name}-base"
    run_training(load_config(name, large), base)
    start = f"init_from={base / 'bundle'}"
    tuned = load_config(name, [*small, start, *settings])
    tested = Tested(screens.small, Split.load(screens.split).folds[0].test)
    fresh = prepare(tuned).encoder
    found = {AS_IT_IS: tested.predicted(build_seeded_model(tuned.with_absolute_paths(), fresh), fresh)}
    configs = {TUNED: tuned, SCRATCH: load_config(name, small), LONGER: load_config(name, [*small, *LONG])}
    for title, config in configs.items():
        files = load_bundle_files(run_training(config, root / f"{name}-{title}").bundle)
        found[title] = tested.predicted(build_model(files), ConditionEncoder.from_state(*files.encoder_state))
    return found


def scores_of(predicted: Floats, tested: Tested, mean: Floats) -> dict[str, list[float]]:
    """Return each metric by condition."""
    deviation = pearson(predicted - mean, tested.truth - mean)
    return {
        "pearson_delta": np.nan_to_num(pearson(predicted, tested.truth)).tolist(),
        "pearson_delta_pert": np.nan_to_num(deviation).tolist(),
        "mse": np.square(predicted - tested.truth).mean(axis=1).tolist(),
    }


def line_of(name: str, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the scores of one model on one atlas."""
    with tempfile.TemporaryDirectory(prefix="pertcast-finetuning-") as folder:
        root = Path(folder)
        screens = Screens(root, seed, asked.regime, asked.share)
        split = Split.load(screens.split).folds[0]
        tested = Tested(screens.small, split.test)
        mean = Tested(screens.small, split.train).truth.mean(axis=0)
        known = Split.load(screens.large_split).folds[0]
        large = Tested(screens.large, (*known.train, *known.validation))
        plain = load_config(name, [f"data.store={screens.small.path}", f"data.split={screens.split}"])
        predictions = run(name, screens, root, seed, asked.set) | baselines(screens, tested, plain)
        predictions[OTHERS] = elsewhere(large, tested.table, mean)
        compounds = tested.table["pert_id"].to_list()
        return {
            "model": name,
            "seed": seed,
            "compound": compounds,
            "is_new": [compound in screens.new for compound in compounds],
            "scores": {who: scores_of(found, tested, mean) for who, found in predictions.items()},
        }


def gain(lines: Sequence[Mapping[str, Any]], metric: str, names: tuple[str, str | None], part: str) -> Gain:
    """Return the mean of a contender, or by how much it is better than another, over one part of the test."""
    by_seed = []
    for line in lines:
        values = np.array(line["scores"][names[0]][metric])
        if names[1] is not None:
            values = SIGN[metric] * (values - np.array(line["scores"][names[1]][metric]))
        is_new = np.array(line["is_new"])
        keep = np.ones_like(is_new) if part == "all" else is_new == (part == "new")
        groups, of = np.unique(np.array(line["compound"])[keep], return_inverse=True)
        sums = np.bincount(of, values[keep], len(groups))
        by_seed.append((sums, np.bincount(of, minlength=len(groups)).astype(np.float64)))
    return interval(by_seed)


def show(name: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Print one model's table: means, and how much better the fine-tuned bundle is than each other."""
    print(f"\n{name}: {len(lines)} atlases, {sum(len(line['compound']) for line in lines)} conditions")
    for metric, title in METRICS.items():
        print(f"  {title}: mean; how much better the fine-tuned bundle is [95 % interval]")
        for who in lines[0]["scores"]:
            cells = []
            for part, words in STRATA.items():
                own = gain(lines, metric, (who, None), part).mean
                better = "" if who == TUNED else figures(gain(lines, metric, (TUNED, who), part))
                cells.append(f"{words}: {own:.3f} {better:<25}")
            print(f"    {who:<28}{'  '.join(cells)}", flush=True)


def main() -> None:
    """Run what is missing, keep it, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--seeds", default="0-1")
    parser.add_argument("--regime", default="saturating")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--set", nargs="*", default=[], help="settings of the fine-tuning alone, a.b=c")
    parser.add_argument("--out", type=Path, default=Path("atlas_finetuning.json"))
    asked = parser.parse_args()
    prepare_environment()
    identity = {
        "generator": generator_hash(), "regime": asked.regime, "share": asked.share, "set": asked.set,
    }  # fmt: skip
    known = read_lines(asked.out, identity)
    for name in asked.models:
        for seed in seeds_of(asked.seeds):
            if not any((line["model"], line["seed"]) == (name, seed) for line in known["lines"]):
                known["lines"].append(line_of(name, seed, asked))
                keep_lines(asked.out, known)
        chosen = set(seeds_of(asked.seeds))
        show(name, [each for each in known["lines"] if each["model"] == name and each["seed"] in chosen])


if __name__ == "__main__":
    main()
