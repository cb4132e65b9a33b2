"""Combinations whose members stand apart by a sign of the file's own: "A_B" is read as A+B where told so."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from pertcast_data.errors import ConfigError
from pertcast_data.ingest import ColumnRule, IngestMapping, ingest, load_mapping
from pertcast_data.store import ExpressionStore

LABELS = ["control", "SET_KLF1", "KLF1_SET", "TP53", "TP53_ctrl", "SET+KLF1"]


def perturbations(tmp_path: Path, mapping: IngestMapping) -> list[str]:
    obs = pd.DataFrame(
        {"cell_line": "K562", "perturbation": LABELS, "perturbation_type": "CRISPRa"},
        index=[f"cell{number}" for number in range(len(LABELS))],
    )
    values = np.random.default_rng(0).poisson(2.0, (len(LABELS), 5)).astype(np.float32)
    data = anndata.AnnData(values, obs, pd.DataFrame(index=["SET", "KLF1", "TP53", "MYC", "ACTB"]))
    data.write_h5ad(tmp_path / "screen.h5ad")
    ingest([tmp_path / "screen.h5ad"], tmp_path / "store", mapping)
    conditions = ExpressionStore.open(tmp_path / "store").conditions
    return sorted(conditions["targets"].drop_nulls().unique().to_list())


def test_members_are_parted_by_the_separator_and_a_control_among_them_is_left_out(tmp_path: Path) -> None:
    rule = ColumnRule(column="perturbation", separator="_")
    assert perturbations(tmp_path, IngestMapping(cmap_name=rule)) == ["KLF1+SET", "TP53"]


def test_without_a_separator_an_underscore_is_part_of_the_name(tmp_path: Path) -> None:
    found = perturbations(tmp_path, IngestMapping(cmap_name=ColumnRule(column="perturbation")))
    assert found == ["KLF1+SET", "KLF1_SET", "SET_KLF1", "TP53", "TP53_ctrl"]


@pytest.mark.parametrize("rule", ["{value: A_B, separator: _}", "{column: perturbation, separator: ''}"])
def test_a_separator_without_a_column_or_without_a_sign_is_refused(rule: str, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(f"cmap_name: {rule}\n")
    with pytest.raises(ConfigError, match="a separator needs a column, and is at least one character"):
        load_mapping(tmp_path / "map.yaml")
