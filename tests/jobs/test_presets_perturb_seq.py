"""Presets of Perturb-seq screens: labels of pairs, draws of pairs and genes, published figures by stratum."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.presets import Preset, PresetRun, load_preset
from pertcast_jobs.presets.expected import expected_lines
from pertcast_jobs.presets.preset import PresetSplit
from pydantic import ValidationError
from scipy import sparse

PERTURBED = [f"GENE{number:02d}" for number in range(18)]
PAIRS = [pair for pair in itertools.combinations(PERTURBED[:14], 2) if sum(int(g[4:]) for g in pair) % 3 == 0]
GENES = [f"GENE{number:02d}" for number in range(40)]
DEVEL = "perturb_seq/norman_mcfaline_devel.h5ad"


def write_cells(
    path: Path,
    obs: Mapping[str, Sequence[Any]],
    effects: np.ndarray[Any, Any],
    *,
    as_logarithm: bool = False,
    has_ids: bool = False,
) -> None:
    """Counts (or logarithms) of cells whose rates are changed by `effects` (cells, genes)."""
    random = np.random.default_rng(3)
    counts = random.poisson(random.gamma(2.0, 1.0, len(GENES)) * np.exp(effects)).astype(np.float32)
    values = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)) if as_logarithm else counts
    table = pd.DataFrame(dict(obs), index=[f"cell{number}" for number in range(len(counts))])
    var = pd.DataFrame(index=pd.Index(GENES))
    if has_ids:
        var = pd.DataFrame({"gene_name": GENES}, index=[f"ENSG{n:011d}" for n in range(len(GENES))])
    anndata.AnnData(sparse.csr_matrix(values), table, var).write_h5ad(path)


def norman_cells(n_cells: int = 4) -> tuple[list[tuple[str, ...]], np.ndarray[Any, Any]]:
    """Return the genes of each cell, () for controls, and additive effects."""
    named = [(), *((gene,) for gene in PERTURBED), *PAIRS]
    cells = [genes for genes in named for _ in range(n_cells if genes else 30)]
    own = np.random.default_rng(1).normal(0, 0.7, (len(PERTURBED), len(GENES)))
    effects = np.array([own[[PERTURBED.index(gene) for gene in genes]].sum(axis=0) for genes in cells])
    return cells, effects


@pytest.fixture(scope="module")
def norman(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as scPerturb gives it, only smaller; half of the pairs are written the other way round."""
    folder = tmp_path_factory.mktemp("norman")
    cells, effects = norman_cells()
    labels = ["_".join(genes[:: -1 if n % 2 else 1]) or "control" for n, genes in enumerate(cells)]
    obs: dict[str, Sequence[Any]] = {
        "perturbation": labels,
        "perturbation_type": ["CRISPR"] * len(cells),
        "cell_line": ["K562"] * len(cells),
        "gemgroup": [n % 2 for n in range(len(cells))],
    }
    write_cells(folder / "NormanWeissman2019_filtered.h5ad", obs, effects)
    return folder


def ingested(asked: PresetRun) -> ExpressionStore:
    """Ingest a preset's files by the very command line that it would run."""
    asked.prepare()
    assert pertcast(next(asked.steps()).words) == 0
    return ExpressionStore.open(asked.store)


def asked_of(name: str, folder: Path, out: Path, *words: str) -> PresetRun:
    return PresetRun(load_preset(name), folder, out, ("model.name=additive", *words), "response_mlp")


def perturbations(store: ExpressionStore) -> set[str]:
    return set(store.conditions.filter(~pl.col("is_control"))["targets"])


EVERYTHING = {*PERTURBED, *("+".join(pair) for pair in PAIRS)}


def test_pairs_of_scperturb_are_read_in_one_order_and_controls_by_their_word(
    norman: Path, tmp_path: Path
) -> None:
    store = ingested(asked_of("norman2019", norman, tmp_path / "out"))
    assert perturbations(store) == EVERYTHING
    assert set(store.conditions["pert_type"]) == {"trt_act", "ctl_vector"}
    assert store.conditions.filter(pl.col("is_control")).height == 1 and store.normalisation == "counts"
    assert store.obs["batch_id"].n_unique() == 2


