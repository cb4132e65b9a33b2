"""Fine-tuning as a job: a run that starts from a bundle, what it refuses, and how it goes on without it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata
import polars as pl
import pytest
import torch
from pertcast.predictor import Predictor
from pertcast.training.bundle import load_bundle_files
from pertcast_data.errors import ConfigError, LeakageError
from pertcast_data.ingest import ingest
from pertcast_data.splits import Fold, make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.evaluate import evaluate_run
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import plan_training, run_training
from pertcast_jobs.train.many import train_many

QUICK = ["train.batch_size=16", "train.epochs=3", "train.checkpoint_every_steps=2", "train.log_every_steps=1"]
SMALL = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8"]


class Killed(RuntimeError):
    """Stands for a process that died."""


def die_at(step: int) -> Any:
    def progress(done: int, total: int, note: str = "") -> None:
        if done >= step:
            raise Killed

    return progress


def store_of(wells: anndata.AnnData, line: str, folder: Path) -> ExpressionStore:
    """The wells of one line as a store of their own."""
    file = folder / f"{line}.h5ad"
    wells[wells.obs["cell_iname"] == line].copy().write_h5ad(file)
    ingest([file], folder / line)
    return ExpressionStore.open(folder / line)


def split_of(store: ExpressionStore, path: Path, train: slice, validation: slice) -> list[str]:
    """Deal a store's compounds to training, validation and (the rest) test; return the settings of a run."""
    treated = store.conditions.filter(~pl.col("is_control"))
    compounds = sorted(set(treated["pert_id"].to_list()))
    parts = {"train": compounds[train], "validation": compounds[validation]}
    parts["test"] = sorted(set(compounds) - {name for part in parts.values() for name in part})
    ids = {
        part: tuple(treated.filter(pl.col("pert_id").is_in(names))["condition_id"].to_list())
        for part, names in parts.items()
    }
    split = make_split(store, "unseen_compound")
    split.model_copy(update={"folds": (Fold(**ids),)}).save(path)
    return [f"data.store={store.path}", f"data.split={path}", *QUICK]


