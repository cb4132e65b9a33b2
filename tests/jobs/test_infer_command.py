"""`pertcast data infer`: a store of landmarks becomes a store of all genes, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pertcast_data.store import ExpressionStore, create_store
from pertcast_jobs.cli import run


def test_the_command_writes_landmarks_and_inferred_genes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_store(
        tmp_path / "landmarks",
        obs=pl.DataFrame({"sig_id": "s", "cell_iname": "A375", "pert_type": "trt_cp", "pert_id": "x"}),
        var=pl.DataFrame({"gene_symbol": ["TP53", "MYC", "ACTB"]}),
        batches=[np.array([[1, 2, 3]], np.float32)],
        measure="expression",
        normalisation="log2_intensity",
    )
    (tmp_path / "weights.csv").write_text("id,MYC,TP53,OFFSET\nMDM2,10,1,0.5\n")
    words = ["data", "infer", str(tmp_path / "landmarks"), "--weights", str(tmp_path / "weights.csv")]
    assert run([*words, "--out", str(tmp_path / "all"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["landmarks"], told["inferred"], told["left_out"]) == (2, 1, 1)
    store = ExpressionStore.open(tmp_path / "all")
    assert store.genes == ("TP53", "MYC", "MDM2")
    np.testing.assert_allclose(store.reader().dense(np.array([0])), [[1, 2, 21.5]])
    assert run([*words, "--out", str(tmp_path / "all")]) == 1
    assert "all" in capsys.readouterr().err
