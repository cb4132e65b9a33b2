"""`pertcast data gene-sets`: sizes, names and overlap; `pertcast data networks --out`: one table of edges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pertcast_data.networks.reading import read_multiplex
from pertcast_data.store import create_store
from pertcast_jobs.cli import run


def test_the_command_counts_the_genes_that_a_store_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gmt = tmp_path / "sets.gmt"
    gmt.write_text("A\t\tTP53\tMDM2\nB\t\tMYC\tMAX\tTP53\n")
    create_store(
        tmp_path / "store",
        obs=pl.DataFrame(
            {"sig_id": ["s"], "cell_iname": ["A375"], "pert_type": ["trt_cp"], "pert_id": ["x"]}
        ),
        var=pl.DataFrame({"gene_symbol": ["TP53", "MYC", "ACTB"]}),
        batches=[np.ones((1, 3), np.float32)],
        measure="response",
        normalisation="z_score",
    )
    assert run(["data", "gene-sets", str(gmt), "--store", str(tmp_path / "store")]) == 0
    assert "in the store: 1 to 2 of its 3 genes; 0 have 5 or more" in capsys.readouterr().out
    assert run(["data", "gene-sets", str(gmt), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["n_sets"] == 2 and told["n_genes_of_store"] is None
    assert run(["data", "gene-sets", str(tmp_path / "absent.gmt")]) == 1
    assert "absent.gmt: no such file" in capsys.readouterr().err


def test_networks_are_written_as_one_table_with_their_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "string.tsv", tmp_path / "edges.parquet"
    path.write_text("protein1\tprotein2\ttextmining\tcombined_score\nTP53\tMDM2\t100\t900\n")
    assert run(["data", "networks", str(path), "--out", str(out)]) == 0
    found = read_multiplex([out], with_evidence=True).networks[0]
    assert found.name == "string" and found.evidence["textmining"].tolist() == [100]
    assert run(["data", "networks", str(path), "--out", str(out)]) == 1
    assert "already exists" in capsys.readouterr().err
