"""`pertcast targets` on the simulated atlas: what it leaves, what it recovers, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast.analysis.drug_targets import MatchOptions
from pertcast_data.errors import ConfigError, FormatError, PertcastError
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.simulate.regimes.drives import structure_efficacy
from pertcast_data.store import ExpressionStore, create_store
from pertcast_data.store.manifest import commit_manifest
from pertcast_data.store.zarr_layout import create_dense_group, write_dense_shard
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.targets import TargetRequest, match_targets
from pertcast_jobs.targets.inputs import drug_profiles
from pertcast_jobs.targets.known_table import read_known
from pertcast_jobs.targets.profiles import RunReader, open_profiles

ATLAS = AtlasConfig(
    regime="linear",
    n_genes=120,
    n_contexts=2,
    n_compounds=24,
    n_unprofiled=4,
    doses=(1.0, 10.0),
    times=(24.0,),
    n_plates=4,
    n_knockouts=4,
    n_pairs=0,
    n_cells=100,
    n_signature_genes=120,
    n_signature_contexts=2,
    noise=0.5,
)
FEW = MatchOptions(n_draws=50, keep=5)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with stores `wells` and `signatures`, and known.csv: what each compound inhibits."""
    folder = tmp_path_factory.mktemp("targets")
    simulated = simulate_atlas(ATLAS)
    files = write_atlas(simulated, folder / "atlas")
    ingest([files.wells], folder / "wells")
    ingest([files.signatures], folder / "signatures")
    world = simulated.world
    pairs = np.argwhere(structure_efficacy(world, np.arange(len(world.library))) <= -0.3)
    pl.DataFrame(
        {
            "pert_id": [world.library.pert_ids[compound] for compound, _ in pairs],
            "symbol": [world.network.gene_symbols[world.network.regulators[place]] for _, place in pairs],
        }
    ).write_csv(folder / "known.csv")
    return folder


def as_screen(store: ExpressionStore, folder: Path) -> Path:
    """The same profiles in the layout of a finished screen."""
    values = store.reader().dense(np.arange(store.n_rows))
    root = folder / "profiles.zarr"
    create_dense_group(root, store.n_rows, store.n_genes, var=store.var, obs=store.obs)
    size = min(store.n_rows, 16_384)
    assert size == store.n_rows
    record = write_dense_shard(root, 0, values)
    commit_manifest(root, [record], {"kind": "screen"})
    store.obs.write_parquet(folder / "sig_info.parquet")
    (folder / "manifest.json").write_text(json.dumps({"format": "pertcast-screen"}))
    return folder


