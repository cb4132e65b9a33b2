"""`pertcast data split` with draws, as a user types it: what is printed, saved and refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from pertcast_data.splits import Split
from pertcast_jobs.cli import run

GENES = [f"GENE{number:02d}" for number in range(16)]
PAIRS = [f"{first}+{second}" for first, second in itertools.pairwise(GENES[:11])]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("draws")
    names = ["control", *GENES, *PAIRS] * 3
    obs = pd.DataFrame(
        {"cell_line": "K562", "perturbation": names, "perturbation_type": "CRISPRa"},
        index=[f"cell{number}" for number in range(len(names))],
    )
    values = np.random.default_rng(0).poisson(2.0, (len(names), 20)).astype(np.float32)
    anndata.AnnData(values, obs, pd.DataFrame(index=[f"G{n}" for n in range(20)])).write_h5ad(
        folder / "a.h5ad"
    )
    assert run(["data", "ingest", str(folder / "a.h5ad"), "--out", str(folder / "store")]) == 0
    return folder / "store"


def test_a_share_of_pairs_is_drawn_printed_and_audited(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "additive.json"
    words = ["--kind", "unseen_pair", "--test-share", "0.3", "--folds", "5", "--out", str(out)]
    assert run(["data", "split", str(store), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "5 draws of 30 % of the groups; a group may be tested in several" in lines[0]
    assert [line.split()[3] for line in lines[3:8]] == ["3"] * 5
    assert Split.load(out).test_share == 0.3
    assert run(["data", "audit", str(out), str(store)]) == 0
    assert capsys.readouterr().out.startswith("Clean")


def test_drawn_genes_are_named(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "unseen.json"
    asked = [
        "--kind",
        "unseen_perturbation",
        "--test-groups",
        "4",
        "--test-among",
        "combined",
        "--folds",
        "2",
    ]
    assert run(["data", "split", str(store), *asked, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "2 draws of 4 groups, of those measured alone and in a combination" in lines[0]
    fold = Split.load(out).folds[1]
    assert f"fold 1 tests {', '.join(fold.held_out)}" in lines and set(fold.held_out) <= set(GENES[:11])
    assert run(["data", "split", str(store), *asked, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["held_out"][1] == list(fold.held_out) and told["test_groups"] == 4


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--kind", "unseen_pair", "--test-share", "30"], 2, "--test-share 30 is no share"),
        (["--kind", "gears", "--test-groups", "4"], 2, "give a share of genes (--test-share)"),
        (["--kind", "unseen_perturbation", "--test-groups", "99"], 1, "Test at most 14"),
        (["--kind", "unseen_perturbation", "--test-among", "pairs"], 2, "There are all, combined"),
    ],
)
def test_impossible_draws_are_refused_with_the_remedy(
    words: list[str], code: int, said: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "split.json"
    assert run(["data", "split", str(store), *words, "--out", str(out)]) == code
    assert said in capsys.readouterr().err and not out.exists()
