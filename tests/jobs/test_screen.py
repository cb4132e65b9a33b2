"""Screens in this process: what they leave, how they resume, what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import polars as pl
import pytest
from pertcast.analysis.enrichment import enrichment_scores, prerank
from pertcast.analysis.gene_sets import read_gmt
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast.training.files import sync_file
from pertcast_data.errors import ConfigError, CorruptStore, PertcastError, SchemaError
from pertcast_data.ingest import ingest
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.run_config import load_config
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.prepare import ScreenRequest, prepare_screen
from pertcast_jobs.screen.run import ScreenOutcome, run_screen
from pertcast_jobs.screen.workspace import Workspace
from pertcast_jobs.train import run_training

QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8", "train.epochs=8"]
TABLES = {"sig_info.parquet", "hits.parquet", "hits.csv", "neighbors.parquet", "report.html", "manifest.json"}
TABLES |= {"enrichment.parquet", "gene_sets.gmt", "selectivity.parquet", "dose_response.parquet"}
TABLES |= {"profiles.zarr", "ranks.zarr"}


@pytest.fixture(scope="module")
def compound_run(small_screen: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("screen_runs") / "compounds"
    run_training(load_config("response_mlp", [*small_screen.overrides, *QUICK]), out)
    return out


@pytest.fixture(scope="module")
def gene_run(small_screen: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("screen_runs_genes")
    ingest([small_screen.store.parent / "atlas" / "cells.h5ad"], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "random").save(folder / "split.json")
    overrides = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}"]
    run_training(load_config("response_mlp", [*overrides, *QUICK]), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def request_(small_screen: Any, compound_run: Path) -> ScreenRequest:
    atlas = small_screen.store.parent / "atlas"
    return ScreenRequest(
        kind="compounds",
        model=compound_run,
        library=atlas / "library.csv",
        gmt=atlas / "gene_sets.gmt",
        doses=(0.3, 1.0, 3.0, 10.0),
        settings=ScreenSettings(kind="compounds", shard_rows=64, permutations=20, n_reported=5),
    )


@pytest.fixture(scope="module")
def undisturbed(request_: ScreenRequest, tmp_path_factory: pytest.TempPathFactory) -> ScreenOutcome:
    return run_screen(request_, tmp_path_factory.mktemp("screens") / "whole", "in-process")


def contents(folder: Path) -> Mapping[str, str]:
    """The SHA-256 of every file; of the manifest without the code's revision, which others may move on."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path == folder / "manifest.json":
                manifest = json.loads(content)
                content = json.dumps({**manifest, "git_revision": None}).encode()
            found[path.relative_to(folder).as_posix()] = sha256(content).hexdigest()
    return found


class Killed(RuntimeError):
    """Stands for a process that died."""


def die_after(profiles: int) -> Callable[..., None]:
    def progress(done: int, total: int, note: str = "") -> None:
        if done >= profiles:
            raise Killed

    return progress


def list_of(folder: Path, *names: str, column: str = "pert_id") -> Path:
    path = folder / "list.csv"
    path.write_text("\n".join((column, *names)) + "\n", encoding="utf-8")
    return path


def test_a_screen_leaves_every_promised_file_and_its_manifest_knows_their_hashes(
    undisturbed: ScreenOutcome, request_: ScreenRequest
) -> None:
    out = undisturbed.out
    assert request_.gmt is not None
    n_sets = len(read_gmt(request_.gmt))
    assert {path.name for path in out.iterdir()} == TABLES
    manifest = json.loads((out / "manifest.json").read_text())
    on_disk = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} - {
        "manifest.json"
    }
    assert manifest["files"].keys() == on_disk
    for name, record in manifest["files"].items():
        assert record == {
            "bytes": (out / name).stat().st_size,
            "sha256": sha256((out / name).read_bytes()).hexdigest(),
        }
    assert manifest["n_profiles"] == undisturbed.n_profiles == 20 * 2 * 4
    assert manifest["gene_sets"]["tested"] + len(manifest["gene_sets"]["dropped"]) == n_sets


def test_profiles_are_the_models_predictions_to_half_precision_in_the_order_of_sig_info(
    undisturbed: ScreenOutcome, compound_run: Path
) -> None:
    data = anndata.read_zarr(undisturbed.out / "profiles.zarr")
    info = pl.read_parquet(undisturbed.out / "sig_info.parquet")
    assert data.obs["sig_id"].tolist() == data.obs_names.tolist() == info["sig_id"].to_list()
    asked = info.select("cell_iname", "pert_type", "pert_id", "pert_dose", "pert_time", "canonical_smiles")
    predictor = Predictor.from_bundle(find_bundle(compound_run))
    found = predictor.predict(asked)
    assert data.var_names.tolist() == list(predictor.genes)
    layers = {"X": data.X, "sd": data.layers["sd"], "expression": data.layers["expression"]}
    expected = {"X": found.mean, "sd": found.sd, "expression": found.basal + found.mean}
    for name, values in layers.items():
        assert values.dtype == np.float16
        np.testing.assert_allclose(values, expected[name], rtol=1e-3, atol=1e-4)


