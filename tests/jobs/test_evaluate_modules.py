"""Gene modules of evaluated runs: they appear where a model groups genes, and nowhere else."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pertcast.analysis.gene_modules.analyse import NO_SETS
from pertcast.analysis.gene_sets import GeneSets, read_gmt
from pertcast.encoding import EncoderSpec
from pertcast.models.baselines.ridge import FingerprintRidge
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.evaluate.modules import knowledge_of_run
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

ATLAS = AtlasConfig(
    n_genes=60,
    n_contexts=2,
    n_compounds=10,
    n_unprofiled=4,
    doses=(1.0, 10.0),
    times=(24.0,),
    n_plates=4,
    n_knockouts=6,
    n_pairs=0,
    n_cells=100,
)
TITLE = "Gene modules"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas, its store and two runs of ridge, one a fold."""
    folder = tmp_path_factory.mktemp("modules")
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    ingest([files.wells], folder / "store")
    split = make_split(ExpressionStore.open(folder / "store"), "unseen_compound", n_folds=2)
    split.save(folder / "split.json")
    for fold in range(2):
        overrides = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}"]
        overrides += ["model.name=fingerprint_ridge", "model.config={}", f"data.fold={fold}"]
        run_training(load_config("response_mlp", overrides), folder / f"fold{fold}")
    return folder


def labels_of(folder: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the module of each gene in the atlas' own gene sets, the genes of none in one of their own."""
    genes = ExpressionStore.open(folder / "store").var["gene_symbol"].to_list()
    sets = read_gmt(folder / "atlas" / "gene_sets.gmt").members
    of_gene = {gene: number for number, members in enumerate(sets.values()) for gene in members}
    found = np.array([of_gene.get(gene, len(sets)) for gene in genes], dtype=np.int64)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def evaluate(*words: str) -> str:
    with redirect_stdout(StringIO()) as printed:
        assert pertcast(["evaluate", *words, "--draws", "100"]) == 0
    return printed.getvalue()


def biology_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "biology.json").read_text())
    return content


@dataclass(frozen=True)
class Left:
    """What `pertcast evaluate` of two folds with gene sets printed and left."""

    first: Path
    pooled: Path
    printed: str
    labels: np.ndarray[Any, np.dtype[np.int64]]


