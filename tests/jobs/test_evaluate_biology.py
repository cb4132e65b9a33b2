"""Biology of evaluated runs: what appears by default and on request, what is a note, and the model card."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore, create_store
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.evaluate import evaluate_run
from pertcast_jobs.evaluate.biology import add_biology
from pertcast_jobs.evaluate.biology_asked import BiologyAsked
from pertcast_jobs.evaluate.thinning import whole_perturbations
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

ATLAS = AtlasConfig(
    n_genes=50,
    n_contexts=2,
    n_compounds=10,
    n_unprofiled=4,
    doses=(0.1, 1.0, 10.0),
    times=(24.0,),
    n_plates=4,
    n_knockouts=6,
    n_pairs=0,
    n_cells=100,
)
RIDGE = ["model.name=fingerprint_ridge", "model.config={}"]
PARTS = ("pathways", "dose_response", "drug_sensitivity", "well_populations", "latent_space")
DEFAULT = {"dose_response", "well_populations", "latent_space"}


def train(folder: Path, out: Path, *overrides: str) -> Path:
    data = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}"]
    run_training(load_config("response_mlp", [*data, *RIDGE, *overrides]), out)
    return out


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert pertcast(["evaluate", *words, "--draws", "100", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def made(biology: dict[str, Any]) -> set[str]:
    return {name for name in PARTS if biology[name] is not None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas with three doses, its store and split in two folds."""
    folder = tmp_path_factory.mktemp("biology")
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    ingest([files.wells], folder / "store")
    split = make_split(ExpressionStore.open(folder / "store"), "unseen_compound", n_folds=2)
    split.save(folder / "split.json")
    return folder


@pytest.fixture(scope="module")
def folds(folder: Path) -> list[Path]:
    return [train(folder, folder / f"fold{fold}", f"data.fold={fold}") for fold in range(2)]


@dataclass(frozen=True)
class Left:
    """What `pertcast evaluate RUN` printed and left."""

    run: Path
    printed: str
    files: dict[str, str]


@pytest.fixture(scope="module")
def left(folds: list[Path]) -> Left:
    with redirect_stdout(StringIO()) as printed:
        assert pertcast(["evaluate", str(folds[0]), "--draws", "100"]) == 0
    names = ("trust.json", "trust.html", "biology.json", "model_card.md")
    files = {name: (folds[0] / "evaluation" / name).read_text() for name in names}
    return Left(folds[0], printed.getvalue(), files)


def test_dose_and_time_wells_and_latent_space_appear_unasked(left: Left) -> None:
    printed, report = left.printed, left.files["trust.html"]
    for title in ("Dose and time", "Populations of wells", "Latent space"):
        assert f"== {title}: " in printed
        assert f"Biology: {title[0].lower()}{title[1:]}" in report
    assert printed.index("Verdict:") < printed.index("== Dose and time") < printed.index("report: ")
    content = json.loads(left.files["biology.json"])
    assert content["schema_version"] == 1 and made(content) == DEFAULT and not content["notes"]
    assert f"pertcast evaluate {left.run.name}</p>" in report