def test_effects_and_scores_are_taken_before_rounding(
    undisturbed: ScreenOutcome, request_: ScreenRequest
) -> None:
    prepared = prepare_screen(request_)
    info = pl.read_parquet(undisturbed.out / "sig_info.parquet")
    mean = prepared.predictor.predict(prepared.plan.conditions.table()).mean.astype(np.float64)
    np.testing.assert_allclose(info["effect_size"], np.sqrt(np.square(mean).mean(axis=1)), rtol=1e-5)
    assert prepared.sets is not None
    table = pl.read_parquet(undisturbed.out / "enrichment.parquet")
    scores = table["es"].to_numpy().reshape(len(info), len(prepared.sets))
    np.testing.assert_allclose(scores, enrichment_scores(mean, prepared.sets), atol=1e-5)
    assert table["term"].to_list() == list(prepared.sets.names) * len(info)


def test_reported_hits_and_only_they_carry_gseapys_results(
    undisturbed: ScreenOutcome, request_: ScreenRequest
) -> None:
    table = pl.read_parquet(undisturbed.out / "enrichment.parquet")
    best = undisturbed.hits["sig_id"].head(request_.settings.n_reported)
    assert set(table.filter(pl.col("prerank_nes").is_not_null())["sig_id"]) == set(best)
    others = table.filter(~pl.col("sig_id").is_in(best))
    assert others["prerank_pval"].null_count() == others["lead_genes"].null_count() == others.height
    prepared = prepare_screen(request_)
    assert prepared.sets is not None
    first = prepared.plan.conditions.table().filter(sig_id=best[0])
    expected = prerank(
        prepared.predictor.predict(first).mean[0], prepared.predictor.genes, prepared.sets, 20, seed=0
    )
    found = table.filter(sig_id=best[0])
    np.testing.assert_allclose(found["es"], expected["es"], atol=1e-5)
    np.testing.assert_allclose(found["prerank_nes"], expected["nes"], rtol=1e-3)


def test_hits_are_ranked_by_effect_and_carry_no_invented_significance(undisturbed: ScreenOutcome) -> None:
    hits = pl.read_csv(undisturbed.out / "hits.csv")
    assert hits["effect_size"].is_sorted(descending=True)
    assert hits["rank"].to_list() == list(range(1, hits.height + 1))
    assert hits["p_value"].null_count() == hits["fdr"].null_count() == hits.height
    flags = set(hits["flag"])
    assert "seen in training" in flags
    assert any(flag.startswith("extrapolation") for flag in flags)


@pytest.mark.parametrize("profiles", [1, 64, 130, 160])
def test_a_screen_that_died_is_finished_to_the_same_bytes(
    request_: ScreenRequest, undisturbed: ScreenOutcome, tmp_path: Path, profiles: int
) -> None:
    out = tmp_path / "screen"
    with pytest.raises(Killed):
        run_screen(request_, out, "in-process", die_after(profiles))
    assert not (out / "manifest.json").exists()
    done = len(list((out / ".parts" / "records").glob("*.json")))
    outcome = run_screen(request_, out, "in-process")
    assert outcome.n_computed == max(0, 160 - 64 * done)
    assert contents(out) == contents(undisturbed.out)


@pytest.mark.parametrize(
    "name", ["enrichment.parquet", "zarr.json", "sig_info.parquet", "hits.csv", "report.html"]
)
def test_a_screen_that_died_in_the_middle_of_a_file_leaves_nothing_of_it(
    request_: ScreenRequest,
    undisturbed: ScreenOutcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    out = tmp_path / "screen"

    def die_in(path: Path) -> None:
        if path.name == f".{name}.new":
            raise Killed
        sync_file(path)

    monkeypatch.setattr("pertcast_jobs.screen.workspace.sync_file", die_in)
    with pytest.raises(Killed):
        run_screen(request_, out, "in-process")
    monkeypatch.undo()
    assert (out / ".parts" / f".{name}.new").is_file()
    assert run_screen(request_, out, "in-process").n_computed == 0
    assert contents(out) == contents(undisturbed.out)


def test_a_shard_that_was_damaged_is_computed_again(
    request_: ScreenRequest, undisturbed: ScreenOutcome, tmp_path: Path
) -> None:
    out = tmp_path / "screen"
    with pytest.raises(Killed):
        run_screen(request_, out, "in-process", die_after(128))
    shard = out / "profiles.zarr" / "X" / "c" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-7] + b"garbage")
    (out / ".parts" / "statistics" / "000001.parquet").unlink()
    assert run_screen(request_, out, "in-process").n_computed == 160
    assert contents(out) == contents(undisturbed.out)


