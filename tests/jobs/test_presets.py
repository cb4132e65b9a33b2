"""Presets: each says only what exists, finds its files, and runs from raw files to the table at the end."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml
from pertcast_data.errors import ConfigError
from pertcast_data.ingest import ingest, load_mapping
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.presets import Preset, PresetRun, load_preset, shipped_presets
from pertcast_jobs.presets.expected import expected_lines
from pertcast_jobs.run_config import load_config
from pydantic import ValidationError
from scipy import sparse

SMILES = (
    "CCO", "CCN", "CCCl", "c1ccccc1O", "c1ccccc1N", "CC(=O)O", "CC(=O)N", "CCCCO", "C1CCCCC1", "C1CCNCC1",
    "c1ccncc1", "OCCO",
)  # fmt: skip
GENES = [str(1000 + 7 * number) for number in range(30)]
QUICK = ("--config", "response_mlp", "model.name=fingerprint_ridge")
LEVEL_3 = ("level3_beta_trt_cp_n96x12328.gctx", "level3_beta_ctl_n24x12328.gctx")


def write_gctx(path: Path, wells: Sequence[str], genes: Sequence[str], seed: int) -> None:
    """Level 3 as LINCS writes it: log2 intensities, and only ids beside them."""
    levels = np.random.default_rng(7).normal(8.0, 1.0, len(GENES))
    noise = np.random.default_rng(seed).normal(0.0, 0.3, (len(wells), len(GENES)))
    matrix = (levels + noise)[:, [GENES.index(gene) for gene in genes]].astype(np.float32)
    with h5py.File(path, "w") as file:
        file.attrs["version"] = "GCTX1.0"
        file["0/DATA/0/matrix"] = matrix
        file["0/META/ROW/id"] = np.array([gene.encode() for gene in genes])
        file["0/META/COL/id"] = np.array([well.encode() for well in wells])


def wells(plate: str, id_column: str, line_column: str, name_column: str) -> pl.DataFrame:
    """Twelve compounds at two doses, twice, in two lines; six DMSO wells a plate and one vector control."""
    rows: list[dict[str, Any]] = []
    for line in ("A375", "HT29"):
        own = {line_column: line, plate: f"{line}-plate", "pert_time": "24", "pert_time_unit": "h"}
        treated = {**own, "pert_type": "trt_cp", "pert_dose_unit": "uM"}
        rows += [
            {**treated, "pert_id": f"BRD-K{n:08d}", name_column: f"drug {n}", "pert_dose": dose}
            for n in range(len(SMILES))
            for dose in ("1.11", "10.0")
            for _ in range(2)
        ]
        control = {
            **own,
            name_column: "DMSO",
            "pert_id": "DMSO",
            "pert_dose": "-666",
            "pert_dose_unit": "-666",
        }
        rows += [{**control, "pert_type": "ctl_vehicle"} for _ in range(6)]
        rows += [
            {**control, "pert_id": "EMPTY_VECTOR", name_column: "EMPTY_VECTOR", "pert_type": "ctl_vector"}
        ]
    frame = pl.DataFrame(rows)
    return frame.with_columns(
        pl.Series(id_column, [f"{plate}_{number}:A{number:02d}" for number in range(len(rows))])
    )


def write_tsv(table: pl.DataFrame, path: Path) -> None:
    table.write_csv(path, separator="\t")


def write_lincs(folder: Path) -> Path:
    """Write a folder as clue.io gives it, only smaller."""
    folder.mkdir()
    table = wells("rna_plate", "sample_id", "cell_iname", "cmap_name")
    treated = table.filter(pl.col("pert_type") == "trt_cp")["sample_id"].to_list()
    controls = table.filter(pl.col("pert_type") != "trt_cp")["sample_id"].to_list()
    write_gctx(folder / LEVEL_3[0], treated, GENES, 1)
    write_gctx(folder / LEVEL_3[1], controls, GENES[::-1], 2)
    write_tsv(table, folder / "instinfo_beta.txt")
    ids = [f"BRD-K{n:08d}" for n in range(len(SMILES))]
    compounds = pl.DataFrame({"pert_id": ids, "target": "A", "canonical_smiles": SMILES, "inchi_key": ""})
    repeated = compounds.with_columns(target=pl.lit("B"))
    write_tsv(pl.concat([compounds, repeated]), folder / "compoundinfo_beta.txt")
    space = ["landmark"] * 24 + ["best inferred"] * 4 + ["inferred"] * 2
    genes = {"gene_id": GENES, "gene_symbol": [f"GENE{n}" for n in range(30)], "feature_space": space}
    write_tsv(pl.DataFrame(genes), folder / "geneinfo_beta.txt")
    return folder


@pytest.fixture
def lincs(tmp_path: Path) -> Path:
    return write_lincs(tmp_path / "lincs")


@dataclass(frozen=True)
class Finished:
    """A preset that was run to its end: the user's folder, the results, and what was printed."""

    lincs: Path
    out: Path
    printed: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root = tmp_path_factory.mktemp("finished")
    lincs, printed = write_lincs(root / "lincs"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert pertcast(command(lincs, root / "out")) == 0
    return Finished(lincs, root / "out", printed.getvalue())


def command(lincs: Path, out: Path, *more: str) -> list[str]:
    return ["preset", "run", "lincs2020", "--data", str(lincs), "--out", str(out), *QUICK, *more]


@pytest.mark.parametrize("name", shipped_presets())
def test_every_preset_is_valid_and_says_where_its_files_come_from(name: str) -> None:
    preset = load_preset(name)
    assert preset.title and preset.where and preset.terms and "http" not in preset.model_dump_json()
    trained = load_config(preset.config, [f"{key}={value}" for key, value in preset.overrides.items()])
    assert trained.model.name == preset.config
    assert pertcast(["preset", "show", name]) == 0


def test_the_help_names_every_family_of_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    families = {"lincs": "LINCS", "sciplex": "sci-Plex", "tahoe": "Tahoe"}
    named = {
        next((word for start, word in families.items() if name.startswith(start)), "Perturb-seq")
        for name in shipped_presets()
    }
    assert pertcast(["preset", "--help"]) == 0
    text = capsys.readouterr().out
    assert {word for word in named if word not in text} == set()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": [{"kind": "unseen_drug"}]}, "unknown kind of split"),
        ({"metrics": ["well_pearsn"]}, "unknown metric well_pearsn; nearest: well_pearson"),
        (
            {"ingest": {"tables": [{"file": "other.txt", "key": "a"}]}},
            "other.txt is none of the preset's files",
        ),
        ({"files": [{"name": "a.txt", "what": "b"}]}, "no file holds profiles"),
        ({"published": [{"who": "x", "split": "random", "values": {}}]}, "belong to no split"),
    ],
)
def test_a_preset_that_contradicts_itself_is_refused(change: dict[str, Any], message: str) -> None:
    plain = load_preset("lincs2020").model_dump()
    with pytest.raises(ValidationError, match=message):
        Preset.model_validate({**plain, **change})


