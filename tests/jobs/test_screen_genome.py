"""Screens of every gene and type that a bundle knows: the default library, refusals, what training holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pertcast.encoding import ConditionEncoder
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.run_config import load_config
from pertcast_jobs.screen.check import find_refusals
from pertcast_jobs.screen.conditions import Conditions, Grid
from pertcast_jobs.screen.knowledge import knowledge_of
from pertcast_jobs.screen.library import library_of
from pertcast_jobs.screen.prepare import ScreenRequest, prepare_screen
from pertcast_jobs.train import run_training

TYPES = ("trt_sh", "trt_xpr", "trt_oe")
FAR = tuple(f"FAR{number:03d}" for number in range(30))
ATLAS = AtlasConfig(
    regime="network",
    n_genes=120,
    n_contexts=2,
    n_compounds=8,
    n_unprofiled=0,
    doses=(1.0,),
    times=(24.0,),
    n_plates=1,
    n_knockouts=2,
    n_pairs=0,
    n_cells=100,
    n_signature_genes=60,
    n_signature_contexts=2,
    n_landmarks=50,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ridge on signatures of three types; its network knows TP53 and genes that nothing measures."""
    folder = tmp_path_factory.mktemp("genome")
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    ingest([files.signatures], folder / "store")
    store = ExpressionStore.open(folder / "store")
    make_split(store, "unseen_perturbation").save(folder / "split.json")
    measured = store.genes[:30]
    pairs = [(measured[row], far) for row, far in enumerate(FAR)]
    pairs += [(measured[0].lower(), "TP53"), ("TP53", "MDM2"), ("MDM2", measured[1])]
    (folder / "net.tsv").write_text("".join(f"{one}\t{other}\t0.9\n" for one, other in pairs))
    words = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}"]
    network = [f"encoder.gene_network={folder / 'net.tsv'}", "encoder.gene_network_components=4"]
    run_training(load_config("response_mlp", [*words, *network, "model.name=bilinear_ridge"]), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor.from_bundle(find_bundle(run))


def words_of(run: Path, *more: str) -> list[str]:
    chosen = ["--model", str(run), "--pert-types", ",".join(TYPES), "--executor", "in-process"]
    return ["screen", "genes", *chosen, *more]


def list_of(folder: Path, *genes: str) -> str:
    path = folder / "list.csv"
    path.write_text("\n".join(("gene", *genes)) + "\n")
    return str(path)


def test_without_a_list_every_gene_of_profiles_training_and_network_is_screened_once(
    run: Path, predictor: Predictor
) -> None:
    plan = prepare_screen(ScreenRequest(kind="genes", model=run, types=TYPES)).plan
    conditions = plan.conditions.table()
    genes = set(conditions["pert_id"])
    known = predictor.encoder.perturbations
    assert {"TP53", "MDM2", *FAR} | set(predictor.genes) | set(known.gene_index) == genes
    assert predictor.genes[0].lower() not in genes
    assert plan.n_profiles == len(genes) * len(TYPES) * len(predictor.space.contexts)
    assert conditions["sig_id"].n_unique() == plan.n_profiles


def test_genes_of_the_profiles_without_features_are_not_in_the_default_library(
    run: Path, predictor: Predictor
) -> None:
    known = replace(predictor.encoder.perturbations, loadings=np.zeros((len(predictor.genes), 0), np.float32))
    encoder = predictor.encoder
    bare = ConditionEncoder.from_state(*encoder.state())
    bare.perturbations = known
    library = knowledge_of(Predictor(predictor.model, bare, predictor.basal)).default_library("genes")
    network = set(known.gene_blocks[0].genes)
    expected = {*known.gene_index, *FAR, "TP53", "MDM2", *predictor.genes[:30]}
    assert set(library.frame["pert_id"]) == expected
    assert len(network) < len(expected) < len(predictor.genes) + len(network)


def test_a_misspelt_gene_is_refused_with_the_right_one_and_nothing_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "screen"
    assert pertcast([*words_of(run, "--out", str(out)), list_of(tmp_path, "tp53", "FAR001", "TP35")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "row 3 (TP35): Unknown gene 'TP35'" in said
    assert "Nearest known: TP53" in said
    assert "net.tsv" in said
    assert not out.exists()


def test_misspelt_genes_that_are_skipped_are_listed_and_the_others_screened(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "screen"
    library = list_of(tmp_path, "tp53", "TP35", "FAR001")
    assert pertcast([*words_of(run, "--out", str(out), "--skip-unknown"), library]) == 0
    refused = pl.read_csv(out / "refused.csv")
    assert refused.select("row", "pert_id").rows() == [(2, "TP35")]
    assert "TP53" in refused["suggestions"][0].split(";")
    assert set(pl.read_parquet(out / "sig_info.parquet")["pert_id"]) == {"tp53", "FAR001"}


def test_a_type_that_is_none_is_refused_by_the_name_of_the_option(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["screen", "genes", "--model", str(run), "--pert-types", "trt_xprr", "--dry-run"]
    assert pertcast(words) == 1
    said = capsys.readouterr().err
    assert "--pert-types: a screen of genes takes" in said
    assert "Did you mean trt_xpr?" in said


def test_a_dry_run_counts_genes_times_types_times_cell_lines(
    run: Path, predictor: Predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pertcast([*words_of(run), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_profiles"] == found["n_perturbations"] * 3 * len(predictor.space.contexts)


def test_a_screen_tells_how_many_other_types_of_a_gene_training_holds_in_the_same_cell_line(
    run: Path, predictor: Predictor, tmp_path: Path
) -> None:
    trained = predictor.space.perturbations
    library = list_of(tmp_path, trained[0].lower() if trained[0].lower() in trained else trained[0], "TP53")
    out = tmp_path / "screen"
    assert pertcast([*words_of(run, "--out", str(out)), library]) == 0
    info = pl.read_parquet(out / "sig_info.parquet")
    ids = [name.split("|")[:3] for name in predictor.encoder.training_index]
    for row in info.iter_rows(named=True):
        others = {k for c, k, gene in ids if (c, gene) == (row["cell_iname"], row["pert_id"])}
        assert row["n_other_types"] == len(others - {row["pert_type"]})
    assert info["n_other_types"].sum() > 0
    assert set(info.filter(pert_id="TP53")["n_other_types"]) == {0}


def test_thousands_of_unknown_genes_share_one_list_of_known_names(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []

    def count(word: str, known: object) -> list[str]:
        searched.append(1)
        return []

    monkeypatch.setattr("pertcast.encoding.problems.nearest_known", count)
    names = [f"WRONG{number}" for number in range(9_000)]
    none = dict.fromkeys(TYPES, (None,))
    grid = Grid(cells=predictor.space.contexts, types=TYPES, doses=none, times=none)
    library = library_of(pl.DataFrame({"pert_id": names}), "test").frame
    refused = find_refusals(predictor, library, grid)
    assert [item.row for item in refused] == list(range(1, 9_001))
    assert len(searched) <= 32
    faults = predictor.encoder.encode_table(Conditions(library, grid).head(2)).faults
    assert len({id(fault.known._known) for fault in faults.values()}) == 1  # type: ignore[attr-defined]


def test_a_screen_with_gene_sets_tells_type_by_type_which_genes_its_profiles_put_together(
    run: Path, predictor: Predictor, tmp_path: Path
) -> None:
    out, gmt, genes = tmp_path / "screen", tmp_path / "sixes.gmt", predictor.genes[:48]
    sixes = [genes[start : start + 6] for start in range(0, 48, 6)]
    gmt.write_text("".join(f"six {n}\t\t" + "\t".join(six) + "\n" for n, six in enumerate(sixes)))
    assert pertcast(words_of(run, "--out", str(out), "--gmt", str(gmt))) == 0
    table = pl.read_parquet(out / "gene_function.parquet")
    assert set(table["pert_type"]) == set(TYPES)
    rows = ["predicted", "network features", "degree", "shuffled"]
    assert table.filter(pert_type="trt_xpr")["similarity"].to_list() == rows
    assert table["roc_auc"].is_between(0, 1).all()
    assert set(table["n_genes"]) == {48} and set(table["n_pairs"]) == {2 * 8 * 15}
    assert set(table.filter(similarity="degree")["roc_auc"]) == {0.5}
    report = (out / "report.html").read_text()
    assert all(f"Gene function, {kind}" in report for kind in TYPES)
    assert "gene_function.parquet" in json.loads((out / "manifest.json").read_text())["files"]


def test_a_screen_of_too_few_genes_of_the_sets_says_so_instead_of_failing(run: Path, tmp_path: Path) -> None:
    out, gmt = tmp_path / "screen", run.parent / "atlas" / "gene_sets.gmt"
    library = list_of(tmp_path, "TP53", "MDM2")
    assert pertcast([*words_of(run, "--out", str(out), "--gmt", str(gmt)), library]) == 0
    assert pl.read_parquet(out / "gene_function.parquet").is_empty()
    assert "20 are needed to judge gene function" in (out / "report.html").read_text()