def test_the_copy_of_gears_is_read_with_the_overrides_of_the_hint(tmp_path: Path) -> None:
    cells, effects = norman_cells()
    labels = ["+".join([*genes, "ctrl"][:2]) if genes else "ctrl" for genes in cells]
    obs = {"condition": labels, "cell_type": ["A549"] * len(cells), "dose_val": ["1+1"] * len(cells)}
    folder = tmp_path / "gears"
    folder.mkdir()
    write_cells(folder / "NormanWeissman2019_filtered.h5ad", obs, effects, as_logarithm=True, has_ids=True)
    hint = next(hint for hint in load_preset("norman2019").hints if "perturb_processed" in hint)
    words = (
        "ingest.cmap_name=condition",
        "ingest.controls={column: condition, values: [ctrl], pert_type: ctl_vector}",
        "ingest.batch_id={value: null}",
        "ingest.normalisation=log1p_cpm",
    )
    assert all(word in " ".join(hint.split()) for word in words)
    store = ingested(asked_of("norman2019", folder, tmp_path / "out", *words))
    assert perturbations(store) == EVERYTHING and set(store.conditions["cell_iname"]) == {"K562"}
    assert store.conditions["is_control"].sum() == 1


def test_adamson_and_replogle_are_read_by_their_own_columns(tmp_path: Path) -> None:
    cells = [genes for genes in norman_cells()[0] if len(genes) < 2]
    effects = np.zeros((len(cells), len(GENES)))
    adamson, replogle = tmp_path / "adamson", tmp_path / "replogle"
    adamson.mkdir()
    replogle.mkdir()
    labels = [f"{genes[0]}+ctrl" if genes else "ctrl" for genes in cells]
    obs = {"condition": labels, "cell_type": ["K562(?)"] * len(cells)}
    write_cells(adamson / "perturb_processed.h5ad", obs, effects, as_logarithm=True, has_ids=True)
    store = ingested(asked_of("adamson2016", adamson, tmp_path / "out_adamson"))
    assert perturbations(store) == set(PERTURBED) and "GENE00" in store.genes
    assert set(store.conditions["pert_type"]) == {"trt_sh", "ctl_vector"}
    for name, line in (("replogle_k562_essential", "K562"), ("replogle_rpe1_essential", "RPE1")):
        preset = load_preset(name)
        own: dict[str, Sequence[Any]] = {
            "gene": [genes[0] if genes else "non-targeting" for genes in cells],
            "gem_group": [n % 3 for n in range(len(cells))],
            "sgID_AB": [f"{genes[0]}_P1|{genes[0]}_P2" if genes else "nt_1|nt_2" for genes in cells],
        }
        write_cells(replogle / preset.files[0].name, own, effects, has_ids=True)
        store = ingested(asked_of(name, replogle, tmp_path / f"out_{name}"))
        assert perturbations(store) == set(PERTURBED)
        assert set(store.conditions["cell_iname"]) == {line} and store.obs["batch_id"].n_unique() == 3


def test_the_splits_of_norman_are_those_of_the_publications(norman: Path, tmp_path: Path) -> None:
    splits = [step.words for step in asked_of("norman2019", norman, tmp_path / "out").steps()][1::3]
    told = [" ".join(words[3:-2]) for words in splits]
    assert told == [
        "--kind unseen_pair --folds 5 --seed 0 --test-share 0.3",
        "--kind unseen_perturbation --folds 5 --seed 0 --test-groups 12 --test-among combined",
        "--kind gears --folds 5 --seed 0 --test-share 0.25",
    ]


def test_the_published_figures_are_those_of_the_table() -> None:
    columns = (
        "pearson_delta",
        "pearson_delta_top20",
        "de_direction_match",
        "overlap_at_N",
        "discrimination_l1",
    )
    rows = {
        (one.who.split()[0], one.split, one.stratum): [one.values.get(name) for name in columns]
        for one in load_preset("norman2019").published
    }
    assert rows["scBIG", "unseen_pair", ""] == [0.850, 0.823, 0.920, 0.859, 0.855]
    assert rows["CellFlow", "unseen_pair", ""] == [0.789, 0.728, 0.915, 0.811, 0.758]
    assert rows["scBIG", "unseen_perturbation", "single, unseen"] == [0.651, None, None, 0.633, None]
    assert rows["CellFlow", "unseen_perturbation", "single, unseen"] == [0.593, None, None, 0.628, None]


@dataclass(frozen=True)
class Finished:
    """Norman's preset with two draws a split and few genes held out, run to its end."""

    asked: PresetRun
    printed: dict[str, str]