@pytest.fixture(scope="module")
def screens(small_screen: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A bundle trained on ten compounds in one line, and a small screen of another line."""
    root = tmp_path_factory.mktemp("start")
    wells = anndata.read_h5ad(small_screen.store.parent / "atlas" / "wells.h5ad")
    first, second = (store_of(wells, line, root) for line in ("SIMLINE01", "SIMLINE02"))
    run = root / "base"
    data = split_of(first, root / "base.json", slice(10), slice(10, 12))
    run_training(load_config("response_mlp", [*data, *SMALL]), run)
    return SimpleNamespace(
        base=run,
        own=split_of(second, root / "own.json", slice(2, 8), slice(2)),
        leaky=split_of(first, root / "leaky.json", slice(2, 8), slice(2)),
        root=root,
    )


def tuned_config(screens: SimpleNamespace, *more: str, base: Path | None = None) -> RunConfig:
    return load_config("response_mlp", [*screens.own, f"init_from={base or screens.base}", *more])


@pytest.fixture(scope="module")
def tuned(screens: SimpleNamespace) -> RunFolder:
    out = screens.root / "tuned"
    run_training(tuned_config(screens), out)
    return RunFolder.open(out)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_bundle_files(run / "bundle").weights


def test_a_run_starts_where_the_bundle_stood_and_says_what_it_took_over(
    screens: SimpleNamespace, tuned: RunFolder
) -> None:
    start = tuned.manifest().start
    assert start is not None and start.content_hash == load_bundle_files(screens.base / "bundle").content_hash
    assert (start.n_genes_known, start.n_genes, start.n_genes_lost) == (60, 60, 0)
    assert (start.contexts_known, start.contexts_new) == ((), ("SIMLINE02",))
    assert (start.n_perturbations_known, start.n_perturbations_new) == (6, 0)
    assert start.n_test_perturbations_seen == 2 and not start.afresh
    before, after = weights_of(screens.base), weights_of(tuned.path)
    for name in ("network.mean.weight", "network.encoding.features.weight"):
        moved = (after[name] - before[name]).norm() / before[name].norm()
        assert 0 < float(moved) < 0.2, name
    assert torch.equal(after["scaling.target_mean"], before["scaling.target_mean"])
    assert load_bundle_files(tuned.bundle_path).facts.training["start"]["trained_conditions"]


def test_a_tuned_bundle_predicts_the_compounds_of_both_and_is_evaluated(tuned: RunFolder) -> None:
    predictor = Predictor.from_bundle(tuned.bundle_path)
    assert len(predictor.encoder.space.perturbations) == 10
    assert predictor.encoder.space.contexts == ("SIMLINE02",)
    trust = evaluate_run(tuned.path, n_draws=20).trust
    assert "pearson_delta" in trust.summary["response_mlp"]
    assert any("started from the bundle" in remark for remark in trust.facts.remarks)


def test_the_model_is_the_bundles_and_only_what_leaves_its_shape_may_differ(screens: SimpleNamespace) -> None:
    config = tuned_config(screens, "model.config.dropout=0.3")
    assert (config.model.config["width"], config.model.config["dropout"]) == (16, 0.3)
    assert plan_training(config)["start"]["n_taken"] > 10
    with pytest.raises(ConfigError, match=r"other shapes.*model.config.width=32 \(bundle: 16\)"):
        plan_training(tuned_config(screens, "model.config.width=32"))


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("bilinear_ridge", [], "cannot start from a trained bundle: it is solved"),
        ("multiplex_network", [], "cannot start from a trained bundle: it is solved"),
        ("latent_diffusion", [], "is a response_mlp, and the run trains latent_diffusion"),
        ("response_mlp", ["encoder.fingerprint_bits=64"], "encoder.fingerprint_bits: a run that starts"),
        ("response_mlp", ["train.frozen_stages=[respons]"], "'respons' is no stage.*Did you mean: response"),
    ],
)
def test_what_cannot_start_from_a_bundle_is_refused_with_the_remedy(
    screens: SimpleNamespace, tmp_path: Path, name: str, more: list[str], words: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"model: {{name: {name}}}\n")
    config = load_config(path, [*screens.own, f"init_from={screens.base}", *more])
    with pytest.raises(ConfigError, match=words):
        run_training(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_conditions_that_the_bundle_was_trained_on_are_no_test(
    screens: SimpleNamespace, tmp_path: Path
) -> None:
    config = load_config("response_mlp", [*screens.leaky, f"init_from={screens.base}"])
    with pytest.raises(
        LeakageError, match=r"was trained on 4 of the \d+ conditions that the split holds out"
    ):
        run_training(config, tmp_path / "run")


def test_what_the_bundle_of_a_bundle_has_seen_is_no_test_either(
    screens: SimpleNamespace, tuned: RunFolder, tmp_path: Path
) -> None:
    config = load_config("response_mlp", [*screens.leaky, f"init_from={tuned.path}"])
    with pytest.raises(LeakageError, match="was trained on"):
        run_training(config, tmp_path / "run")


def test_a_killed_run_goes_on_without_the_bundle_and_ends_in_the_same_weights(
    screens: SimpleNamespace, tuned: RunFolder, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(screens.base, base)
    config = tuned_config(screens, base=base)
    with pytest.raises(Killed):
        run_training(config, tmp_path / "run", progress=die_at(4))
    shutil.rmtree(base)
    run_training(load_config(tmp_path / "run" / "config.yaml"), tmp_path / "run", resume=True)
    first, second = weights_of(tuned.path), weights_of(tmp_path / "run")
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_cannot_go_on_from_another_bundle(
    screens: SimpleNamespace, tuned: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run_training(tuned_config(screens), tmp_path / "run", progress=die_at(4))
    with pytest.raises(ConfigError, match="cannot be resumed, it is another training: it started from"):
        run_training(tuned_config(screens, base=tuned.path), tmp_path / "run", resume=True)


def test_the_command_says_what_it_starts_from(
    screens: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "response_mlp", *screens.own, "--init-from", str(screens.base)]
    assert pertcast([*words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "started from" in told and "60 of 60 genes known to it" in told and "new: SIMLINE02" in told
    assert pertcast([*words, "--out", str(tmp_path / "run"), "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["start"]["n_perturbations_known"] == 6


def test_each_of_many_trainings_starts_from_the_bundle(screens: SimpleNamespace, tmp_path: Path) -> None:
    outcome = train_many(tuned_config(screens), tmp_path / "many", [0], [0, 1])
    assert not outcome.failed
    assert all(each.start is not None for each in outcome.trained.values())