def test_two_processes_cannot_compute_one_screen(request_: ScreenRequest, tmp_path: Path) -> None:
    out = tmp_path / "screen"
    with pytest.raises(Killed):
        run_screen(request_, out, "in-process", die_after(64))
    with Workspace(out).alone(), pytest.raises(ConfigError, match="computed by another process"):
        run_screen(request_, out, "in-process")


def test_a_shard_damaged_while_the_screen_ran_stops_it_before_anything_is_made_of_it(
    request_: ScreenRequest, undisturbed: ScreenOutcome, tmp_path: Path
) -> None:
    out = tmp_path / "screen"

    def damage(done: int, total: int, note: str = "") -> None:
        if note.startswith("writing"):
            (out / "profiles.zarr" / "layers" / "sd" / "c" / "1" / "0").write_bytes(b"")

    with pytest.raises(CorruptStore, match="shard 1 is missing or damaged"):
        run_screen(request_, out, "in-process", damage)
    assert run_screen(request_, out, "in-process").n_computed == 64
    assert contents(out) == contents(undisturbed.out)


def test_a_finished_screen_is_left_as_it_is(request_: ScreenRequest, undisturbed: ScreenOutcome) -> None:
    before = contents(undisturbed.out)
    again = run_screen(request_, undisturbed.out, "in-process")
    assert again.n_computed == 0
    assert again.hits.equals(undisturbed.hits)
    assert contents(undisturbed.out) == before


def test_another_screen_or_anything_else_in_the_folder_is_refused_and_left_intact(
    request_: ScreenRequest, undisturbed: ScreenOutcome, tmp_path: Path
) -> None:
    before = contents(undisturbed.out)
    with pytest.raises(ConfigError, match="holds another screen"):
        run_screen(replace(request_, doses=(2.0,)), undisturbed.out, "in-process")
    with pytest.raises(ConfigError, match="holds another screen"):
        run_screen(replace(request_, gmt=None), undisturbed.out, "in-process")
    assert contents(undisturbed.out) == before
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"not empty \(thesis\.txt\)"):
        run_screen(request_, tmp_path, "in-process")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_size_of_shards_changes_no_prediction(
    request_: ScreenRequest, undisturbed: ScreenOutcome, tmp_path: Path
) -> None:
    larger = replace(request_, settings=request_.settings.model_copy(update={"shard_rows": 128}))
    outcome = run_screen(larger, tmp_path / "screen", "in-process")
    one, other = (pl.read_parquet(path.out / "sig_info.parquet") for path in (undisturbed, outcome))
    assert one["sig_id"].equals(other["sig_id"])
    np.testing.assert_allclose(one["effect_size"], other["effect_size"], rtol=1e-5)


def test_an_unknown_compound_is_refused_with_its_row_before_anything_is_written(
    compound_run: Path, tmp_path: Path
) -> None:
    library = list_of(tmp_path, "SIM-CP00001", "SIM-CP0000X")
    request = ScreenRequest(kind="compounds", model=compound_run, library=library)
    with pytest.raises(SchemaError, match=r"row 2 \(SIM-CP0000X\).*Nearest known: SIM-CP000"):
        run_screen(request, tmp_path / "screen", "in-process")
    assert not (tmp_path / "screen").exists()


def test_a_list_of_one_broken_structure_is_told_what_is_wrong_with_it(
    compound_run: Path, tmp_path: Path
) -> None:
    library = tmp_path / "list.csv"
    library.write_text("pert_id,canonical_smiles\nx,C1CC\n", encoding="utf-8")
    request = ScreenRequest(kind="compounds", model=compound_run, library=library)
    with pytest.raises(SchemaError, match=r"row 1 \(x\): 'C1CC' is no valid SMILES"):
        run_screen(request, tmp_path / "screen", "in-process")


def test_skipped_rows_are_listed_and_never_predicted(compound_run: Path, tmp_path: Path) -> None:
    library = list_of(tmp_path, "SIM-CP00001,", "SIM-CP0000X,", "odd,C1CC", column="pert_id,canonical_smiles")
    request = ScreenRequest(kind="compounds", model=compound_run, library=library, skip_unknown=True)
    outcome = run_screen(request, tmp_path / "screen", "in-process")
    refused = pl.read_csv(outcome.out / "refused.csv")
    assert dict(refused.select("row", "pert_id").iter_rows()) == {2: "SIM-CP0000X", 3: "odd"}
    assert outcome.n_refused == 2
    assert set(pl.read_parquet(outcome.out / "sig_info.parquet")["pert_id"]) == {"SIM-CP00001"}
    assert "2 rows of the list could not be predicted" in (outcome.out / "report.html").read_text()