def test_biology_is_the_same_every_time_and_changes_nothing_in_the_trust_result(
    left: Left, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = left.run / "evaluation"
    found = as_json(capsys, str(left.run))
    assert found["biology"] == json.loads(left.files["biology.json"])
    assert all((evaluation / name).read_text() == text for name, text in left.files.items())
    without = as_json(capsys, str(left.run), "--no-biology")
    assert without["biology"] is None and without["verdict"] == found["verdict"]
    assert (evaluation / "trust.json").read_text() == left.files["trust.json"]
    assert not (evaluation / "biology.json").exists()
    assert "Biology:" not in (evaluation / "trust.html").read_text()


def test_gene_sets_of_compounds_give_pathway_agreement_and_say_why_there_is_no_gene_function(
    folds: list[Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gmt = folder / "atlas" / "gene_sets.gmt"
    found = as_json(capsys, str(folds[0]), "--gmt", str(gmt), "--no-biology")
    assert made(found["biology"]) == {"pathways"} and found["gene_function"] is None
    assert found["biology"]["pathways"]["ceiling"] is not None
    assert found["biology"]["notes"][0].startswith("Gene function: left out. None of the")
    report = (folds[0] / "evaluation" / "trust.html").read_text()
    assert "Biology: pathways" in report and f"--gmt {gmt.name} --no-biology</p>" in report


def test_gene_sets_of_other_genes_are_refused_with_the_reason(
    folds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.gmt").write_text("elsewhere\t\t" + "\t".join(f"OTHER{i}" for i in range(20)))
    words = ["evaluate", str(folds[0]), "--gmt", str(tmp_path / "other.gmt"), "--draws", "100"]
    assert pertcast([*words, "--no-biology"]) == 1
    assert "perturbs a single gene" in capsys.readouterr().err


def test_a_table_of_drug_sensitivity_is_joined_and_judged(
    folds: list[Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atlas = folder / "atlas"
    words = ["--sensitivity", str(atlas / "sensitivity.csv"), "--library", str(atlas / "library.csv")]
    found = as_json(capsys, str(folds[0]), *words, "--dose", "1", "--no-biology")
    sensitivity = found["biology"]["drug_sensitivity"]
    assert made(found["biology"]) == {"drug_sensitivity"} and sensitivity["facts"]["dose"] == 1.0
    n_drugs = pl.read_csv(atlas / "sensitivity.csv")["pert_id"].n_unique()
    assert sensitivity["drug_blind"]["n_groups"] == n_drugs


def test_a_table_that_does_not_join_is_a_note_and_one_that_cannot_be_read_is_refused_at_once(
    folds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, broken = tmp_path / "other.csv", tmp_path / "broken.csv"
    other.write_text("drug,smiles,cell,ln_ic50\na,CCO,HELA,1.0\n")
    broken.write_text("nothing,of,this\n1,2,3\n")
    found = as_json(capsys, str(folds[0]), "--sensitivity", str(other), "--no-biology")
    assert "Drug sensitivity: left out." in found["biology"]["notes"][0]
    assert "HELA" in found["biology"]["notes"][0]
    assert pertcast(["evaluate", str(folds[0]), "--sensitivity", str(broken)]) == 1
    assert pertcast(["evaluate", str(folds[0]), "--library", str(other)]) == 2
    assert "belong to --sensitivity" in capsys.readouterr().err


def test_folds_are_pooled_and_no_compound_is_seen_by_the_run_that_generates_it(
    folds: list[Path], folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    atlas = folder / "atlas"
    words = ["--sensitivity", str(atlas / "sensitivity.csv"), "--library", str(atlas / "library.csv")]
    runs = [str(fold) for fold in folds]
    *members, pooled = as_json(capsys, *runs, *words, "--out", str(tmp_path))["evaluations"]
    assert made(pooled["biology"]) == {*DEFAULT, "drug_sensitivity"}
    assert all(made(member["biology"]) == DEFAULT for member in members)
    assert "see the pooled report" in members[0]["biology"]["notes"][0]
    assert any("those of fold0, the first of 2" in note for note in pooled["biology"]["notes"])
    assert pooled["biology"]["latent_space"] == members[0]["biology"]["latent_space"]
    n_curves = [len(each["biology"]["dose_response"]["curves"]) for each in (*members, pooled)]
    assert n_curves[-1] == sum(n_curves[:-1]) > 0
    remarks = pooled["biology"]["drug_sensitivity"]["facts"]["remarks"]
    assert any(remark.startswith("0 of") for remark in remarks)
    card = (tmp_path / "model_card.md").read_text()
    assert all(f"## Training: {fold.name}" in card for fold in folds)


def test_one_dose_and_one_time_are_a_note_and_no_crash(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = [f"drug{i}" for i in range(12) for _ in range(2)]
    smiles = [f"{'C' * (i + 1)}O" for i in range(12) for _ in range(2)]
    obs = pl.DataFrame(
        {"cell_iname": "A", "pert_type": "trt_cp", "pert_id": names, "canonical_smiles": smiles,
         "pert_dose": 1.0, "pert_dose_unit": "uM", "pert_time": 24.0, "pert_time_unit": "h"}
    )  # fmt: skip
    store = create_store(
        tmp_path / "store", obs=obs, var=pl.DataFrame({"gene_symbol": [f"G{i}" for i in range(30)]}),
        batches=[random.normal(size=(24, 30)).astype(np.float32)], measure="response",
        normalisation="z_score",
    )  # fmt: skip
    make_split(store, "unseen_compound").save(tmp_path / "split.json")
    evaluation = evaluate_run(train(tmp_path, tmp_path / "run"), n_draws=100)
    (found,) = add_biology([evaluation], BiologyAsked(n_draws=100))
    assert found.biology is not None and found.biology.dose_response is None
    assert any("at most 1 doses and 1 times" in note for note in found.biology.notes)
    assert "== Notes on biology" in found.biology.lines()
    assert json.loads((found.folder / "biology.json").read_text())["dose_response"] is None


def test_of_many_conditions_whole_perturbations_are_kept_evenly_spaced_and_the_rest_is_counted(
    folds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pl.DataFrame({"pert_id": [f"p{i // 4:02d}" for i in range(40)]})
    kept = whole_perturbations(table, 12)
    assert table["pert_id"].gather(kept).unique().sort().to_list() == ["p00", "p04", "p09"]
    assert len(kept) == 12 and len(whole_perturbations(table, 40)) == 40
    monkeypatch.setattr("pertcast_jobs.evaluate.biology.MOST_DOSE_CONDITIONS", 15)
    (found,) = add_biology([evaluate_run(folds[1], n_draws=100)], BiologyAsked(n_draws=100))
    assert found.biology is not None and found.biology.dose_response is not None
    n_held_out = found.trust.board.conditions.height
    assert found.biology.notes == (
        f"Dose and time: 12 of {n_held_out} held-out conditions, those of evenly spaced perturbations.",
    )


def test_errors_of_the_program_are_not_turned_into_notes(
    folds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr("pertcast_jobs.evaluate.biology.latent_space_of_run", broken)
    evaluation = evaluate_run(folds[1], n_draws=100)
    with pytest.raises(RuntimeError, match="a fault of the program"):
        add_biology([evaluation], BiologyAsked(n_draws=100))


def test_the_model_card_holds_the_figures_of_the_trust_result_and_its_path_is_printed(
    left: Left,
) -> None:
    assert f"card:   {left.run / 'evaluation' / 'model_card.md'}" in left.printed
    card, content = left.files["model_card.md"], json.loads(left.files["trust.json"])
    for row in content["table"]:
        found = row["metrics"]["pearson_delta"]
        if found["mean"] is not None:
            assert f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" in card
    assert content["verdict"]["text"] in card and content["facts"]["data_hash"] in card
    assert content["facts"]["split_hash"] in card
    assert all(f"- {sentence}" in card for sentence in content["not_shown"])
    for title in ("Data", "Training: fold0", "Results", "Biology", "Intended use", "Not for"):
        assert f"\n## {title}\n" in card
    assert f"pertcast evaluate {left.run.name}\n" in card and str(left.run.parent) not in card