def test_from_raw_files_to_the_table_of_published_and_measured_numbers(finished: Finished) -> None:
    store = ExpressionStore.open(finished.out / "store")
    assert store.genes == tuple(f"GENE{n}" for n in range(24)) and store.n_rows == 108
    treated = store.conditions.filter(~pl.col("is_control"))
    assert treated["canonical_smiles"].null_count() == 0
    assert treated["pert_dose"].unique().sort().to_list() == [1.11, 10.0]
    split = Split.load(finished.out / "unseen_compound" / "split.json")
    assert split.kind == "unseen_compound" and len(split.folds) == 4
    report = json.loads((finished.out / "unseen_compound" / "report" / "trust.json").read_text())
    assert report["facts"]["folds"] == [0, 1, 2, 3]
    table = finished.printed[finished.printed.rindex("lincs2020, unseen_compound, 4 folds") :]
    model = next(entry for entry in report["table"] if entry["role"] == "model")
    measured = model["well_metrics"]["well_pearson"]["mean"]
    assert "0.870 ± 0.001" in table and f"{measured:.3f} [" in table
    assert "baseline   Mean response of the plate" in table
    commands = [line.split()[3] for line in finished.printed.splitlines() if "] $ pertcast " in line]
    assert commands == ["data", "data", "train", "evaluate"]
    mapping = load_mapping(finished.out / "mapping.yaml")
    assert mapping.tables[0].file == (finished.lincs / "instinfo_beta.txt",)


