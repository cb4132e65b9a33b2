"""`pertcast data`: the commands as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from pertcast_jobs.cli import run
from scipy import sparse


@pytest.fixture
def screen(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    names = ["control", *(f"GENE{number}" for number in range(12))]
    obs = pd.DataFrame(
        {"cell_line": "K562", "perturbation": names * 4, "perturbation_type": "CRISPRi"},
        index=[f"cell{number}" for number in range(52)],
    )
    matrix = sparse.csr_matrix(rng.poisson(1.0, (52, 8)).astype(np.float32))
    path = tmp_path / "screen.h5ad"
    anndata.AnnData(matrix, obs, pd.DataFrame(index=[f"G{n}" for n in range(8)])).write_h5ad(path)
    return path


def test_a_file_goes_from_ingest_to_a_split(
    screen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, split = tmp_path / "store", tmp_path / "split.json"
    assert run(["data", "ingest", str(screen), "--out", str(store)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Ingested 52 profiles x 8 genes (expression, counts): 13 conditions in K562")
    assert lines[-1] == f"store: {store}"
    assert run(["data", "inspect", str(store)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Store of 52 profiles x 8 genes in 1 context"
    assert lines[-1] == f"store: {store}"
    assert run(["data", "validate", str(store)]) == 0
    assert capsys.readouterr().out.startswith("valid")
    words = [
        "data",
        "split",
        str(store),
        "--kind",
        "unseen_perturbation",
        "--folds",
        "3",
        "--out",
        str(split),
    ]
    assert run(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"split: {split}"
    folds = json.loads(split.read_text(encoding="utf-8"))["folds"]
    assert sum(len(fold["test"]) for fold in folds) == 12


def test_json_is_the_whole_output_of_every_command_that_prints_results(
    screen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, split = str(tmp_path / "store"), str(tmp_path / "split.json")
    results = []
    for words in (
        ["ingest", str(screen), "--out", store],
        ["inspect", store],
        ["inspect", str(screen)],
        ["validate", store],
        ["split", store, "--kind", "random", "--out", split],
    ):
        assert run(["data", *words, "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    ingested, inspected, looked, validated, dealt = results
    assert ingested["n_rows"] == inspected["info"]["n_rows"] == looked["plan"]["n_rows"] == 52
    assert validated == {"store": store, "is_valid": True, "problems": []}
    assert len(dealt["folds"]) == 4


def test_a_dry_run_writes_nothing(screen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "ingest", str(screen), "--out", str(tmp_path / "store"), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("Would ingest 52 profiles")
    assert not (tmp_path / "store").exists()


def test_a_mapping_file_that_is_wrong_ends_with_1_and_a_hint(
    screen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = tmp_path / "map.yaml"
    mapping.write_text("cell_inam: x\n", encoding="utf-8")
    words = ["data", "ingest", str(screen), "--out", str(tmp_path / "store"), "--map", str(mapping)]
    assert run(words) == 1
    assert "did you mean cell_iname" in capsys.readouterr().err


def test_inspect_says_what_a_file_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bare.h5ad"
    anndata.AnnData(np.eye(3, dtype=np.float32)).write_h5ad(path)
    assert run(["data", "inspect", str(path)]) == 0
    output = capsys.readouterr().out
    assert output.startswith("h5ad file: 3 profiles x 3 genes")
    assert "An ingest needs help" in output
    assert "cell_iname" in output


def test_a_flipped_byte_makes_validate_fail_and_name_the_file(
    screen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    assert run(["data", "ingest", str(screen), "--out", str(store)]) == 0
    shard = next(path for path in sorted((store / "X").rglob("*")) if path.is_file() and "c" in path.parts)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    capsys.readouterr()
    assert run(["data", "validate", str(store)]) == 1
    output = capsys.readouterr().out
    assert output.startswith("invalid: 1 problem, ")
    assert str(shard.relative_to(store)) in output


def test_a_store_that_is_not_there_is_not_called_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "validate", str(tmp_path / "absent")]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"error: {tmp_path / 'absent'}: no such folder. Check the path.\n"


def test_a_simulated_atlas_can_be_ingested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atlas = tmp_path / "atlas"
    words = ["--genes", "80", "--compounds", "8", "--contexts", "2", "--cells", "300", "--seed", "3"]
    assert run(["data", "simulate", "--regime", "saturating", "--out", str(atlas), *words]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"atlas: {atlas}"
    for name, normalisation in (("wells", "log2_intensity"), ("cells", "counts")):
        store = str(tmp_path / name)
        assert run(["data", "ingest", str(atlas / f"{name}.h5ad"), "--out", store, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["normalisation"] == normalisation
        assert report["n_control_rows"] > 0
        assert report["warnings"] == []


def test_an_unknown_regime_and_kind_are_refused_with_the_known_ones(
    screen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "simulate", "--regime", "liner", "--out", str(tmp_path / "a")]) == 2
    assert "linear" in capsys.readouterr().err
    store = str(tmp_path / "store")
    assert run(["data", "ingest", str(screen), "--out", store]) == 0
    words = ["data", "split", store, "--kind", "unseen_gene", "--out", str(tmp_path / "split.json")]
    assert run(words) == 2
    assert "unseen_" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["ingest", "inspect", "validate", "simulate", "split"])
def test_every_command_has_a_copyable_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", command, "--help"]) == 0
    assert f"Example: pertcast data {command} " in capsys.readouterr().out
