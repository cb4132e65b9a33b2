"""What `create_store` writes is what it was given: in values, order, types and names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import polars as pl
import pytest
import scipy.sparse as sparse
import zarr
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.store import ExpressionStore, create_store, validate_store
from pertcast_data.vocabulary import OBS_COLUMNS, condition_id

GENES = 23


def observations(n_rows: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    kinds = rng.choice(["trt_cp", "ctl_vehicle"], n_rows, p=[0.7, 0.3])
    treated = kinds == "trt_cp"
    return pl.DataFrame(
        {
            "sig_id": [f"s{row}" for row in range(n_rows)],
            "cell_iname": rng.choice(["HT115", "A375"], n_rows),
            "pert_type": kinds,
            "pert_id": np.where(treated, rng.choice(["BRD-1", "BRD-2"], n_rows), "DMSO"),
            "pert_dose": pl.Series(np.where(treated, rng.choice([1.0, 10.0], n_rows), np.nan)),
            "pert_time": np.full(n_rows, 24.0),
            "batch_id": rng.choice(["plate1", "plate2"], n_rows),
            "source_row": np.arange(n_rows),
        }
    )


def genes(n_genes: int = GENES) -> pl.DataFrame:
    return pl.DataFrame({"gene_symbol": [f"GENE{number}" for number in range(n_genes)]})


def counts(n_rows: int, n_genes: int = GENES, seed: int = 1) -> sparse.csr_matrix:
    matrix = sparse.random(n_rows, n_genes, 0.3, format="csr", random_state=np.random.default_rng(seed))
    matrix.data = np.ceil(matrix.data * 40).astype(np.float32)
    return matrix


def profiles(n_rows: int, n_genes: int = GENES, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(8, 2, (n_rows, n_genes)).astype(np.float32)


def in_batches(matrix: Any, size: int) -> list[Any]:
    return [matrix[start : start + size] for start in range(0, matrix.shape[0], size)]


def create(path: Path, matrix: Any, **options: Any) -> ExpressionStore:
    sparse_rows = sparse.issparse(matrix)
    settings: dict[str, Any] = {
        "measure": "expression",
        "normalisation": "counts" if sparse_rows else "log2_intensity",
        "obs": observations(matrix.shape[0]),
        "var": genes(matrix.shape[1]),
        "batches": in_batches(matrix, 70),
        "shard_rows": 128,
    }
    return create_store(path, **{**settings, **options})


def source_rows(store: ExpressionStore) -> np.ndarray:
    return store.obs["source_row"].to_numpy()


@pytest.mark.parametrize("codec", ["none", "train", "archive"])
@pytest.mark.parametrize("make", [profiles, counts], ids=["dense", "csr"])
def test_anndata_reads_exactly_the_source_values(tmp_path: Path, make: Any, codec: str) -> None:
    matrix = make(300)
    store = create(tmp_path / "store", matrix, codec=codec)
    read = anndata.read_zarr(tmp_path / "store")
    expected = matrix[source_rows(store)]
    assert read.shape == (300, GENES)
    if sparse.issparse(matrix):
        assert (expected != read.X).nnz == 0
        assert (read.X.data.dtype, read.X.indices.dtype) == (np.uint16, np.uint16)
    else:
        np.testing.assert_array_equal(read.X, expected)
    assert list(read.var_names) == list(store.genes)
    assert list(read.obs_names) == store.obs["sig_id"].to_list()
    assert list(read.obs["source_row"]) == source_rows(store).tolist()
    assert read.obs["pert_dose"].isna().sum() == store.obs["pert_dose"].null_count() > 0
    assert validate_store(tmp_path / "store") == []


def test_rows_of_a_condition_lie_together_and_controls_come_first_in_their_context(tmp_path: Path) -> None:
    store = create(tmp_path / "store", profiles(300))
    runs = store.obs["condition_id"].rle().struct.field("value")
    assert runs.n_unique() == len(runs) == store.conditions.height
    contexts = store.obs["cell_iname"].to_list()
    assert contexts == sorted(contexts)
    for _, part in store.obs.group_by("cell_iname"):
        controls = part["is_control"].to_list()
        assert controls == sorted(controls, reverse=True)
        assert any(controls) and not all(controls)


def test_replicates_are_shuffled_within_their_condition_by_the_seed(tmp_path: Path) -> None:
    matrix = profiles(300)
    first, again, other = (
        create(tmp_path / name, matrix, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert source_rows(first).tolist() == source_rows(again).tolist() != source_rows(other).tolist()
    assert first.obs["condition_id"].equals(other.obs["condition_id"])
    largest = source_rows(first)[first.condition_of_row == first.conditions["n_rows"].arg_max()]
    assert largest.tolist() != sorted(largest.tolist())


def test_condition_index_agrees_with_the_vocabulary(tmp_path: Path) -> None:
    store = create(tmp_path / "store", profiles(200))
    conditions = store.conditions
    assert conditions["condition_index"].to_list() == list(range(conditions.height))
    assert conditions["n_rows"].sum() == store.n_rows
    assert store.condition_of_row.dtype == np.int32
    names = conditions["condition_id"].gather(store.condition_of_row)
    assert names.equals(store.obs["condition_id"])
    for row in store.obs.iter_rows(named=True):
        keys = (row["cell_iname"], row["pert_type"], row["pert_id"], row["pert_dose"], row["pert_time"])
        assert row["condition_id"] == condition_id(*keys)
        assert row["is_control"] == (row["pert_type"] == "ctl_vehicle")


def test_missing_conventional_columns_are_added_as_null(tmp_path: Path) -> None:
    store = create(tmp_path / "store", profiles(50))
    assert store.obs.columns[: len(OBS_COLUMNS)] == list(OBS_COLUMNS)
    assert store.obs["canonical_smiles"].null_count() == store.obs["targets"].null_count() == 50
    assert store.obs.schema["pert_dose"] == pl.Float64
    assert store.obs.schema["canonical_smiles"] == pl.String
    assert {"condition_id", "is_control", "source_row"} <= set(store.obs.columns)


def test_rows_beyond_the_memory_budget_wait_on_disk_and_come_out_the_same(tmp_path: Path) -> None:
    for make in (profiles, counts):
        matrix = make(400)
        held = create(tmp_path / f"held-{make.__name__}", matrix)
        spilled = create(tmp_path / f"spilled-{make.__name__}", matrix, memory_budget_bytes=1_000)
        assert held.data_hash == spilled.data_hash
        assert validate_store(spilled.path) == []
    assert sorted(child.name for child in tmp_path.iterdir()) == [
        "held-counts",
        "held-profiles",
        "spilled-counts",
        "spilled-profiles",
    ]


@pytest.mark.parametrize("make", [profiles, counts], ids=["dense", "csr"])
def test_runs_of_every_length_give_the_same_bytes(tmp_path: Path, make: Any) -> None:
    matrix = make(400)
    whole = create(tmp_path / "whole", matrix, batches=[matrix])
    for size, budget in ((1, 3_000), (7, 1 << 20), (150, 20_000)):
        pieces = create(
            tmp_path / f"{size}-{budget}",
            matrix,
            batches=in_batches(matrix, size),
            memory_budget_bytes=budget,
        )
        assert pieces.data_hash == whole.data_hash


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (65_535, np.uint16),
        (65_536, np.uint32),
        (2**32 - 1, np.uint32),
        (2.5, np.float32),
        (2.0**33, np.float32),
    ],
)
def test_one_value_decides_the_type_of_sparse_values(tmp_path: Path, largest: float, expected: type) -> None:
    matrix = counts(150).astype(np.float64)
    matrix.data[-1] = largest
    store = create(tmp_path / "store", matrix)
    group = zarr.open_group(str(tmp_path / "store"), mode="r")
    assert group["X/data"].dtype == expected
    assert largest in store.reader("memory").raw(np.arange(150)).data


def test_gene_indices_need_more_bits_only_above_65535_genes(tmp_path: Path) -> None:
    for n_genes, expected in ((65_535, np.uint16), (65_536, np.uint32)):
        matrix = sparse.csr_matrix(([3.0, 5.0], ([0, 1], [0, n_genes - 1])), shape=(2, n_genes))
        store = create(tmp_path / str(n_genes), matrix)
        assert zarr.open_group(str(store.path), mode="r")["X/indices"].dtype == expected
        read = store.reader("disk").raw(np.argsort(source_rows(store)))
        assert (read != matrix).nnz == 0


def test_unsorted_and_repeated_indices_are_put_in_order_without_changing_the_source(tmp_path: Path) -> None:
    indices, data = np.array([5, 1, 1, 2]), np.array([1.0, 2.0, 3.0, 4.0])
    matrix = sparse.csr_matrix((data, indices, np.array([0, 3, 4])), shape=(2, GENES))
    store = create(tmp_path / "store", matrix)
    read = store.reader("memory").raw(np.argsort(source_rows(store)))
    assert read.has_canonical_format
    np.testing.assert_array_equal(read.toarray()[0, [1, 5]], [5, 1])
    assert indices.tolist() == [5, 1, 1, 2] and data.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_layout_may_be_chosen_against_the_type_of_the_batches(tmp_path: Path) -> None:
    matrix = counts(150)
    dense = create(tmp_path / "dense", matrix, layout="dense")
    sparse_again = create(tmp_path / "csr", matrix.toarray(), layout="csr", normalisation="counts")
    assert (dense.info.layout, sparse_again.info.layout) == ("dense", "csr")
    rows = np.arange(150)
    np.testing.assert_array_equal(dense.reader().raw(rows), sparse_again.reader().raw(rows).toarray())


def test_a_shard_of_nothing_but_zeros_has_no_file_and_still_validates(tmp_path: Path) -> None:
    matrix = np.zeros((300, GENES), dtype=np.float32)
    store = create(tmp_path / "store", matrix)
    assert validate_store(store.path) == []
    assert not store.reader("disk").raw(np.arange(300)).any()


def test_symbols_that_are_missing_or_repeated_give_way_to_ids(tmp_path: Path) -> None:
    var = pl.DataFrame(
        {"gene_symbol": ["A", "B", "B", None], "gene_id": ["1", "2", "3", "4"], "length": [9, 8, 7, 6]}
    )
    store = create(tmp_path / "store", profiles(20, 4), var=var)
    assert store.genes == ("A", "2", "3", "4")
    assert store.var["length"].to_list() == [9, 8, 7, 6]
    with pytest.raises(SchemaError, match="no gene_id"):
        create(tmp_path / "other", profiles(20, 4), var=var.drop("gene_id"))


def test_the_hash_changes_with_values_observations_and_genes_only(tmp_path: Path) -> None:
    matrix = profiles(100)
    changed = matrix.copy()
    changed[3, 3] += 1
    base = create(tmp_path / "base", matrix)
    same = create(tmp_path / "same", matrix, batches=in_batches(matrix, 9), sources=["elsewhere.h5ad"])
    others = [
        create(tmp_path / "value", changed),
        create(tmp_path / "obs", matrix, obs=observations(100).with_columns(batch_id=pl.lit("p"))),
        create(tmp_path / "null", matrix, obs=observations(100).with_columns(cmap_name=pl.lit(""))),
        create(tmp_path / "var", matrix, var=genes().select(gene_symbol=pl.format("X{}", "gene_symbol"))),
    ]
    assert base.data_hash == same.data_hash
    assert len({base.data_hash, *(store.data_hash for store in others)}) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batches": [profiles(90)]}, "90 rows, obs has 100"),
        ({"batches": [profiles(100), profiles(1)]}, "more than the 100 rows"),
        ({"batches": [profiles(100, GENES + 1)]}, "shape"),
        ({"batches": [profiles(100).astype(str)]}, "must be numbers"),
        ({"batches": [-profiles(100)], "normalisation": "counts"}, "negative or missing"),
        ({"obs": observations(100).with_columns(pert_dose=pl.lit("10 uM"))}, "pert_dose.*10 uM"),
        ({"obs": observations(100).with_columns(nested=pl.lit([1, 2]))}, "nested"),
        ({"var": pl.DataFrame({"name": [str(number) for number in range(GENES)]})}, "gene_symbol"),
        ({"obs": observations(0), "batches": []}, "no rows"),
    ],
)
def test_input_that_does_not_fit_is_refused_and_leaves_nothing(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        create(tmp_path / "store", profiles(100), **options)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_path_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "precious").write_text("mine")
    with pytest.raises(ConfigError, match="already exists"):
        create(tmp_path / "store", profiles(10))
    assert [child.name for child in (tmp_path / "store").iterdir()] == ["precious"]
    assert len(list(tmp_path.iterdir())) == 1


def test_progress_counts_every_row_twice_and_ends_at_its_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    create(
        tmp_path / "store", profiles(300), progress=lambda done, total, note="": seen.append((done, total))
    )
    assert [total for _, total in seen] == [600] * len(seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == 600
