"""Mapping files, side tables and tables of gene names that say too much, too little, or nonsense."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from malformed_drafts import LONG, Draft
from malformed_files import arrow_column

VALID: dict[str, Any] = {
    "cell_iname": {"value": "K562"},
    "cmap_name": {"value": "aspirin"},
    "pert_type": {"value": "trt_cp"},
}
KEYS = (
    *(
        "sig_id",
        "cell_iname",
        "pert_type",
        "pert_id",
        "cmap_name",
        "pert_dose",
        "pert_dose_unit",
        "pert_time",
    ),
    *("pert_time_unit", "canonical_smiles", "inchi_key", "targets", "batch_id", "guide_id", "donor_id"),
    *("controls", "genes", "join", "matrix", "orientation", "measure", "normalisation", "tables", "keep"),
    *(
        "exclude",
        "preprocessing",
        "quality",
        "replicate",
        "pert_col",
        "control_key",
        "layer",
        "use_raw",
        "nonsense",
    ),
    *("control_pert", "gene_symbols", "", 5, None, True, "cell iname", "Cell_Iname"),
)
COLUMNS = ("cell_line", "cell_id", "perturbation", "pert_iname", "plate", "smiles", "absent", "source_id", "")
SCALARS: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        2**70,
        1.5,
        float("nan"),
        float("inf"),
        "",
        "text",
        LONG,
        "\x00",
        "é",
        "trt_cp",
        "5 uM",
    ),
    *("X", "raw", "layers/a", "layers/", "counts", "z_score", "response", "genes", "profiles", "gene_symbol"),
)
PATTERNS = (
    "(",
    "^([^_]+)_",
    "(?P<a>.)",
    "[",
    "(a{1000}){1000}",
    "(?<=x)",
    "nothing",
    "(.*)",
    "\\",
    "(?i)(k)",
    "()" * 300,
)
RULES: tuple[Any, ...] = (
    *(
        {"value": 1},
        {"value": None},
        {"value": [1]},
        {"column": "plate"},
        {"column": "plate", "value": 1},
        {},
    ),
    *({"column": "plate", "values": {"P1": "x"}}, {"column": "plate", "values": {"P1": None, 1: 2}}),
    *(
        {"column": "plate", "values": {"P1": "A", "P2": "A"}},
        {"column": 5},
        {"column": "perturbation", "separator": ""},
    ),
    *(
        {"column": "perturbation", "separator": "+"},
        {"column": "cell_line", "separator": "\n"},
        [{"column": "a"}],
    ),
)
SECTIONS: dict[str, tuple[Any, ...]] = {
    "controls": (
        {"values": []},
        {"values": ["DMSO"], "column": "absent"},
        {"values": "DMSO"},
        {"values": None},
        {"values": ["aspirin", "DMSO"]},
        {"values": ["x"], "pert_type": "trt_cp"},
    ),
    "genes": (
        *(
            {"gene_symbol": "absent"},
            {"gene_id": "gene_symbol"},
            {"keep": {"absent": [1]}},
            {"keep": {"gene_symbol": []}},
        ),
        *(
            {"keep": {"gene_symbol": ["TP53", "MYC"]}},
            {"namespace": "entrez"},
            {"namespace": "nonsense"},
            {"unresolved": "drop"},
        ),
        *(
            {"names": "absent.tsv"},
            {"names": "names.tsv", "unresolved": "refuse"},
            {"names": "names.tsv", "unresolved": "drop"},
        ),
        *(
            {"names": "."},
            {"table": {"file": "rows.csv", "key": "id"}},
            {"table": 5},
            {"missing": "refuse"},
            "names.tsv",
        ),
    ),
    "tables": (
        *(
            [{"file": "absent.csv", "key": "id"}],
            [{"file": "rows.csv", "key": "absent"}],
            [{"file": "rows.csv"}],
            "rows.csv",
        ),
        *(
            [{"file": ["rows.csv", "rows.csv"], "key": "id"}],
            [{"file": "rows.csv", "key": "id", "matches": "absent"}],
            [],
        ),
        *(
            [{"file": "rows.csv", "key": "id", "matches": "plate"}],
            [{"file": "rows.csv", "key": "id", "columns": ["absent"]}],
        ),
        *(
            [{"file": ".", "key": "id"}],
            [{"file": "rows.csv", "key": "id", "repeats": "join"}],
            [{"file": "\x00", "key": "id"}],
        ),
        *(
            [{"file": "map.yaml", "key": "id"}],
            [{"file": [], "key": "id"}],
            [{"file": "a" * 400, "key": "id"}],
            {"a": 1},
        ),
    ),
    "keep": (
        {"plate": ["P1"]},
        {"absent": ["x"]},
        {"plate": []},
        {"plate": "P1"},
        {5: [5]},
        [],
        {"plate": {"a": 1}},
        {"sig_id": [None]},
    ),
    "exclude": (
        {"plate": ["P1", "P2"]},
        {"cell_line": ["K562"]},
        {"pert_type": ["trt_cp"]},
        {"absent": 1},
        "plate",
    ),
    "preprocessing": (
        [{"step": "hvg", "fitted_on": "all"}],
        [{"step": 5}],
        "hvg",
        [{"step": "x", "fitted_on": "moon"}],
        [None],
    ),
    "quality": (
        *(
            {"min_profiles_per_condition": 100},
            {"min_tas": 0.99},
            {"min_tas": 5},
            {"drop_duplicates": True},
            {"x": 1},
        ),
        *(
            {"drop_rows_with_missing": True, "drop_duplicates": True},
            {"min_replicate_correlation": 1},
            True,
            {"min_tas": float("nan")},
        ),
        *({"require_target_change": True}, {"min_replicate_correlation": -1, "min_tas": 0}),
    ),
}


def random_mapping(draw: random.Random, base: dict[str, Any]) -> bytes:
    """Return a mapping file with some odd entries; sometimes no YAML at all."""
    if draw.random() < 0.12:
        return draw.choice(
            [
                b"",
                b"- a\n- b\n",
                b"a: [",
                b"\xff\xfe\x00",
                b"5",
                b"a: &a [*a]",
                b"a: *b",
                b"!!python/object:os.system {}",
                b"[" * 3000,
                b"? [1, 2]\n: 3\n",
                b"{[1]: 2}",
                b"null",
                b"---\na: 1\n---\nb: 2\n",
                b"cell_iname: 2024-01-01\n",
                b"\t\t",
                b"cell_iname: K562\ncell_iname: A375\n",
                b"{1: 2, true: 3, null: 4}",
                b"a: 0o9\nb: 1e9999",
            ]
        )
    content: dict[Any, Any] = dict(base)
    for _ in range(draw.choice([1, 1, 2, 4])):
        section = draw.random()
        if section < 0.5:
            key = draw.choice(sorted(SECTIONS))
            content[key] = draw.choice(SECTIONS[key])
        else:
            content[draw.choice(KEYS)] = _odd_value(draw)
    return yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "replace")


def _odd_value(draw: random.Random) -> Any:
    how = draw.random()
    if how < 0.3:
        return draw.choice(SCALARS)
    if how < 0.5:
        return draw.choice(COLUMNS)
    if how < 0.7:
        return draw.choice(RULES)
    if how < 0.85:
        return {"column": draw.choice(COLUMNS), "pattern": draw.choice(PATTERNS)}
    return draw.choice(
        [
            [],
            {},
            [draw.choice(SCALARS)],
            {draw.choice(KEYS): draw.choice(SCALARS)},
            [[[]]],
            {"a": {"b": {"c": []}}},
        ]
    )


def write_side_table(draft: Draft, path: Path, draw: random.Random) -> None:
    """Write obs as a table of its own, keyed by `id`; the ending of the path decides how."""
    ids = [
        "" if name is None else name.decode("latin-1") if isinstance(name, bytes) else str(name)
        for name in draft.ids
    ]
    columns = {"id": ids}
    for name, values in draft.obs:
        fitted = [*values, *([None] * len(ids))][: len(ids)]
        columns[str(name)] = arrow_column(fitted).to_pylist()
    frame = pl.DataFrame(
        {name: pl.Series(name, values, strict=False) for name, values in columns.items()}, strict=False
    )
    if path.suffix == ".parquet":
        return frame.write_parquet(path)
    texts = frame.select(
        pl.col(name)
        if frame[name].dtype.is_numeric()
        else pl.Series(name, [None if value is None else str(value) for value in frame[name]])
        for name in frame.columns
    )
    path.write_bytes(
        texts.write_csv(separator="\t" if path.suffix == ".tsv" else ",").encode("utf-8", "replace")
    )
    return None


def write_gene_names(path: Path, draw: random.Random) -> None:
    """Write a table of gene names, right or wrong."""
    good = (
        "symbol\tensembl_gene_id\talias_symbol\nTP53\tENSG00000000001\tP53\nMYC\tENSG00000000002\tBHLHE39\n"
    )
    texts = [
        good,
        good.replace("\t", ","),
        good.upper(),
        "symbol\n",
        "",
        "a\tb\n1\t2\n",
        good + "TP53\tENSG00000000002\t\n",
        good.replace("TP53", "\udcb5"),
        good + "x\n",
        good.replace("symbol", "name", 1),
        "\n".join([good] * 3),
    ]
    path.write_bytes(draw.choice(texts).encode("utf-8", "surrogateescape"))
