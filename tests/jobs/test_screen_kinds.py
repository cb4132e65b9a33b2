"""Pairs, tables, signatures, cell lines and doses of a screen; what can be made of it again afterwards."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from pertcast.predictor import Predictor
from pertcast.training.bundle import save_bundle
from pertcast_jobs.cli import run as pertcast

GENES = [f"GENE{number}" for number in range(24)]
SETS = {"FIRST": GENES[:8], "SECOND": GENES[8:16], "THIRD": GENES[14:24]}


def screen(bundle: Path, out: Path, *words: str) -> Path:
    where = ["--model", str(bundle), "--out", str(out), "--executor", "in-process", "--shard-rows", "64"]
    assert pertcast(["screen", *words, *where]) == 0
    return out


def listed(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def gmt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sets") / "sets.gmt"
    path.write_text("".join("\t".join((name, "", *genes)) + "\n" for name, genes in SETS.items()))
    return path


@pytest.fixture(scope="module")
def dosed(tiny_bundle: Path, gmt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("screens") / "dosed"
    return screen(tiny_bundle, out, "compounds", "--gmt", str(gmt), "--doses", "0.1,0.3,1,3,10,30")


@pytest.fixture(scope="module")
def pairs(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    genes = listed(folder / "genes.csv", "gene\nGENE0\nGENE1\nGENE2\nGENE4+GENE3\n")
    return screen(tiny_bundle, folder / "screen", "pairs", genes)


def test_pairs_are_ranked_by_what_they_do_beyond_the_sum_of_their_singles(
    pairs: Path, tiny_bundle: Path
) -> None:
    info = pl.read_parquet(pairs / "sig_info.parquet")
    assert set(info["pert_id"]) == {"GENE0+GENE1", "GENE0+GENE2", "GENE1+GENE2", "GENE3+GENE4"}
    assert set(info["pert_type"]) == {"trt_xpr"}
    predictor = Predictor.from_bundle(tiny_bundle)
    keys = info.select("cell_iname", "pert_type", "pert_dose", "pert_time")
    parts = info["pert_id"].str.split("+")
    whole = predictor.predict(info.select("pert_id", *keys.columns)).mean.astype(np.float64)
    single = [predictor.predict(keys.with_columns(pert_id=parts.list.get(i))).mean for i in (0, 1)]
    excess = whole - single[0] - single[1]
    own = [[GENES.index(gene) for gene in row] for row in parts]
    excess[np.arange(len(own))[:, None], own] = 0
    size = np.sqrt(np.square(excess).sum(axis=1) / (len(GENES) - 2))
    np.testing.assert_allclose(info["excess_size"], size, rtol=1e-4, atol=1e-6)
    hits = pl.read_parquet(pairs / "hits.parquet")
    assert hits["score"].to_list() == sorted(info["excess_size"], reverse=True)
    assert hits["p_value"].null_count() == hits.height


def test_a_pair_whose_singles_alone_were_trained_is_told_as_an_extrapolation(pairs: Path) -> None:
    assert not pl.read_parquet(pairs / "sig_info.parquet")["seen_pair"].any()
    flags = dict(pl.read_parquet(pairs / "hits.parquet").select("sig_id", "flag").iter_rows())
    assert flags["A375|trt_xpr|GENE0+GENE1||24"] == "extrapolation: pair not in training"
    assert all(flag.startswith("extrapolation") for flag in flags.values())


def test_a_table_holds_compounds_genes_and_pairs_each_with_the_doses_of_its_own_kind(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    text = "pert_id,cell_iname,pert_dose\ndrug-1,A375,\nGENE2,,\nGENE1+GENE0,HT29,\ndrug-3,,2\n"
    out = screen(
        tiny_bundle, tmp_path / "screen", "table", listed(tmp_path / "list.csv", text), "--doses", "5"
    )
    ids = pl.read_parquet(out / "sig_info.parquet")["sig_id"].to_list()
    assert ids == [
        "A375|trt_cp|drug-1|5|24",
        "A375|trt_cp|drug-3|2|24",
        "A375|trt_xpr|GENE2||24",
        "HT29|trt_cp|drug-3|2|24",
        "HT29|trt_xpr|GENE2||24",
        "HT29|trt_xpr|GENE0+GENE1||24",
    ]


def test_conditions_are_ranked_by_how_well_they_reverse_or_mimic_a_signature(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    predictor = Predictor.from_bundle(tiny_bundle)
    asked = pl.DataFrame({"cell_iname": ["A375"], "pert_type": ["trt_cp"], "pert_id": ["drug-2"]})
    mean = predictor.predict(asked.with_columns(pert_dose=10.0, pert_time=24.0)).mean[0]
    rows = "".join(f"{gene}\t{value}\n" for gene, value in zip(GENES, mean, strict=True))
    signature = ["--signature", listed(tmp_path / "values.rnk", rows)]
    common = ["compounds", "--doses", "10", "--cells", "A375", *signature]
    alike = screen(tiny_bundle, tmp_path / "mimic", *common, "--objective", "mimic")
    hits = pl.read_parquet(alike / "hits.parquet")
    own = hits.filter(sig_id="A375|trt_cp|drug-2|10|24")["score"][0]
    assert hits["score"][0] == pytest.approx(own, abs=1e-6)
    assert own == pytest.approx(1, abs=1e-5)
    against = screen(tiny_bundle, tmp_path / "reverse", *common)
    turned = pl.read_parquet(against / "hits.parquet")
    assert turned["score"].to_list() == pytest.approx((-hits["score"]).reverse().to_list(), abs=1e-7)
    assert turned["score"].is_sorted(descending=True)
    manifest = json.loads((against / "manifest.json").read_text())
    assert manifest["signature"]["objective"] == "reverse"
    assert manifest["signature"]["n_used"] == len(GENES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--up", "up.txt"], "needs both: --up FILE and --down FILE"),
        (["--score", "wtcs"], "--score compares with a signature"),
        (["--objective", "revers"], "Did you mean reverse?"),
        (["--up", "up.txt", "--down", "up.txt", "--signature", "up.txt"], "Give one signature"),
    ],
)
def test_a_signature_that_is_asked_for_by_halves_is_refused(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert pertcast(["screen", "compounds", "--model", str(tiny_bundle), "--dry-run", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_cell_lines_and_doses_are_compared_in_tables_of_their_own(dosed: Path) -> None:
    info = pl.read_parquet(dosed / "sig_info.parquet")
    assert info.height == 12 * 2 * 6
    selectivity = pl.read_parquet(dosed / "selectivity.parquet")
    assert selectivity.height == 12 * 6
    row = selectivity.filter(rank=1).row(0, named=True)
    same = info.filter(pert_id=row["pert_id"], pert_dose=row["pert_dose"]).sort("effect_size")
    assert row["strongest_cell"] == same["cell_iname"][-1]
    assert row["excess_effect"] == pytest.approx(same["effect_size"][1] - same["effect_size"][0])
    doses = pl.read_parquet(dosed / "dose_response.parquet")
    assert doses.height == 12 * 2
    assert set(doses["n_doses"]) == {6}
    assert doses.filter(pl.col("ec50").is_not_null() != (pl.col("state") == "identified")).is_empty()


def test_every_profile_carries_the_ranks_of_its_genes(dosed: Path) -> None:
    import zarr

    values = np.asarray(zarr.open_array(str(dosed / "profiles.zarr" / "X"), mode="r")[:])
    ranks = np.asarray(zarr.open_array(str(dosed / "ranks.zarr" / "rank"), mode="r")[:])
    assert ranks.dtype == np.uint16
    np.testing.assert_array_equal(np.sort(ranks, axis=1), np.broadcast_to(np.arange(24), ranks.shape))
    ordered = np.take_along_axis(values, np.argsort(ranks, axis=1), axis=1).astype(np.float32)
    assert (np.diff(ordered, axis=1) <= 0).all()


def test_enrichment_of_a_finished_screen_is_that_of_the_screen_but_for_rounding(
    dosed: Path, gmt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again.parquet"
    words = ["enrich", "--screen", str(dosed), "--gmt", str(gmt), "--out", str(out)]
    assert pertcast([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["profiles"] == 144 and told["sets"] == 3 and len(told["top"]) == 15
    first, again = pl.read_parquet(dosed / "enrichment.parquet"), pl.read_parquet(out)
    assert again.columns == first.columns
    assert again.select("sig_id", "term", "size").equals(first.select("sig_id", "term", "size"))
    np.testing.assert_allclose(again["es"], first["es"], atol=2e-3)
    np.testing.assert_allclose(again["nes"], first["nes"], atol=2e-2)
    assert pertcast(words) == 1
    assert "already exists" in capsys.readouterr().err


def test_a_report_is_made_again_without_the_model_and_recorded_in_the_manifest(
    dosed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = dosed / "report.html"
    before = report.read_text()
    report.write_text("lost")
    assert pertcast(["report", str(dosed)]) == 0
    assert capsys.readouterr().out.strip() == f"report {report}"
    assert len(report.read_text()) > 0.9 * len(before)
    recorded = json.loads((dosed / "manifest.json").read_text())["files"]["report.html"]
    assert recorded["sha256"] == sha256(report.read_bytes()).hexdigest()


def test_a_folder_without_a_screen_has_no_report_and_no_enrichment(
    tmp_path: Path, gmt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    assert pertcast(["report", str(tmp_path / "run")]) == 1
    assert "is a run: `pertcast evaluate" in " ".join(capsys.readouterr().err.split())
    assert pertcast(["enrich", "--screen", str(tmp_path), "--gmt", str(gmt)]) == 1
    assert "holds no finished screen" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["report", "enrich", "query", "export"])
def test_a_screen_that_is_not_there_is_not_called_unfinished(
    command: str, tmp_path: Path, gmt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = str(tmp_path / "absent")
    words = {
        "report": ["report", absent],
        "enrich": ["enrich", "--screen", absent, "--gmt", str(gmt)],
        "query": ["query", "--screen", absent, "--sig-id", "a"],
        "export": ["screen", "export", absent, "--to", "csv", "--out", str(tmp_path / "a.csv")],
    }
    assert pertcast(words[command]) == 1
    assert capsys.readouterr().err == f"error: {absent}: no such folder. Check the path.\n"


def test_an_estimate_counts_what_will_be_screened_and_leaves_nothing(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["screen", "pairs", "--model", str(tiny_bundle), "--dry-run", "--json"]
    assert pertcast([*words, "--executor", "in-process"]) == 0
    found = json.loads(capsys.readouterr().out)
    trained = Predictor.from_bundle(tiny_bundle).space.perturbations
    genes = sum(name.startswith("GENE") for name in trained)
    drugs = len(trained) - genes
    assert found["n_profiles"] == 2 * math.comb(genes, 2) + 2 * 2 * math.comb(drugs, 2)
    assert 0 < found["finishing_seconds"] < found["seconds"]


def test_an_ensemble_screens_the_mean_of_its_members(tiny_bundle: Path, tmp_path: Path) -> None:
    shifted = Predictor.from_bundle(tiny_bundle)
    with torch.no_grad():
        for weight in shifted.model.parameters():
            weight *= 1.1
    other = save_bundle(
        tmp_path / "other",
        model_name="response_mlp",
        model=shifted.model,
        conditions=shifted.encoder.training_conditions,
        encoder_state=shifted.encoder.state(),
        basal_state=shifted.basal.state(),
        facts=shifted.bundle.facts,
    )
    words = ["genes", "--model", str(other)]
    out = screen(tiny_bundle, tmp_path / "both", *words)
    info = pl.read_parquet(out / "sig_info.parquet")
    asked = info.select("cell_iname", "pert_type", "pert_id", "pert_dose", "pert_time")
    means = [Predictor.from_bundle(path).predict(asked).mean for path in (tiny_bundle, other)]
    size = np.sqrt(np.square(np.mean(means, axis=0, dtype=np.float64)).mean(axis=1))
    np.testing.assert_allclose(info["effect_size"], size, rtol=1e-4)
    assert info["model_id"][0].startswith("ensemble of 2 (response_mlp):")