def test_a_second_run_goes_on_where_the_first_stopped_and_does_nothing_twice(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    results = finished.out / "unseen_compound"
    bundle = results / "runs" / "fold3-seed0" / "bundle" / "bundle.json"
    first = bundle.read_bytes()
    (results / "report" / "trust.html").unlink()
    assert pertcast(command(finished.lincs, finished.out)) == 0
    assert capsys.readouterr().out.count("done already") == 3
    assert bundle.read_bytes() == first
    assert pertcast(command(finished.lincs, finished.out, "encoder.fingerprint_bits=64")) == 1
    assert "holds results of other settings: train" in capsys.readouterr().err


def test_an_interrupted_training_is_not_taken_for_a_done_one(lincs: Path, tmp_path: Path) -> None:
    asked = PresetRun(load_preset("lincs2020"), lincs, tmp_path, ("model.name=train_mean",), "response_mlp")
    train = list(asked.steps())[2]
    assert train.words[0] == "train" and len(train.proofs) == 4
    train.result.mkdir(parents=True)
    for proof in train.proofs[:3]:
        proof.mkdir(parents=True)
    assert not train.is_done
    train.proofs[3].mkdir(parents=True)
    assert train.is_done


def test_a_dry_run_prints_every_command_and_writes_nothing(
    lincs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert (
        pertcast(
            command(lincs, out, "ingest.genes.keep.feature_space=[landmark, best inferred]", "--dry-run")
        )
        == 0
    )
    printed = capsys.readouterr().out
    lines = [line.split()[2] for line in printed.splitlines() if line.startswith("$ pertcast")]
    assert lines == ["data", "data", "train", "evaluate"] and not out.exists()
    assert "best inferred" in printed and "0.870 ± 0.001" in printed


def test_missing_files_are_named_with_what_they_hold_and_where_they_come_from(
    lincs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (lincs / "geneinfo_beta.txt").rename(lincs / "geneinfo_beta.txt.gz")
    (lincs / LEVEL_3[1]).unlink()
    assert pertcast(command(lincs, tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert "lacks 2 of the 5 files" in error and "level3_beta_ctl_n*x12328.gctx" in error
    assert "gunzip -k geneinfo_beta.txt.gz" in error and "clue.io" in error and "http" not in error
    assert not (tmp_path / "out").exists()
    write_gctx(lincs / "level3_beta_ctl_n1x12328.gctx", ["a"], GENES, 0)
    write_gctx(lincs / "level3_beta_ctl_n2x12328.gctx", ["a"], GENES, 0)
    (lincs / "geneinfo_beta.txt.gz").rename(lincs / "geneinfo_beta.txt")
    assert pertcast(command(lincs, tmp_path / "out")) == 1
    assert "must be one file, found level3_beta_ctl_n1" in capsys.readouterr().err


def test_wrong_settings_are_refused_before_anything_is_written(
    lincs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for word, message in (
        ("train.batchsize=4", "unknown key train.batchsize"),
        ("ingest.kep.pert_type=[trt_cp]", "unknown key ingest.kep"),
    ):
        assert pertcast(command(lincs, out, word)) == 1
        assert message in capsys.readouterr().err and not out.exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    assert pertcast(command(lincs, tmp_path / "full")) == 1
    assert "is not empty" in capsys.readouterr().err
    assert pertcast(["preset", "show", "lincs2021"]) == 2
    assert "Did you mean lincs2020" in capsys.readouterr().err


def ingested(name: str, folder: Path, out: Path) -> ExpressionStore:
    """Ingest a preset's files by the very command line that it would run."""
    asked = PresetRun(load_preset(name), folder, out, ("model.name=train_mean",), "response_mlp")
    asked.prepare()
    first = next(asked.steps())
    assert pertcast(first.words) == 0
    return ExpressionStore.open(out / "store")


def test_both_phases_of_geo_share_a_store_by_their_own_tables(tmp_path: Path) -> None:
    folder = tmp_path / "geo"
    folder.mkdir()
    one = wells("rna_plate", "inst_id", "cell_id", "pert_iname")
    two = wells("det_plate", "inst_id", "cell_id", "pert_iname")
    for phase, table, ending, stamp in (("GSE92742", one, "", 1), ("GSE70138", two, "_2017-03-06", 2)):
        level_3 = f"{phase}_Broad_LINCS_Level3_INF_mlr12k_n{table.height}x12328{ending}.gctx"
        write_gctx(folder / level_3, table["inst_id"].to_list(), GENES, stamp)
        write_tsv(table, folder / f"{phase}_Broad_LINCS_inst_info{ending}.txt")
    ids = [f"BRD-K{n:08d}" for n in range(len(SMILES))]
    first = pl.DataFrame({"pert_id": [*ids[:6], "DMSO"], "canonical_smiles": [*SMILES[:5], "-666", "-666"]})
    second = pl.DataFrame({"pert_id": ids[5:], "canonical_smiles": SMILES[5:], "pert_type": "trt_cp"})
    write_tsv(first, folder / "GSE92742_Broad_LINCS_pert_info.txt")
    write_tsv(second, folder / "GSE70138_Broad_LINCS_pert_info_2017-03-06.txt")
    genes = {
        "pr_gene_id": GENES,
        "pr_gene_symbol": [f"GENE{n}" for n in range(30)],
        "pr_is_lm": [1] * 24 + [0] * 6,
    }
    write_tsv(pl.DataFrame(genes), folder / "GSE92742_Broad_LINCS_gene_info.txt")
    store = ingested("lincs_geo", folder, tmp_path / "out")
    assert store.n_genes == 24 and store.n_rows == 2 * 108
    assert sorted(store.obs["batch_id"].unique().to_list()) == ["A375-plate", "HT29-plate"]
    assert store.obs["batch_id"].null_count() == 0
    treated = store.obs.filter(pl.col("pert_type") == "trt_cp")
    assert treated["canonical_smiles"].null_count() == 0 and treated["inchi_key"].n_unique() == 12


def counts(n_cells: int, genes: Sequence[str], obs: dict[str, Any], path: Path) -> None:
    values = sparse.csr_matrix(
        np.random.default_rng(0).poisson(0.7, (n_cells, len(genes))).astype(np.float32)
    )
    table = pd.DataFrame(obs, index=[f"cell{number}" for number in range(n_cells)])
    for name in table.columns:
        if table[name].dtype == object:
            table[name] = table[name].astype("category")
    anndata.AnnData(values, table, pd.DataFrame(index=pd.Index(genes, name="gene_symbol"))).write_h5ad(path)


def test_sciplex_gets_doses_in_nanomolar_structures_from_a_table_and_no_unhashed_cells(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "sciplex"
    folder.mkdir()
    drugs = ["control", "(+)-JQ1", "Dacinostat (LAQ824)", "A-366"] * 6
    obs = {
        "cell_line": ["A549", "K562", "MCF7"] * 7 + [None] * 3,
        "perturbation": drugs,
        "dose_value": [0.0 if drug == "control" else 10000.0 for drug in drugs],
        "time": [24.0] * 24,
        "plate": ["plate1"] * 24,
        "pathway": ["Vehicle"] * 24,
    }
    counts(24, [f"GENE{n}" for n in range(8)], obs, folder / "SrivatsanTrapnell2020_sciplex3.h5ad")
    (folder / "sciplex3_compounds.csv").write_text(
        'perturbation,smiles\n"(+)-JQ1",CCO\nDacinostat (LAQ824),CCN\nA-366,CCCl\n'
    )
    store = ingested("sciplex3", folder, tmp_path / "out")
    assert store.n_rows == 21 and store.normalisation == "counts"
    treated = store.obs.filter(pl.col("pert_type") == "trt_cp")
    assert treated["pert_dose"].unique().to_list() == [10.0] and treated["pert_time"].unique().to_list() == [
        24.0
    ]
    assert sorted(treated["canonical_smiles"].unique().to_list()) == ["CCCl", "CCN", "CCO"]
    assert store.obs.filter(pl.col("pert_type") == "ctl_vehicle")["pert_dose"].null_count() > 0


def test_tahoe_takes_the_dose_out_of_its_text_and_several_plates(tmp_path: Path) -> None:
    folder = tmp_path / "tahoe"
    folder.mkdir()
    told = {"DMSO_TF": 0.0, "Infigratinib": 0.05, "8-Hydroxyquinoline": 5.0}
    for plate in (2, 10):
        drugs = [*told] * 4
        obs = {
            "drug": drugs,
            "drugname_drugconc": [f"[('{drug}', {told[drug]}, 'uM')]" for drug in drugs],
            "cell_line": ["CVCL_0480", "CVCL_0546"] * 6,
            "cell_name": ["PANC-1", "SW480"] * 6,
            "plate": [f"plate{plate}"] * 12,
            "pass_filter": ["full"] * 11 + ["minimal"],
        }
        name = f"plate{plate}_filt_Vevo_Tahoe100M_WServicesFrom_ParseGigalab.h5ad"
        counts(12, [f"GENE{n}" for n in range(8)], obs, folder / name)
    pl.DataFrame(
        {
            "drug": ["Infigratinib", "8-Hydroxyquinoline", "DMSO_TF"],
            "canonical_smiles": ["CCO", "CCN", "CS(C)=O"],
        }
    ).write_parquet(folder / "drug_metadata.parquet")
    store = ingested("tahoe100m", folder, tmp_path / "out")
    assert store.n_rows == 22 and store.info.sources[0].startswith("plate2_")
    treated = store.obs.filter(pl.col("pert_type") == "trt_cp")
    doses = dict(treated.select("cmap_name", "pert_dose").unique().iter_rows())
    assert doses == {"Infigratinib": 0.05, "8-Hydroxyquinoline": 5.0}
    assert set(store.obs["cell_iname"]) == {"PANC-1", "SW480"}
    assert set(store.obs.filter(pl.col("pert_type") == "ctl_vehicle")["cmap_name"]) == {"DMSO_TF"}
    steps = list(PresetRun(load_preset("tahoe100m"), folder, tmp_path / "out", (), "response_mlp").steps())
    assert [step.words[0] for step in steps] == ["data"] + ["data", "train", "evaluate"] * 2


def test_the_table_leaves_open_what_nobody_published_or_measured(tmp_path: Path) -> None:
    preset = load_preset("lincs2020")
    table = [{"role": "model", "title": "M", "metrics": {}, "well_metrics": {"well_r2": {"mean": None}}}]
    (tmp_path / "trust.json").write_text(json.dumps({"table": table}))
    lines = expected_lines(preset, preset.splits[0], tmp_path)
    assert next(line for line in lines if "measured   M" in line).split()[2:] == ["–", "–", "–"]
    assert next(line for line in lines if "published" in line).split()[-1] == "–"
    tahoe = load_preset("tahoe100m")
    assert "no published numbers" in expected_lines(tahoe, tahoe.splits[0], None)[0]


def test_an_overridden_mapping_names_tables_in_the_users_folder(lincs: Path, tmp_path: Path) -> None:
    word = "ingest.genes.table={file: mine.csv, key: gene}"
    asked = PresetRun(load_preset("lincs2020"), lincs, tmp_path / "out", (word,), "response_mlp")
    assert asked.mapping.genes.table is not None
    assert asked.mapping.genes.table.file == (lincs / "mine.csv",)
    written = yaml.safe_load(yaml.safe_dump(asked.mapping.model_dump(mode="json", exclude_unset=True)))
    assert written["genes"]["table"]["file"] == [str(lincs / "mine.csv")]
    with pytest.raises(ConfigError, match="no folder"):
        PresetRun(load_preset("lincs2020"), tmp_path / "nowhere", tmp_path / "out").mapping  # noqa: B018
    with pytest.raises(Exception, match=r"mine\.csv: no such table"):
        ingest([lincs / LEVEL_3[0]], tmp_path / "store", asked.mapping)
