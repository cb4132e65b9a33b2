"""Presets of genetic signatures over networks that users bring: found by name, each optional, one needed."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast_data.errors import ConfigError
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.presets import Preset, PresetRun, load_preset
from pertcast_jobs.presets.networks import find_networks
from pydantic import ValidationError

NAME = "lincs2020_genetic"
TYPES = ("trt_sh", "trt_xpr", "trt_oe")
PERTURBED = [f"GENE{number}" for number in range(24)]
IDS = [str(2000 + 3 * number) for number in range(30)]
QUICK = ("--config", "response_mlp", "model.name=bilinear_ridge", "encoder.gene_network_components=4")
BIOGRID = "BIOGRID-ORGANISM-Homo_sapiens-4.4.230.tab3.txt"
LINKS, INFO = "9606.protein.links.v12.0.txt.gz", "9606.protein.info.v12.0.txt.gz"


def write_level_5(folder: Path) -> None:
    """Signatures as clue.io gives them: two hairpins, guides or clones of each gene, in two cell lines."""
    folder.mkdir()
    random, rows = np.random.default_rng(0), []
    for kind in TYPES:
        own = [
            {"sig_id": f"{kind}:{line}:{gene}:{n}", "pert_type": kind, "cmap_name": gene, "cell_iname": line}
            for line in ("A375", "HT29")
            for gene in PERTURBED
            for n in range(2)
        ]
        with h5py.File(folder / f"level5_beta_{kind}_n{len(own)}x12328.gctx", "w") as file:
            file.attrs["version"] = "GCTX1.0"
            file["0/DATA/0/matrix"] = random.normal(0.0, 1.0, (len(own), len(IDS))).astype(np.float32)
            file["0/META/ROW/id"] = np.array([gene.encode() for gene in IDS])
            file["0/META/COL/id"] = np.array([row["sig_id"].encode() for row in own])
        rows += own
    table = pl.DataFrame(rows).with_columns(
        pert_id=pl.lit("TRCN0000"), pert_time=pl.lit("96"), pert_time_unit=pl.lit("h"), pert_dose=pl.lit("1")
    )
    table.write_csv(folder / "siginfo_beta.txt", separator="\t")
    space = ["landmark"] * 26 + ["inferred"] * 4
    symbols = [f"GENE{number}" for number in range(30)]
    genes = pl.DataFrame({"gene_id": IDS, "gene_symbol": symbols, "feature_space": space})
    genes.write_csv(folder / "geneinfo_beta.txt", separator="\t")


def write_biogrid(folder: Path) -> None:
    """Interactions among the perturbed genes, and with genes that no profile measures."""
    pairs = [*pairwise(PERTURBED), ("GENE0", "FAR1"), ("GENE5", "FAR2")]
    head = "#BioGRID Interaction ID\tEntrez Gene Interactor A\tEntrez Gene Interactor B\t"
    head += "Official Symbol Interactor A\tOfficial Symbol Interactor B\tExperimental System Type\t"
    head += "Organism ID Interactor A\tOrganism ID Interactor B\n"
    lines = [f"{n}\t{n}\t{n + 1}\t{a}\t{b}\tphysical\t9606\t9606\n" for n, (a, b) in enumerate(pairs)]
    (folder / BIOGRID).write_text(head + "".join(lines))


def write_reactome(folder: Path) -> None:
    sets = [PERTURBED[start : start + 6] for start in range(0, 24, 6)]
    lines = [f"Pathway {n}\tR-HSA-{n}\t" + "\t".join(genes) + "\n" for n, genes in enumerate(sets)]
    (folder / "ReactomePathways.gmt").write_text("".join(lines))


def write_string(folder: Path, with_names: bool = True) -> None:
    ids = {gene: f"9606.ENSP{number:011d}" for number, gene in enumerate(PERTURBED[:8])}
    with gzip.open(folder / LINKS, "wt") as stream:
        stream.write("protein1 protein2 combined_score\n")
        stream.writelines(f"{ids[a]} {ids[b]} 900\n" for a, b in combinations(ids, 2))
    if with_names:
        with gzip.open(folder / INFO, "wt") as stream:
            stream.write("#string_protein_id\tpreferred_name\tprotein_size\tannotation\n")
            stream.writelines(f"{protein}\t{gene}\t100\tnone\n" for gene, protein in ids.items())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_level_5(tmp_path / "lincs")
    return tmp_path / "lincs"


def command(folder: Path, out: Path, *more: str) -> Sequence[str]:
    return ["preset", "run", NAME, "--data", str(folder), "--out", str(out), *QUICK, *more]


def test_from_level_5_files_and_networks_to_a_report_and_genes_that_only_networks_know(
    folder: Path, tmp_path: Path
) -> None:
    write_string(folder)
    write_biogrid(folder)
    write_reactome(folder)
    printed, out = io.StringIO(), tmp_path / "out"
    with contextlib.redirect_stdout(printed):
        assert pertcast(command(folder, out)) == 0
    store = ExpressionStore.open(out / "store")
    assert (store.measure, store.normalisation, store.n_genes) == ("response", "z_score", 26)
    assert store.n_rows == 3 * 2 * 24 * 2 and store.conditions.height == 3 * 2 * 24
    assert set(store.conditions["pert_id"]) == set(PERTURBED)
    runs = out / "unseen_perturbation" / "runs"
    predictor = Predictor.from_bundle(find_bundle(runs / "fold0-seed0"))
    assert predictor.encoder.spec.gene_network == (
        Path(LINKS),
        Path(BIOGRID),
        Path("ReactomePathways.gmt"),
    )
    assert predictor.encoder.spec.gene_names == Path(INFO)
    assert not any(
        "ENSP" in gene for block in predictor.encoder.perturbations.gene_blocks for gene in block.genes
    )
    asked = pl.DataFrame({"cell_iname": "A375", "pert_type": list(TYPES), "pert_id": "FAR1"})
    assert predictor.predict(asked).mean.shape == (3, 26)
    report = json.loads((out / "unseen_perturbation" / "report" / "trust.json").read_text())
    assert report["facts"]["folds"] == [0, 1, 2, 3]
    assert "TranscriptionNet" in printed.getvalue() and "0.570" in printed.getvalue()
    assert BIOGRID in printed.getvalue()
    (folder / "ReactomePathways.gmt").unlink()
    with pytest.raises(ConfigError, match=r"other settings: networks .*ReactomePathways\.gmt"):
        PresetRun(load_preset(NAME), folder, out, tuple(QUICK[2:]), "response_mlp").prepare()


def test_without_any_network_all_of_them_are_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pertcast(command(folder, tmp_path / "out")) == 1
    said = capsys.readouterr().err
    assert "holds none of the gene networks" in said
    for network in load_preset(NAME).networks:
        assert network.name in said
    assert "together with 9606.protein.info" in said and "http" not in said
    assert not (tmp_path / "out").exists()


def test_links_of_string_are_taken_with_the_names_of_their_proteins_or_not_at_all(folder: Path) -> None:
    preset = load_preset(NAME)
    write_biogrid(folder)
    write_string(folder, with_names=False)
    with pytest.raises(ConfigError, match=rf"{LINKS} names genes by ids, and 9606\.protein\.info"):
        find_networks(preset, folder, [])
    write_string(folder)
    found = find_networks(preset, folder, [])
    assert [path.name for path in found.files] == [LINKS, BIOGRID]
    assert found.names is not None and found.names.name == INFO
    assert found.overrides == [
        f"encoder.gene_network=['{folder / LINKS}', '{folder / BIOGRID}']",
        f"encoder.gene_names='{folder / INFO}'",
    ]


def test_two_releases_of_a_network_are_refused_by_name(folder: Path) -> None:
    write_biogrid(folder)
    (folder / BIOGRID.replace("230", "231")).write_text("")
    with pytest.raises(ConfigError, match=r"must be one file, found .*230\.tab3\.txt, .*231\.tab3\.txt"):
        find_networks(load_preset(NAME), folder, [])


def test_networks_of_the_users_own_take_the_place_of_those_of_the_preset(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.tsv").write_text("GENE0\tGENE1\n")
    word = f"encoder.gene_network=[{tmp_path / 'mine.tsv'}]"
    asked = PresetRun(load_preset(NAME), folder, tmp_path / "out", (word,), "response_mlp")
    assert asked.networks.files == () and asked.overrides == [word]
    assert asked.run_config.encoder.gene_network == (tmp_path / "mine.tsv",)


def test_networks_that_need_different_tables_of_names_are_no_preset() -> None:
    plain = load_preset(NAME).model_dump()
    other = [{"name": "other.txt", "what": "another", "names": "other_names.txt"}]
    with pytest.raises(ValidationError, match="several tables of names"):
        Preset.model_validate({**plain, "networks": [*plain["networks"], *other]})


def test_a_preset_shows_its_networks_and_their_table_of_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert pertcast(["preset", "show", NAME]) == 0
    shown = capsys.readouterr().out
    assert "gene networks, those that are there (at least one)" in shown
    assert shown.count("9606.protein.info.v*.txt*") == 1