@pytest.fixture(scope="module")
def finished(norman: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    plain = load_preset("norman2019")
    fewer = {"unseen_perturbation": {"folds": 2, "test_groups": 4}}
    splits = tuple(
        split.model_copy(update=fewer.get(split.kind, {"folds": 2}))
        for split in plain.splits
        if split.kind != "gears"
    )
    preset = plain.model_copy(update={"splits": splits})
    out = tmp_path_factory.mktemp("finished") / "out"
    asked = PresetRun(preset, norman, out, ("model.name=additive",), "response_mlp")
    asked.prepare()
    for step in asked.steps():
        assert pertcast(step.words) == 0, step.line
    tables = {
        split.kind: "\n".join(expected_lines(preset, split, asked.report(split))) for split in preset.splits
    }
    return Finished(asked, tables)


def test_the_additive_rule_is_measured_over_draws_that_share_pairs(finished: Finished) -> None:
    split = finished.asked.preset.splits[0]
    manifest = Split.load(finished.asked.out / "unseen_pair" / "split.json")
    assert manifest.test_share == 0.3 and len(manifest.folds) == 2
    tested = [name for fold in manifest.folds for name in fold.test]
    assert len(set(tested)) < len(tested) == 2 * round(0.3 * len(PAIRS))
    trust = json.loads((finished.asked.report(split) / "trust.json").read_text())
    assert len(trust["conditions"]) == len(tested) and trust["by_members"] == []
    assert len({row["cluster"] for row in trust["conditions"]}) == len(set(tested))
    table = finished.printed["unseen_pair"]
    assert table.startswith("norman2019, unseen_pair, 2 draws of 30 %, seed 0")
    assert "0.850" in table and "sd between 2 draws" in table and "single, unseen" not in table


def test_unseen_genes_are_told_by_stratum_with_the_published_rows_in_theirs(finished: Finished) -> None:
    split = finished.asked.preset.splits[1]
    trust = json.loads((finished.asked.report(split) / "trust.json").read_text())
    strata = {stratum["name"]: stratum for stratum in trust["by_members"]}
    assert strata["single, unseen"]["n_conditions"] == 2 * 4
    assert strata["double, 1 unseen"]["n_conditions"] > 0 and "double, 0 unseen" not in strata
    table = finished.printed["unseen_perturbation"]
    everyone, alone, *_ = table.split("norman2019, unseen_perturbation, 2 draws of 4 groups, seed 0")[1:]
    assert "published" not in everyone and "measured" in everyone
    assert alone.startswith(": single, unseen") and "0.651" in alone and "sd between 2 draws" in alone
    measured = next(line for line in alone.splitlines() if line.startswith("  measured"))
    model = next(entry["name"] for entry in trust["table"] if entry["role"] == "model")
    mean = strata["single, unseen"]["scores"][model]["pearson_delta"]["mean"]
    assert mean is None or f"{mean:.3f} [" in measured


def test_results_of_presets_without_draws_are_recognised_by_their_old_record() -> None:
    assert PresetSplit(kind="unseen_compound").model_dump(exclude_none=True) == {
        "kind": "unseen_compound",
        "folds": 4,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": [{"kind": "unseen_pair", "test_share": 1.2}]}, "less than 1"),
        ({"splits": [{"kind": "unseen_pair", "test_groups": 0}]}, "greater than or equal to 1"),
        (
            {"published": [{"who": "x", "split": "gears", "stratum": "pairs", "values": {}}]},
            "unknown stratum; known: single, seen; single, unseen; double, 0 unseen",
        ),
    ],
)
def test_a_preset_with_impossible_draws_or_strata_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Preset.model_validate({**load_preset("norman2019").model_dump(), **change})


def test_the_norman_part_of_the_catalogue_is_ingested_and_split(
    shared_data: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared_data(DEVEL)
    (tmp_path / "norman.yaml").write_text(
        "cell_iname: {value: K562}\n"
        "cmap_name: perturbation\n"
        "pert_type: {value: trt_act}\n"
        "pert_dose: {value: null}\n"
        "controls: {column: perturbation, values: [control], pert_type: ctl_vector}\n"
        "keep: {dataset: [norman19]}\n"
    )
    store, split = tmp_path / "store", tmp_path / "split.json"
    assert (
        pertcast(["data", "ingest", str(source), "--map", str(tmp_path / "norman.yaml"), "--out", str(store)])
        == 0
    )
    opened = ExpressionStore.open(store)
    assert set(opened.conditions["cell_iname"]) == {"K562"}
    assert set(opened.conditions["pert_type"]) == {"trt_act", "ctl_vector"}
    named = perturbations(opened)
    assert all("+".join(sorted(name.split("+"))) == name for name in named)
    doubles = {name for name in named if "+" in name}
    known = {name for name in doubles if set(name.split("+")) <= named}
    capsys.readouterr()
    asked = ["--kind", "unseen_pair", "--test-share", "0.3", "--folds", "5", "--json"]
    assert pertcast(["data", "split", str(store), *asked, "--out", str(split)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [fold["test"] for fold in told["folds"]] == [round(0.3 * len(doubles))] * 5
    assert told["test_share"] == 0.3 and len(known) == 2