@pytest.fixture
def with_modules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ridge say that it groups genes as the atlas does."""
    labels = torch.from_numpy(labels_of(folder))
    monkeypatch.setattr(FingerprintRidge, "gene_modules", lambda self: labels)


@pytest.fixture(scope="module")
def left(folder: Path) -> Left:
    labels, gmt = labels_of(folder), folder / "atlas" / "gene_sets.gmt"
    runs = [str(folder / f"fold{fold}") for fold in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FingerprintRidge, "gene_modules", lambda self: torch.from_numpy(labels))
        printed = evaluate(*runs, "--gmt", str(gmt), "--out", str(folder / "pooled"))
    return Left(folder / "fold0" / "evaluation", folder / "pooled", printed, labels)


def test_modules_are_named_and_drawn_in_the_report_and_told_in_the_terminal(left: Left) -> None:
    assert f"== {TITLE}: what are the groups of genes" in left.printed
    assert "no network given" in left.printed
    report = (left.first / "trust.html").read_text()
    assert "Biology: gene modules" in report and "Conditions and modules" in report
    content = biology_of(left.first)["gene_modules"]
    named = [row for row in content["modules"] if row["sets"] and row["sets"][0]["q"] < 0.05]
    assert len(named) > len(content["modules"]) / 2
    assert all(row["sets"][0]["shared"] == row["genes"] for row in named)
    assert content["contenders"][0]["overall"]["value"] is not None and content["ceiling"] is not None
    assert "**Gene modules.**" in (left.pooled / "model_card.md").read_text()


def test_the_file_of_modules_holds_every_gene_once_and_is_read_as_gene_sets(folder: Path, left: Left) -> None:
    genes = ExpressionStore.open(folder / "store").var["gene_symbol"].to_list()
    back = read_gmt(left.first / "modules.gmt")
    assert sorted(gene for members in back.members.values() for gene in members) == sorted(genes)
    assert len(back) == left.labels.max() + 1
    described = (left.first / "modules.gmt").read_text().splitlines()[0].split("\t")[1]
    assert described.startswith(f"{len(next(iter(back.members.values())))} genes; z not computed")
    assert " q " in described


def test_the_heatmap_shows_held_out_conditions_as_the_evaluation_keeps_them(left: Left) -> None:
    heatmap = biology_of(left.first)["gene_modules"]["heatmap"]
    kept = np.load(left.first / "predictions.npz")
    unit = np.sqrt(np.square(kept["truth"], dtype=np.float64).mean(axis=0))
    place = {name: row for row, name in enumerate(kept["condition_id"].tolist())}
    columns = [int(name.removeprefix("module ")) - 1 for name in heatmap["modules"]]
    for side, values in (("measured", kept["truth"]), ("generated", kept["model"])):
        for name, row in zip(heatmap["conditions"], heatmap[side], strict=True):
            standardised = values[place[name]] / unit
            wanted = [standardised[left.labels == column].mean() for column in columns]
            assert np.allclose(row, wanted, atol=1e-5)


def test_pooled_folds_show_the_modules_of_the_first_and_say_so(left: Left) -> None:
    pooled = biology_of(left.pooled)
    assert pooled["gene_modules"] == biology_of(left.first)["gene_modules"]
    assert any("gene modules are those of fold0, the first of 2" in note for note in pooled["notes"])
    assert (left.pooled / "modules.gmt").read_text() == (left.first / "modules.gmt").read_text()


def earlier_file(folder: Path) -> Path:
    """Return the place of fold 1's modules.gmt, with a file of an earlier time in it."""
    path = folder / "fold1" / "evaluation" / "modules.gmt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("of an earlier time\t\tG1\n")
    return path


def test_a_model_without_modules_shows_none_and_leaves_no_file(folder: Path) -> None:
    path = earlier_file(folder)
    printed = evaluate(str(folder / "fold1"))
    assert TITLE not in printed and biology_of(path.parent)["gene_modules"] is None
    assert not any("modules" in note for note in biology_of(path.parent)["notes"])
    assert "gene modules" not in (path.parent / "trust.html").read_text()
    assert not path.exists()


def test_without_biology_no_modules_are_left(folder: Path, with_modules: None) -> None:
    path = earlier_file(folder)
    assert TITLE not in evaluate(str(folder / "fold1"), "--no-biology")
    assert not path.exists()


def test_a_run_knows_the_sets_and_the_network_that_it_was_trained_with(tmp_path: Path) -> None:
    sets, network = tmp_path / "sets.gmt", tmp_path / "network.tsv"
    sets.write_text("one\t\tA\tB\n")
    network.write_text("A\tB\t0.9\nB\tC\t0.8\nA\tOUTSIDE\t0.9\n")

    def config(**encoder: Any) -> Any:
        return SimpleNamespace(encoder=EncoderSpec(**encoder))

    genes, given = ("A", "B", "C"), GeneSets({"given": ("A",)})
    assert knowledge_of_run(config(gene_sets=sets), genes, given).sets is given
    known = knowledge_of_run(config(gene_sets=sets, gene_network=(network,)), genes)
    assert known.sets is not None and known.sets.source == "sets.gmt"
    assert known.edges is not None and known.edges.tolist() == [[0, 1], [1, 2]]
    assert known.network == "network.tsv"
    gone = knowledge_of_run(config(gene_sets=tmp_path / "gone.gmt"), genes)
    assert gone.sets is None and "gone.gmt, of the training, is not there" in gone.sets_note
    unnamed = config(gene_network=(network,), gene_names=tmp_path / "gone.tsv")
    assert knowledge_of_run(unnamed, genes).edges is None
    nothing = knowledge_of_run(config(), genes)
    assert nothing.sets_note == NO_SETS and nothing.edges is None
