"""Weights from any table infer the same genes, landmarks stay as measured, and a store tells which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError, FormatError, SchemaError
from pertcast_data.gene_tables.gene_names import read_gene_names
from pertcast_data.landmarks.inference import infer_store
from pertcast_data.landmarks.weights import LandmarkWeights
from pertcast_data.store import ExpressionStore, create_store, validate_store

LANDMARKS = ("5720", "466", "6009")
INFERRED = ("2309", "387", "3553", "427")
GENES = ("466", "6009", "5720")
"""Landmarks as a store orders them."""


def matrix(seed: int = 0) -> NDArray[np.float32]:
    """(L + 1, G) weights, the offset last."""
    return np.random.default_rng(seed).normal(size=(len(LANDMARKS) + 1, len(INFERRED))).astype(np.float32)


def frame_of(rows: tuple[str, ...], columns: tuple[str, ...], values: NDArray[np.float32]) -> pl.DataFrame:
    return pl.DataFrame(
        {"id": rows, **{name: values[:, place].astype(np.float64) for place, name in enumerate(columns)}}
    )


def write_weights(path: Path, kind: str, values: NDArray[np.float32] | None = None) -> Path:
    """Write the weights in one of the ways in which labs keep them."""
    inputs = (*LANDMARKS, "OFFSET")
    weights = matrix() if values is None else values
    if kind == "gctx":
        with h5py.File(path, "w") as file:
            file["0/DATA/0/matrix"] = weights
            file["0/META/ROW/id"] = np.array([name.encode() for name in INFERRED])
            file["0/META/COL/id"] = np.array([name.encode() for name in inputs])
    elif kind == "gctx, turned":
        with h5py.File(path, "w") as file:
            file["0/DATA/0/matrix"] = weights.T
            file["0/META/ROW/id"] = np.array([name.encode() for name in inputs])
            file["0/META/COL/id"] = np.array([name.encode() for name in INFERRED])
    elif kind == "gct":
        rows = [
            f"{name}\t" + "\t".join(repr(float(x)) for x in weights[:, at])
            for at, name in enumerate(INFERRED)
        ]
        head = f"#1.3\n{len(INFERRED)}\t{len(inputs)}\t0\t0\n" + "\t".join(["id", *inputs])
        path.write_text("\n".join([head, *rows]) + "\n")
    elif kind == "csv":
        frame_of(INFERRED, inputs, weights.T).write_csv(path)
    elif kind == "csv, turned":
        frame_of((*LANDMARKS, "(Intercept)"), INFERRED, weights).write_csv(path)
    else:
        frame_of(INFERRED, inputs, weights.T).write_parquet(path)
    return path


KINDS = ("gctx", "gctx, turned", "gct", "csv", "csv, turned", "parquet")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_the_same_from_every_table_and_either_way_round(kind: str, tmp_path: Path) -> None:
    weights = LandmarkWeights.read(write_weights(tmp_path / "weights", kind))
    assert (weights.landmarks, weights.genes, weights.namespace) == (LANDMARKS, INFERRED, "Entrez ids")
    np.testing.assert_array_equal(weights.weights, matrix()[:3])
    np.testing.assert_array_equal(weights.offset, matrix()[3])
    assert weights.file == "weights" and len(weights.sha256) == 64


def test_inferred_genes_are_the_weighted_sums_however_the_store_orders_its_landmarks(tmp_path: Path) -> None:
    weights = LandmarkWeights.read(write_weights(tmp_path / "w.csv", "csv"))
    profiles = np.random.default_rng(1).normal(8, 2, (5, 3)).astype(np.float32)
    wanted = profiles.astype(np.float64) @ matrix()[:3].astype(np.float64) + matrix()[3]
    np.testing.assert_allclose(weights.infer(profiles), wanted, rtol=1e-5, atol=1e-5)
    aligned = weights.for_genes(["other", *GENES])
    assert aligned.landmarks == GENES
    turned = profiles[:, [LANDMARKS.index(gene) for gene in GENES]]
    np.testing.assert_allclose(aligned.infer(turned), wanted, rtol=1e-5, atol=1e-5)
    whole = aligned.complete(turned)
    np.testing.assert_array_equal(whole[:, :3], turned)
    np.testing.assert_array_equal(whole[:, 3:], aligned.infer(turned))
    change = aligned.infer(turned, is_change=True)
    np.testing.assert_allclose(change, wanted - matrix()[3], rtol=1e-5, atol=1e-5)


def test_a_missing_landmark_value_makes_that_profile_missing_and_no_other(tmp_path: Path) -> None:
    weights = LandmarkWeights.read(write_weights(tmp_path / "w.csv", "csv"))
    profiles = np.ones((3, 3), np.float32)
    profiles[1, 2] = np.nan
    found = weights.infer(profiles)
    assert np.isnan(found[1]).all() and np.isfinite(found[[0, 2]]).all()
    with pytest.raises(ConfigError, match=r"profiles are 3 x 2, the weights have 3 landmarks.*for_genes"):
        weights.infer(profiles[:, :2])


def test_saved_weights_are_read_back_equal(tmp_path: Path) -> None:
    weights = LandmarkWeights.read(write_weights(tmp_path / "w.gctx", "gctx"))
    weights.save(tmp_path / "saved.parquet")
    again = LandmarkWeights.read(tmp_path / "saved.parquet")
    assert (again.landmarks, again.genes) == (weights.landmarks, weights.genes)
    np.testing.assert_array_equal(again.weights, weights.weights)
    np.testing.assert_array_equal(again.offset, weights.offset)
    weights.save(tmp_path / "twice.parquet")
    assert (tmp_path / "saved.parquet").read_bytes() == (tmp_path / "twice.parquet").read_bytes()
    with pytest.raises(ConfigError, match=r"saved\.parquet already exists"):
        weights.save(tmp_path / "saved.parquet")


HEAD = "id,5720,466,OFFSET\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id,5720,466\n2309,1,2\n",
            "neither a row nor a column is the offset.*zeros where",
        ),
        ("id,5720,OFFSET,intercept\n2309,1,2,3\n", "several offsets"),
        ("id,5720,5720.0,OFFSET\n2309,1,2,3\n", "landmarks stand there twice: 5720"),
        (HEAD + "2309,1,2,3\n2309,1,2,3\n", "genes stand there twice: 2309"),
        (HEAD + "2309,1,nan,3\n", "the weight of 466 for 2309 is nan.*1 such weights"),
        (HEAD + "2309,1,,3\n", "the weight of 466 for 2309 is nan"),
        (HEAD + "2309,1,1e300,3\n", "no finite number"),
        (HEAD + "2309,1,x,3\n", "2309: the weight of 466 is 'x', which is no number"),
        (HEAD + ",1,2,3\n", "row 1: has no name in its first column"),
        (HEAD + "5720,1,2,3\n", "no gene beside them to infer"),
        (HEAD, "holds no weights"),
    ],
)
def test_what_is_no_table_of_weights_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    path.write_text(text)
    with pytest.raises(SchemaError, match=rf"weights\.csv.*{message}"):
        LandmarkWeights.read(path)


def test_an_absent_file_is_refused_and_a_measured_gene_is_not_inferred(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        LandmarkWeights.read(tmp_path / "absent.gctx")
    (tmp_path / "w.csv").write_text(HEAD + "2309,1,2,3\n466,4,5,6\n")
    assert LandmarkWeights.read(tmp_path / "w.csv").genes == ("2309",)


def store_of(
    folder: Path, name: str, normalisation: str = "log2_intensity", extra: bool = False
) -> ExpressionStore:
    """Six profiles over the three landmarks, called by symbol, with Entrez ids beside."""
    values = np.random.default_rng(2).normal(8, 2, (6, 4 if extra else 3)).astype(np.float32)
    symbols = ["ATF1", "RHEB", "PSME1", "MINE"][: values.shape[1]]
    var = pl.DataFrame(
        {
            "gene_id": [*(f"p{place}" for place in range(values.shape[1]))],
            "gene_symbol": symbols,
            "entrez": [466, 6009, 5720, 1][: values.shape[1]],
        }
    )
    obs = pl.DataFrame(
        {
            "sig_id": [f"s{row}" for row in range(6)],
            "cell_iname": "A375",
            "pert_type": ["ctl_vehicle"] * 2 + ["trt_cp"] * 4,
            "pert_id": ["DMSO"] * 2 + ["B1", "B1", "B2", "B2"],
            "well": [f"A{row}" for row in range(6)],
        }
    )
    return create_store(
        folder / name,
        obs=obs,
        var=var,
        batches=[values],
        measure="response" if normalisation in ("log_fold_change", "z_score") else "expression",
        normalisation=normalisation,  # type: ignore[arg-type]
    )


def test_a_store_of_landmarks_becomes_a_store_of_all_genes(tmp_path: Path) -> None:
    store = store_of(tmp_path, "landmarks", extra=True)
    weights = LandmarkWeights.read(write_weights(tmp_path / "w.gctx", "gctx"))
    (tmp_path / "names.tsv").write_text("gene_id\tgene_symbol\n2309\tFOXO3\n387\tRHOA\n")
    made = infer_store(store, weights, tmp_path / "all", read_gene_names(tmp_path / "names.tsv"))
    assert (made.matched_by, made.n_left_out) == ("entrez", 1)
    found = ExpressionStore.open(tmp_path / "all")
    assert not validate_store(tmp_path / "all")
    assert found.genes == ("ATF1", "RHEB", "PSME1", "FOXO3", "RHOA", "3553", "427")
    assert found.var["feature_space"].to_list() == ["landmark"] * 3 + ["inferred"] * 4
    assert found.var["entrez"].to_list() == [466, 6009, 5720] + [None] * 4
    before, after = store.obs.sort("sig_id"), found.obs.sort("sig_id")
    assert after.equals(before)
    rows = [each.obs.with_row_index("at").sort("sig_id")["at"].to_numpy() for each in (store, found)]
    measured = store.reader().dense(rows[0].astype(np.int64))[:, :3]
    values = found.reader().dense(rows[1].astype(np.int64))
    np.testing.assert_array_equal(values[:, :3], measured)
    turned = measured[:, [GENES.index(gene) for gene in LANDMARKS]]
    np.testing.assert_allclose(values[:, 3:], turned @ matrix()[:3] + matrix()[3], rtol=1e-4, atol=1e-4)
    step = found.preprocessing[-1]
    assert (step.step, step.fitted_on) == ("infer_genes", "nothing") and weights.sha256 in step.note
    again = infer_store(store, weights, tmp_path / "again", read_gene_names(tmp_path / "names.tsv"))
    assert again.store.data_hash == found.data_hash


def test_changes_get_no_offset_and_scores_and_counts_are_refused(tmp_path: Path) -> None:
    weights = LandmarkWeights.read(write_weights(tmp_path / "w.gctx", "gctx"))
    changes = store_of(tmp_path, "changes", "log_fold_change")
    made = infer_store(changes, weights, tmp_path / "all").store
    values = made.reader().dense(np.arange(6))
    turned = values[:, [GENES.index(gene) for gene in LANDMARKS]]
    np.testing.assert_allclose(values[:, 3:], turned @ matrix()[:3], rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match=r"scores: holds z_score.*Infer from levels first"):
        infer_store(store_of(tmp_path, "scores", "z_score"), weights, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_landmarks_that_a_store_lacks_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text("id,ATF1,NAT2,RHEB,CDH3,OFFSET\nFOXO3,1,2,3,4,5\n")
    with pytest.raises(SchemaError, match=r"w\.csv: 2 of 4 landmarks are not among the 3 genes: NAT2, CDH3"):
        infer_store(store_of(tmp_path, "landmarks"), LandmarkWeights.read(path), tmp_path / "no")
    probes = tmp_path / "probes.csv"
    probes.write_text("id,200814_at,OFFSET\n201746_at,1,2\n")
    with pytest.raises(SchemaError, match=r"by probe ids, the genes are called by symbols"):
        infer_store(store_of(tmp_path, "others"), LandmarkWeights.read(probes), tmp_path / "no")
    twice = LandmarkWeights.read(write_weights(tmp_path / "w2.csv", "csv"))
    with pytest.raises(SchemaError, match=r"landmarks twice \(466\)"):
        twice.for_genes([*GENES, "466"])


def test_real_landmarks_are_found_by_symbol(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    symbols = pl.read_parquet(shared_data("transcriptionnet/landmarks.parquet"))["symbol"].to_list()
    values = np.random.default_rng(3).normal(size=(20, len(symbols) + 1)).astype(np.float32)
    genes = tuple(f"GENE{row}" for row in range(20))
    frame_of(genes, (*symbols, "OFFSET"), values).write_parquet(tmp_path / "w.parquet")
    weights = LandmarkWeights.read(tmp_path / "w.parquet")
    assert weights.namespace == "symbols" and weights.weights.shape == (978, 20)
    np.testing.assert_array_equal(weights.for_genes(symbols[::-1]).weights, values[:, :-1].T[::-1])