def test_an_unknown_cell_line_is_refused_with_the_known_ones(compound_run: Path, tmp_path: Path) -> None:
    request = ScreenRequest(kind="compounds", model=compound_run, cells=("SIMLINE99",))
    with pytest.raises(PertcastError, match=r"SIMLINE99.*Nearest known: SIMLINE0"):
        run_screen(request, tmp_path / "screen", "in-process")


def test_without_a_list_all_training_compounds_are_screened_at_training_conditions(
    compound_run: Path, small_screen: Any, tmp_path: Path
) -> None:
    conditions = prepare_screen(ScreenRequest(kind="compounds", model=compound_run)).plan.conditions.table()
    bundle = Predictor.from_bundle(find_bundle(compound_run))
    assert conditions["pert_id"].unique().sort().to_list() == sorted(bundle.space.perturbations)
    assert sorted(conditions["pert_dose"].unique()) == [1.0, 10.0]
    assert conditions["pert_time"].unique().to_list() == [24.0]
    assert set(conditions["cell_iname"]) == set(bundle.space.contexts)
    assert conditions["canonical_smiles"].null_count() == 0


def test_without_a_list_every_gene_the_bundle_knows_is_screened(gene_run: Path, tmp_path: Path) -> None:
    settings = ScreenSettings(kind="genes", shard_rows=64)
    outcome = run_screen(
        ScreenRequest(kind="genes", model=gene_run, settings=settings), tmp_path / "screen", "in-process"
    )
    info = pl.read_parquet(outcome.out / "sig_info.parquet")
    assert set(info["pert_id"]) == set(Predictor.from_bundle(find_bundle(gene_run)).genes)
    assert set(info["pert_type"]) == {"trt_xpr"}
    assert 0 < info["seen_pert"].sum() < info.height
    assert np.isfinite(anndata.read_zarr(outcome.out / "profiles.zarr").X).all()


def test_a_misspelt_gene_is_refused_with_the_nearest_ones(gene_run: Path, tmp_path: Path) -> None:
    request = ScreenRequest(kind="genes", model=gene_run, library=list_of(tmp_path, "SIMG00004", "SIMG0004"))
    with pytest.raises(SchemaError, match=r"row 2 \(SIMG0004\).*Nearest known: SIMG000"):
        prepare_screen(request)


def test_a_kind_that_the_bundle_was_not_trained_on_is_refused(compound_run: Path) -> None:
    with pytest.raises(SchemaError, match="trained on no genes"):
        prepare_screen(ScreenRequest(kind="genes", model=compound_run))


def test_gene_sets_in_other_names_are_refused_before_anything_is_written(
    request_: ScreenRequest, tmp_path: Path
) -> None:
    gmt = tmp_path / "ensembl.gmt"
    gmt.write_text("A\t\t" + "\t".join(f"ENSG{i}" for i in range(9)))
    with pytest.raises(SchemaError, match="None of the 1 gene sets"):
        run_screen(replace(request_, gmt=gmt), tmp_path / "screen", "in-process")
    assert not (tmp_path / "screen").exists()


def test_the_command_line_prints_a_table_or_json_and_the_report_last(
    compound_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["screen", "compounds", "--model", str(compound_run), "--executor", "in-process", "--doses", "1"]
    assert pertcast([*words, "--out", str(tmp_path / "screen")]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith("conditions ranked", lines[0].index(" ") + 1)
    assert lines[-1] == f"report {tmp_path / 'screen' / 'report.html'}"
    assert pertcast([*words, "--out", str(tmp_path / "screen"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["computed"] == 0
    assert found["hits"][0]["rank"] == 1


def test_a_dry_run_prints_counts_time_and_memory_and_writes_nothing(
    compound_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "screen"
    words = ["screen", "compounds", "--model", str(compound_run), "--out", str(out), "--dry-run"]
    assert pertcast([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_profiles"] == found["n_perturbations"] * found["n_cells"] * found["n_doses"]
    assert found["profiles_per_second"] > 0
    assert found["seconds"] > 0
    assert pertcast(words) == 0
    assert "profiles/s" in capsys.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--executor", "sreve", "--out", "x"], "'sreve' is not known. Did you mean serve?"),
        (["--doses", "1,much", "--out", "x"], "'much' is no number"),
        ([], "--out SCREEN"),
        (["--shard-rows", "100", "--out", "x"], "multiple of 64"),
    ],
)
def test_usage_errors_say_what_to_write(
    compound_run: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert pertcast(["screen", "compounds", "--model", str(compound_run), *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
