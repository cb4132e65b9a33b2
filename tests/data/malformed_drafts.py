"""A small data set in memory, and what can be wrong with it before it is written in any format.

A change takes the draft and a `random.Random`; what it does to the values is part of the draft, so a store
made of it must hold exactly them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

N_ROWS, N_GENES = 8, 6
SYMBOLS = ["TP53", "MYC", "KLF1", "SET", "GATA1", "ACTB"]
LONG = "x" * 70_000
ODD_NAMES = (
    *(
        "",
        " ",
        "a/b",
        "/",
        ".",
        "..",
        "\t",
        "a\nb",
        '"',
        "'",
        ",",
        ";",
        "µm",
        "日本語",
        "\u202eabc",
        "é" * 300,
    ),
    *("index", "_index", "source_id", "source_row", "source_file", "sig_id", "is_control", "condition_index"),
    *("__key", "values", "codes", "0", "1.5", "-666", "nan", "NULL", "True", "obs", "X", LONG, "control"),
    *("literal", "len", "name", "row", "type", "cell_iname", "pert_id", "targets", "pert_dose", "inchi_key"),
)
ODD_AMOUNTS: tuple[Any, ...] = (
    *("10,5 uM", "1e400", "-5 uM", "-1e400", "inf", "-inf", "nan", "", " ", "uM", "10", "10 parsecs", "0x10"),
    *("1.000,5 nM", "10 uM; 5 nM", b"10 \xb5M", "10 μM", "١٠ uM", "1e-320 M", "٣", "1_000", "+-3", "1e5e5"),
    *(-666, -666.0, -1.0, 1e308, float("inf"), float("nan"), None, True, 2**63, 10**30, LONG, "1" * 500),
)
ODD_UNITS: tuple[Any, ...] = (
    *(
        "uM",
        "µM",
        "μM",
        "UM",
        "nm",
        "mm",
        "furlong",
        "",
        None,
        "-666",
        b"\xb5M",
        "%",
        "ug/ml",
        "M/L",
        "h",
        "d",
    ),
    *(LONG, 5, 1.5, "mg kg-1", "cells", "\x00"),
)
ODD_IDS: tuple[Any, ...] = (
    *(None, "", " ", b"\xff\xfe", b"\xb5x", 5720.0, 1e300, float("nan"), -1, 2**63, True, "a" * 5000, "a/b"),
    *("\x00", "1-Mar", "2-Sep", "ENSG00000141510.12", "NA", "-666", "é", "\ud7ff"),
)


@dataclass
class Draft:
    """A data set: names, tables as (name, values) pairs, and profiles x genes."""

    ids: list[Any]
    genes: list[Any]
    obs: list[tuple[Any, list[Any]]]
    var: list[tuple[Any, list[Any]]]
    values: Any
    categorical: set[str] = field(default_factory=set)

    def column(self, draw: random.Random) -> int:
        """Return the place of one column of obs (one is made where there is none)."""
        if not self.obs:
            self.obs.append(("extra", ["x"] * len(self.ids)))
        return draw.randrange(len(self.obs))


def valid_draft(draw: random.Random, is_counts: bool) -> Draft:
    """Return a data set that ingests as it is."""
    rng = np.random.default_rng(draw.randrange(1 << 30))
    shape = (N_ROWS, N_GENES)
    values = rng.poisson(2.0, shape).astype(np.float32) if is_counts else rng.normal(0, 2, shape)
    ids = [f"cell{number}" for number in range(N_ROWS)]
    genes = [f"ENSG{number:011d}" for number in range(1, N_GENES + 1)]
    var = [("gene_symbol", list(SYMBOLS))]
    if draw.random() < 0.4:
        obs: list[tuple[Any, list[Any]]] = [
            ("cell_line", ["K562"] * N_ROWS),
            ("perturbation", ["control", "SET+KLF1", "TP53", "control"] * 2),
            ("perturbation_type", ["CRISPRi"] * N_ROWS),
        ]
    else:
        obs = [
            ("cell_id", ["A375", "HT29"] * 4),
            ("pert_iname", ["DMSO", "aspirin", "DMSO", "ibuprofen"] * 2),
            ("pert_type", ["ctl_vehicle", "trt_cp"] * 4),
            ("pert_dose", [-666.0, 10.0, -666.0, 0.5] * 2),
            ("pert_dose_unit", ["-666", "uM"] * 4),
            ("pert_time", [6, 24] * 4),
            ("pert_time_unit", ["h"] * N_ROWS),
            ("smiles", ["CS(C)=O", "CC(=O)Oc1ccccc1C(=O)O", "CS(C)=O", "CC(C)Cc1ccc(cc1)C(C)C(=O)O"] * 2),
            ("plate", ["P1"] * 4 + ["P2"] * 4),
        ]
    return Draft(ids, genes, obs, var, np.asarray(values, np.float32), {"cell_line", "cell_id"})


Change = Callable[[Draft, random.Random], None]


def _rename(draft: Draft, draw: random.Random) -> None:
    place = draft.column(draw)
    draft.obs[place] = (draw.choice(ODD_NAMES), draft.obs[place][1])


def _rename_all(draft: Draft, draw: random.Random) -> None:
    names = draw.choice(
        [[f"{place}" for place in range(20)], ["same"] * 20, [""] * 20, [name * 2 for name in "abcdefghijk"]]
    )
    draft.obs = [(name, values) for name, (_, values) in zip(names, draft.obs, strict=False)]


def _drop(draft: Draft, draw: random.Random) -> None:
    del draft.obs[draft.column(draw)]


def _double(draft: Draft, draw: random.Random) -> None:
    name, values = draft.obs[draft.column(draw)]
    draft.obs.insert(draw.randrange(len(draft.obs) + 1), (name, draw.choice([list(values), values[::-1]])))


def _case_twins(draft: Draft, draw: random.Random) -> None:
    name, values = draft.obs[draft.column(draw)]
    draft.obs.append((str(name).upper(), values[::-1]))


def _gene_header(draft: Draft, draw: random.Random) -> None:
    draft.var = [(draw.choice(ODD_NAMES), values) for _, values in draft.var]


def _more_columns(draft: Draft, draw: random.Random) -> None:
    for _ in range(draw.randrange(1, 6)):
        draft.obs.append((draw.choice(ODD_NAMES), [draw.choice(ODD_AMOUNTS) for _ in draft.ids]))


def _put(draft: Draft, names: tuple[str, ...], draw: random.Random, words: tuple[Any, ...]) -> None:
    """Replace some or all values of a column (added where absent) by odd ones."""
    known = [place for place, (name, _) in enumerate(draft.obs) if name in names]
    if not known:
        draft.obs.append((draw.choice(names), ["1"] * len(draft.ids)))
        known = [len(draft.obs) - 1]
    name, values = draft.obs[draw.choice(known)]
    share, one = draw.choice([0.2, 0.6, 1.0]), draw.choice(words)
    has_one = draw.random() < 0.5
    changed = [
        (one if has_one else draw.choice(words)) if draw.random() < share else value for value in values
    ]
    draft.obs[draw.choice(known)] = (name, changed)


def _amounts(draft: Draft, draw: random.Random) -> None:
    _put(draft, ("pert_dose", "pert_time", "dose_nm", "time"), draw, ODD_AMOUNTS)


def _units(draft: Draft, draw: random.Random) -> None:
    _put(draft, ("pert_dose_unit", "pert_time_unit"), draw, ODD_UNITS)


def _words(draft: Draft, draw: random.Random) -> None:
    odd = (
        *ODD_IDS,
        "trt_cp",
        "trt_xyz",
        "ctl_",
        "CRISPRi",
        "A+B+C+D",
        "+",
        "++",
        "A+",
        "|",
        "DMSO",
        "NTC-1",
        "*" * 999,
    )
    _put(draft, tuple(str(name) for name, _ in draft.obs) or ("pert_type",), draw, odd)


def _structures(draft: Draft, draw: random.Random) -> None:
    odd = (
        "C" * 5000,
        "not a molecule",
        "c1cc",
        "[Na+].[Cl-]",
        "",
        None,
        "C(" * 400,
        "\x00",
        b"\xb5",
        3.5,
        "*",
        "[" * 50,
    )
    _put(draft, ("smiles", "canonical_smiles"), draw, odd)


def _odd_ids(names: list[Any], draw: random.Random) -> list[Any]:
    how = draw.randrange(8)
    if how == 0:
        return [names[0]] * len(names) if names else names
    if how == 1:
        return [None] * len(names)
    if how == 2:
        return [""] * len(names)
    if how == 3:
        return [float(number) for number in range(len(names))]
    if how == 4:
        return [bytes([200 + number, 255]) for number in range(len(names))]
    if how == 5:
        return list(range(len(names)))
    chosen = {draw.randrange(max(len(names), 1)) for _ in range(draw.randrange(1, 4))}
    twin = names[0] if names and how == 6 else draw.choice(ODD_IDS)
    return [twin if place in chosen else name for place, name in enumerate(names)]


def _row_ids(draft: Draft, draw: random.Random) -> None:
    draft.ids = _odd_ids(draft.ids, draw)


def _gene_ids(draft: Draft, draw: random.Random) -> None:
    draft.genes = _odd_ids(draft.genes, draw)


def _gene_symbols(draft: Draft, draw: random.Random) -> None:
    draft.var = [(name, _odd_ids(values, draw)) for name, values in draft.var]


def _named_as_symbols(draft: Draft, draw: random.Random) -> None:
    odd = draw.choice(
        [
            SYMBOLS,
            ["1-Mar", "2-Sep", "Dec-1", "44256", "MARCH1", "TP53"],
            ["tp53"] * 6,
            [*SYMBOLS[:5], "TP53"],
        ]
    )
    draft.genes, draft.var = list(odd), []


def _one_more_row(draft: Draft, draw: random.Random) -> None:
    draft.ids = [*draft.ids, "one more"] if draw.random() < 0.5 else draft.ids[:-1]


def _one_more_gene(draft: Draft, draw: random.Random) -> None:
    draft.genes = [*draft.genes, "one more"] if draw.random() < 0.5 else draft.genes[:-1]


def _short_column(draft: Draft, draw: random.Random) -> None:
    place = draft.column(draw)
    name, values = draft.obs[place]
    draft.obs[place] = (
        name,
        draw.choice([values[:-1], [*values, values[0] if values else "x"], [], values[:1]]),
    )


def _cut(draft: Draft, n_rows: int, n_genes: int) -> None:
    draft.ids, draft.genes, draft.values = (
        draft.ids[:n_rows],
        draft.genes[:n_genes],
        draft.values[:n_rows, :n_genes],
    )
    draft.obs = [(name, values[:n_rows]) for name, values in draft.obs]
    draft.var = [(name, values[:n_genes]) for name, values in draft.var]


def _few(draft: Draft, draw: random.Random) -> None:
    _cut(draft, *draw.choice([(0, N_GENES), (N_ROWS, 0), (0, 0), (1, N_GENES), (N_ROWS, 1), (1, 1), (2, 2)]))


def _turned(draft: Draft, draw: random.Random) -> None:
    draft.values = np.ascontiguousarray(draft.values.T)


def _some_values(draft: Draft, draw: random.Random) -> None:
    if draft.values.dtype.kind != "f":
        return
    odd = draw.choice([np.nan, np.inf, -np.inf, 1e38, 3e38, -5.0, -666.0, 0.5, 1e-44, 2.0**53 + 2, 1e12])
    share = draw.choice([0.03, 0.3, 1.0])
    mask = np.random.default_rng(draw.randrange(1 << 30)).random(draft.values.shape) < share
    draft.values = np.where(mask, odd, draft.values).astype(draft.values.dtype)


def _other_numbers(draft: Draft, draw: random.Random) -> None:
    if draft.values.dtype.kind not in "biuf":
        return
    kinds = ["f2", "f8", ">f4", ">i4", "i1", "u1", "i8", "u8", "?", "c8", "f16", "S5", "O", "M8[s]"]
    kind = draw.choice(kinds)
    if kind == "O":
        draft.values = np.array([[f"{value}" for value in row] for row in draft.values], object).reshape(
            draft.values.shape
        )
        return
    with np.errstate(all="ignore"):
        numbers = np.nan_to_num(np.abs(draft.values) if kind in ("u1", "u8", "M8[s]") else draft.values)
        draft.values = (numbers.astype("i8") if kind == "M8[s]" else numbers).astype(kind)


def _wide_numbers(draft: Draft, draw: random.Random) -> None:
    draft.values = np.full(draft.values.shape, draw.choice([2**53 + 1, 2**62, -(2**53) - 1]), np.int64)
    if draw.random() < 0.5:
        draft.values = np.full(draft.values.shape, draw.choice([1e300, -1e300, 1e39]), np.float64)


def _other_type(draft: Draft, draw: random.Random) -> None:
    place = draft.column(draw)
    name, values = draft.obs[place]
    start = datetime(2024, 2, 29, 12)
    made: tuple[Callable[[int], Any], ...] = (
        lambda row: start + timedelta(days=row),
        lambda row: row % 2 == 0,
        lambda row: float("nan"),
        lambda row: None,
        lambda row: 2**62 + row,
        lambda row: row + 0.5,
        lambda row: bytes([181, row]),
        lambda row: [row, row],
        lambda row: draw.choice([1, "a", None, 2.5, True]),
        lambda row: {"a": row},
        lambda row: timedelta(hours=row),
        lambda row: complex(row, 1),
    )
    make = draw.choice(made)
    draft.obs[place] = (name, [make(row) for row in range(len(values))])


def _categorical(draft: Draft, draw: random.Random) -> None:
    draft.categorical = {str(name) for name, _ in draft.obs}
    place = draft.column(draw)
    name, values = draft.obs[place]
    draft.obs[place] = (name, [None if draw.random() < 0.4 else value for value in values])


CHANGES: Mapping[str, Change] = {
    "headers/renamed": _rename,
    "headers/all renamed": _rename_all,
    "headers/dropped": _drop,
    "headers/doubled": _double,
    "headers/twins in case": _case_twins,
    "headers/of genes": _gene_header,
    "headers/more": _more_columns,
    "units/amounts": _amounts,
    "units/units": _units,
    "words/any": _words,
    "words/structures": _structures,
    "ids/rows": _row_ids,
    "ids/genes": _gene_ids,
    "ids/symbols": _gene_symbols,
    "ids/spreadsheet": _named_as_symbols,
    "shapes/a row": _one_more_row,
    "shapes/a gene": _one_more_gene,
    "shapes/a column": _short_column,
    "shapes/few": _few,
    "shapes/turned": _turned,
    "values/odd": _some_values,
    "values/number types": _other_numbers,
    "values/wide": _wide_numbers,
    "dtypes/column": _other_type,
    "dtypes/categorical": _categorical,
}
"""What is done to a draft, by its kind and name."""
