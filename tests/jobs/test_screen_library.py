"""Libraries and plans: what a list may say, what is refused by row, what a plan depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pertcast_data.errors import FormatError, SchemaError, UnitError
from pertcast_jobs.screen.conditions import Conditions, Grid, rebatched
from pertcast_jobs.screen.knowledge import _spread
from pertcast_jobs.screen.library import Library, library_of, read_library
from pertcast_jobs.screen.pairs import pairs_of
from pertcast_jobs.screen.plan import ScreenPlan, ScreenSettings

GENETIC = ("trt_sh", "trt_xpr")
NONE = dict.fromkeys(GENETIC, (None,))


def compound_grid(*cells: str, doses: tuple[float, ...] = (1.0, 10.0)) -> Grid:
    return Grid(cells=cells, types=(), doses={"trt_cp": doses, **NONE}, times={"trt_cp": (24.0,), **NONE})


GRID = compound_grid("A", "B")


def _csv(tmp_path: Path, text: str, name: str = "list.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def _plan(library: Library, grid: Grid = GRID, **settings: Any) -> ScreenPlan:
    conditions = Conditions(library.frame, grid)
    return ScreenPlan(
        settings=ScreenSettings(kind="compounds", **settings),
        conditions=conditions,
        survey=conditions.survey(),
        refused=(),
        inputs={"bundle": "b"},
        library_source=library.source,
        n_perturbations=1,
    )


def test_doses_and_times_are_converted_and_cmap_missing_values_are_null(tmp_path: Path) -> None:
    text = "pert_id,pert_dose,pert_dose_unit,pert_time,pert_time_unit\nX,500,nM,1,d\nY,-666,-666,-666,\n"
    frame = read_library(_csv(tmp_path, text), "compounds").frame
    assert frame["pert_dose"].to_list() == [0.5, None]
    assert frame["pert_time"].to_list() == [24.0, None]
    assert frame["pert_type"].to_list() == ["trt_cp", "trt_cp"]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_content_decides_the_format_of_a_list(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "list.data"
    table = pl.DataFrame({"gene": ["TP53", "MYC"]})
    if suffix == "parquet":
        table.write_parquet(path)
    else:
        table.with_columns(note=pl.lit("n")).write_csv(path, separator="," if suffix == "csv" else "\t")
    assert read_library(path, "genes").frame["pert_id"].to_list() == ["TP53", "MYC"]


def test_structures_are_canonicalised_and_bad_ones_named_by_row(tmp_path: Path) -> None:
    library = read_library(_csv(tmp_path, "pert_id,smiles\nsalt,CCO.Cl\nbad,C1CC\nplain,OCC\n"), "compounds")
    assert library.frame["canonical_smiles"].to_list() == ["CCO", "CCO"]
    assert library.frame["inchi_key"].n_unique() == 1
    assert [(item.row, item.pert_id) for item in library.refused] == [(2, "bad")]
    assert "'C1CC' is no valid SMILES" in str(library.refused[0])


def test_a_compound_without_an_id_is_named_by_its_structure(tmp_path: Path) -> None:
    frame = read_library(_csv(tmp_path, "canonical_smiles\nCCO\n"), "compounds").frame
    assert frame["pert_id"].to_list() == ["LFQSCWFLJHTTHZ-UHFFFAOYSA-N"]


def test_rows_that_say_the_same_count_once(tmp_path: Path) -> None:
    library = read_library(_csv(tmp_path, "pert_id\nTP53\nMYC\nTP53\n"), "genes")
    assert library.frame["row"].to_list() == [1, 2]
    assert library.n_repeated == 1


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("name_of_it\nX\n", SchemaError, "no column pert_id"),
        ("pert_id\n", SchemaError, "no rows"),
        ("pert_id,pert_type\nX,trt_cp\nY,trt_xpr\n", SchemaError, "row 2: pert_type is 'trt_xpr'"),
        ("pert_id,pert_dose\nX,1\nY,high\n", SchemaError, "row 2: pert_dose is 'high'"),
        ("pert_id,pert_dose\nX,-3\n", SchemaError, "row 1: pert_dose is '-3'"),
        ("pert_id,pert_dose,pert_dose_unit\nX,1,furlong\n", UnitError, "row 1: Unknown dose unit 'furlong'"),
        ("pert_id,cmap_name,note\nX,x,\n,,n\n", SchemaError, "row 2: no pert_id"),
    ],
)
def test_a_faulty_list_is_refused_by_file_and_row(
    tmp_path: Path, text: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=r"list\.csv.*" + said):
        read_library(_csv(tmp_path, text), "compounds")


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "list.csv"
    binary.write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe\x00")
    for path, said in ((binary, "neither text nor Parquet"), (tmp_path / "none.csv", "does not exist")):
        with pytest.raises(FormatError, match=said):
            read_library(path, "genes")


def test_what_a_row_states_itself_is_not_crossed() -> None:
    table = pl.DataFrame({"pert_id": ["X", "Y"], "cell_iname": ["C", None], "pert_dose": [None, 3.0]})
    library = library_of(table.with_columns(pert_type=pl.lit("trt_cp")), "test")
    crossed = Conditions(library.frame, GRID).table()
    assert crossed["sig_id"].to_list() == [
        "A|trt_cp|Y|3|24",
        "B|trt_cp|Y|3|24",
        "C|trt_cp|X|1|24",
        "C|trt_cp|X|10|24",
    ]


def test_a_condition_that_two_rows_name_is_predicted_once() -> None:
    table = pl.DataFrame({"pert_id": ["X", "X"], "cell_iname": [None, "A"], "pert_dose": [1.0, 1.0]})
    library = library_of(table.with_columns(pert_type=pl.lit("trt_cp")), "test")
    crossed = Conditions(library.frame, GRID).table()
    assert crossed["sig_id"].to_list() == ["A|trt_cp|X|1|24", "B|trt_cp|X|1|24"]


def test_a_library_without_doses_and_times_crosses_to_conditions_without_them() -> None:
    table = pl.DataFrame({"pert_id": ["TP53"]})
    grid = Grid(cells=("A",), types=GENETIC, doses=NONE, times=NONE)
    crossed = Conditions(library_of(table, "test").frame, grid).table()
    assert crossed["sig_id"].to_list() == ["A|trt_sh|TP53||", "A|trt_xpr|TP53||"]
    assert crossed["pert_dose_unit"].to_list() == [None, None]


def test_a_plan_hash_changes_with_anything_that_changes_the_output() -> None:
    library = library_of(pl.DataFrame({"pert_id": ["X"], "pert_type": ["trt_cp"]}), "test")
    renamed = library_of(
        pl.DataFrame({"pert_id": ["X"], "pert_type": ["trt_cp"], "cmap_name": ["x"]}), "test"
    )
    plan = _plan(library)
    assert plan.hash == _plan(library).hash
    others = [
        _plan(library, compound_grid("A", "B", doses=(1.0, 9.0))),
        _plan(library, seed=1),
        _plan(library, shard_rows=64),
        _plan(renamed),
    ]
    assert len({plan.hash, *(other.hash for other in others)}) == 5


def test_shards_cover_every_row_once() -> None:
    library = library_of(
        pl.DataFrame({"pert_id": [f"X{i}" for i in range(50)], "pert_type": "trt_cp"}), "test"
    )
    plan = _plan(library, shard_rows=64)
    rows = [row for shard in range(plan.n_shards) for row in range(plan.n_profiles)[plan.rows_of(shard)]]
    assert rows == list(range(200))


def test_blocks_of_any_size_hold_the_same_conditions_once_and_in_order() -> None:
    names = [f"X{number % 40}" for number in range(50)]
    table = pl.DataFrame({"pert_id": names, "pert_dose": [None] * 40 + [10.0] * 10, "pert_type": "trt_cp"})
    conditions = Conditions(library_of(table, "test").frame, GRID)
    whole = conditions.table()
    assert whole.height == 2 * 40 * 2 == whole["sig_id"].n_unique() == conditions.survey().n_profiles
    assert conditions.survey().groups == {("A", "trt_cp"): 80, ("B", "trt_cp"): 80}
    for block_rows in (1, 7, 64):
        blocks = list(rebatched(conditions.blocks(block_rows), 64))
        assert [block.height for block in blocks] == [64, 64, 32]
        assert pl.concat(blocks).equals(whole)
    assert conditions.head(3).equals(whole.head(3))


def test_compounds_and_genes_of_one_table_take_the_doses_of_their_own_type() -> None:
    table = pl.DataFrame({"pert_id": ["X", "TP53"], "pert_type": ["trt_cp", None]})
    grid = Grid(("A",), GENETIC, {"trt_cp": (1.0, 10.0), **NONE}, {"trt_cp": (24.0,), **NONE})
    found = Conditions(library_of(table, "test").frame, grid).table()["sig_id"].to_list()
    assert found == ["A|trt_cp|X|1|24", "A|trt_cp|X|10|24", "A|trt_sh|TP53||", "A|trt_xpr|TP53||"]


def test_single_perturbations_are_combined_each_with_each_and_listed_pairs_stay() -> None:
    library = library_of(pl.DataFrame({"pert_id": ["B", "A", "C", "D+A", "B+A"]}), "test")
    found = pairs_of(library)
    assert found.frame.select("row", "pert_id").rows() == [(1, "B+C"), (2, "A+C"), (4, "A+D"), (5, "A+B")]
    assert found.n_repeated == 1


def test_only_perturbations_that_agree_in_what_they_state_are_combined() -> None:
    table = pl.DataFrame({"pert_id": ["A", "B", "C"], "pert_type": ["trt_sh", "trt_sh", "trt_xpr"]})
    assert pairs_of(library_of(table, "test")).frame["pert_id"].to_list() == ["A+B"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["A+B+C"], r"row 1: 'A\+B\+C' names 3 perturbations"),
        (["A", "B+B"], "row 2: .* names one perturbation twice"),
        (["A"], "holds a single perturbation and no pair"),
        ([f"G{number}" for number in range(2_002)], "make 2,003,001 pairs, more than the 2,000,000"),
    ],
)
def test_lists_that_make_no_pairs_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        pairs_of(library_of(pl.DataFrame({"pert_id": names}), "test"))


def test_default_doses_are_all_of_a_few_and_quantiles_of_many() -> None:
    assert _spread([10.0, 1.0, 10.0], 6) == (1.0, 10.0)
    assert _spread([], 6) == (None,)
    many = _spread([float(i) for i in range(101)], 6)
    assert many == (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)