def test_the_command_writes_rankings_summary_and_report_and_recovers_targets(
    atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["targets", f"{atlas / 'signatures'}", "--drugs", f"{atlas / 'wells'}", "--out", f"{out}"]
    assert pertcast([*words, "--known", f"{atlas / 'known.csv'}", "--top", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {path.name for path in out.iterdir()} == {
        "targets.parquet",
        "known.parquet",
        "summary.json",
        "report.html",
    }
    targets = pl.read_parquet(out / "targets.parquet")
    assert targets.columns == [
        "drug",
        "cell_iname",
        "gene",
        "type",
        "score",
        "rank",
        "percentile",
        "is_known",
    ]
    assert targets["drug"].n_unique() == ATLAS.n_compounds
    assert set(targets["type"]) == {"trt_sh", "trt_xpr", "trt_oe", "combined"}
    counts = targets.group_by("drug", "cell_iname", "type").len()["len"]
    assert counts.min() == counts.max() == 5
    own, controls = (
        told["recovery"][0],
        {each["name"]: each for each in told["recovery"] if each["is_control"]},
    )
    assert set(controls) == {"shuffled", "popular", "effect_size", "own_gene"}
    assert own["auroc_among_targets"]["low"] > 0.5
    assert own["auroc_among_targets"]["value"] > controls["shuffled"]["auroc_among_targets"]["value"] + 0.05
    summary = json.loads((out / "summary.json").read_text())
    assert summary["recovery"] == told["recovery"] and summary["inputs"]["known"].endswith("known.csv")
    assert "Which genes" in (out / "report.html").read_text()


def test_a_screen_is_read_like_the_store_of_the_same_profiles(atlas: Path, tmp_path: Path) -> None:
    (tmp_path / "screen").mkdir()
    screen = as_screen(ExpressionStore.open(atlas / "signatures"), tmp_path / "screen")
    found = [
        match_targets(
            TargetRequest(library, atlas / "wells", atlas / "known.csv", options=FEW),
            tmp_path / f"out{number}",
        )
        for number, library in enumerate((atlas / "signatures", screen))
    ]
    assert found[0].targets.equals(found[1].targets)
    assert found[0].recovery[0].auroc == found[1].recovery[0].auroc


def test_rows_of_a_screen_are_read_in_any_order(atlas: Path, tmp_path: Path) -> None:
    store = ExpressionStore.open(atlas / "signatures")
    read = RunReader(as_screen(store, tmp_path) / "profiles.zarr")
    for rows in ([3, 4, 5], [200, 1, 0, 199, 70], [5]):
        asked = np.array(rows, dtype=np.int64)
        assert np.array_equal(read(asked), store.reader().dense(asked))


def test_measured_signatures_stand_beside_another_library(atlas: Path, tmp_path: Path) -> None:
    request = TargetRequest(
        atlas / "signatures", atlas / "wells", atlas / "known.csv", measured=atlas / "signatures", options=FEW
    )
    recovery = {found.name: found for found in match_targets(request, tmp_path / "out").recovery}
    assert recovery["measured"].auroc == recovery["result"].auroc
    assert recovery["measured"].difference is not None and recovery["measured"].difference.value == 0


def test_levels_become_condition_means_minus_matched_controls(tmp_path: Path) -> None:
    rows = [("P1", "ctl_vehicle", "DMSO", None)] * 2 + [("P2", "ctl_vehicle", "DMSO", None)]
    rows += [("P1", "trt_cp", "BRD-1", 1.0)] * 3 + [("P2", "trt_cp", "BRD-1", 10.0)]
    levels = np.array([[1, 0], [3, 0], [10, 0], [5, 1], [5, 1], [8, 1], [30, 3]], dtype=np.float32)
    obs = pl.DataFrame(rows, schema=["batch_id", "pert_type", "pert_id", "pert_dose"], orient="row")
    create_store(
        tmp_path / "store",
        obs=obs.with_columns(cell_iname=pl.lit("A549"), cmap_name=pl.lit("drug")),
        var=pl.DataFrame({"gene_symbol": ["X", "Y"]}),
        batches=[levels],
        measure="expression",
        normalisation="log2_intensity",
    )
    opened = open_profiles(tmp_path / "store")
    drugs, names = drug_profiles(opened, ("Y", "X"), None, lambda *_: None)
    # Dose 1: mean 6 - 2 = 4, dose 10: 30 - 10 = 20; the doses weigh alike.
    assert drugs.profiles.tolist() == [[2.0, 12.0]]
    assert names == {"drug": "drug", "brd-1": "drug"}


def test_known_targets_are_read_by_any_name_and_missing_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "known.tsv"
    path.write_text(
        "cmap_name\tpert_id\ttarget\nAspirin\tBRD-1\tPTGS1|PTGS2\n-\tBRD-2\tEGFR\nother\t\tTP53\nx\ty\t-\n"
    )
    known, remarks = read_known(path, {"aspirin": "aspirin", "brd-2": "erlotinib"})
    assert known.targets == {
        "aspirin": frozenset({"PTGS1", "PTGS2"}),
        "erlotinib": frozenset({"EGFR"}),
        "other": frozenset({"TP53"}),
    }
    assert "2 of 2 drugs have known targets" in remarks[0]


def refused(atlas: Path, out: Path, **changes: Any) -> str:
    fields = {"library": atlas / "signatures", "drugs": atlas / "wells", "options": FEW} | changes
    with pytest.raises(PertcastError) as caught:
        match_targets(TargetRequest(**fields), out)
    assert not out.exists()
    return str(caught.value)


def test_drugs_that_no_profile_has_are_refused_with_the_nearest_names(atlas: Path, tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text("pert_id,symbol\nSIM-CP0001,SIMG00001\n")
    message = refused(atlas, tmp_path / "out", known=tmp_path / "known.csv")
    assert "SIM-CP0001 (nearest: " in message and "known.csv" in message


def test_a_table_without_its_columns_is_refused(atlas: Path, tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text("name,gene\na,b\n")
    assert "Rename its columns" in refused(atlas, tmp_path / "out", known=tmp_path / "known.csv")


def test_a_library_without_the_type_names_those_that_it_has(atlas: Path, tmp_path: Path) -> None:
    message = refused(atlas, tmp_path / "out", types=("trt_act",))
    assert "trt_act" in message and "trt_oe, trt_sh, trt_xpr" in message
    assert "Use trt_sh" in refused(atlas, tmp_path / "out", types=("trt_shh",))


def test_levels_are_no_library_and_signatures_are_no_drugs(atlas: Path, tmp_path: Path) -> None:
    assert "needs responses" in refused(atlas, tmp_path / "out", library=atlas / "wells")
    assert "no compound" in refused(atlas, tmp_path / "out", drugs=atlas / "signatures")


def test_profiles_without_shared_genes_are_refused_with_names_of_both(atlas: Path, tmp_path: Path) -> None:
    obs = pl.DataFrame({"pert_type": ["trt_cp"], "pert_id": ["BRD-1"], "cell_iname": ["A549"]})
    create_store(
        tmp_path / "other",
        obs=obs,
        var=pl.DataFrame({"gene_symbol": ["ENSG1", "ENSG2"]}),
        batches=[np.ones((1, 2), dtype=np.float32)],
        measure="response",
        normalisation="z_score",
    )
    message = refused(atlas, tmp_path / "out", drugs=tmp_path / "other")
    assert "share 0 genes" in message and "ENSG1" in message and "SIM" in message


def test_unknown_lines_scores_and_missing_files_are_refused(atlas: Path, tmp_path: Path) -> None:
    assert "SIMLINE01" in refused(atlas, tmp_path / "out", cells=("SIMLINE1",))
    assert "Use cosine" in refused(atlas, tmp_path / "out", options=MatchOptions(score="cosin"))
    assert "no folder" in refused(atlas, tmp_path / "out", drugs=tmp_path / "nothing")
    with pytest.raises(FormatError, match="no table of known targets"):
        read_known(tmp_path / "absent.csv", {})


def test_a_folder_that_holds_something_is_not_overwritten(atlas: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        match_targets(TargetRequest(atlas / "signatures", atlas / "wells"), tmp_path)
