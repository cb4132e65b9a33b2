"""`pertcast query` on a screen's folder and on a store: what it prints and writes, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zarr
from numpy.typing import NDArray
from pertcast.analysis.enrichment import gene_ranks
from pertcast_data.errors import ConfigError, PertcastError, UnknownName
from pertcast_data.store import create_store
from pertcast_data.store.zarr_layout import (
    create_array,
    create_dense_group,
    open_array,
    write_array_shard,
    write_dense_shard,
)
from pertcast_jobs.cli.query import app
from pertcast_jobs.query import QueryRequest, ask, open_screen
from typer.testing import CliRunner

N, G, PLANTED = 128, 60, 20
GENES = [f"G{number}" for number in range(G)]


def profiles() -> NDArray[np.float32]:
    found = np.random.default_rng(0).standard_normal((N, G)).astype(np.float32)
    found[PLANTED, :6] += 4
    found[PLANTED, 6:12] -= 4
    found[100] = -found[PLANTED]
    return found


def table() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "sig_id": [f"S{row}" for row in range(N)],
            "pert_id": [f"BRD-{row % 64}" for row in range(N)],
            "cmap_name": [f"drug{row % 64}" for row in range(N)],
            "pert_type": ["trt_cp"] * N,
            "cell_iname": ["A549"] * 64 + ["MCF7"] * 64,
            "pert_dose": [10.0] * N,
        }
    )


def write_screen(folder: Path, values: NDArray[np.float32], *, with_ranks: bool = True) -> Path:
    folder.mkdir()
    root = folder / "profiles.zarr"
    var = pl.DataFrame({"gene_symbol": GENES})
    create_dense_group(root, N, G, dtype=np.float16, var=var, obs=table(), chunk_rows=64, shard_rows=64)
    for shard in range(N // 64):
        write_dense_shard(root, shard, values[shard * 64 : shard * 64 + 64].astype(np.float16))
    table().write_parquet(folder / "sig_info.parquet")
    (folder / "manifest.json").write_text(
        json.dumps({"format": "pertcast-screen", "n_profiles": N, "bundle": {}})
    )
    if with_ranks:
        ranks = folder / "ranks.zarr"
        group = zarr.create_group(str(ranks), zarr_format=3)
        shape = {"shape": (N, G), "chunks": (64, G), "shards": (64, G)}
        create_array(group, "rank", **shape, dtype=np.uint16, codec="none")  # type: ignore[arg-type]
        array = open_array(ranks, "rank")
        for shard in range(N // 64):
            write_array_shard(ranks, array, "rank", shard, gene_ranks(values[shard * 64 : shard * 64 + 64]))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a screen, a store of the same responses, and files of signatures."""
    root = tmp_path_factory.mktemp("query")
    write_screen(root / "screen", profiles())
    is_control = pl.int_range(N, eager=True) < 2
    obs = table().with_columns(
        pert_type=pl.when(is_control).then(pl.lit("ctl_vehicle")).otherwise(pl.lit("trt_cp"))
    )
    create_store(
        root / "store",
        obs=obs,
        var=pl.DataFrame({"gene_symbol": GENES}),
        batches=[profiles()],
        measure="response",
        normalisation="z_score",
    )
    (root / "up.txt").write_text("\n".join([*GENES[:6], "EGFR", "1-Mar"]))
    (root / "down.txt").write_text("\n".join(GENES[6:12]))
    (root / "both.gmt").write_text(
        "x_up\t\t" + "\t".join(GENES[:6]) + "\nx_down\t\t" + "\t".join(GENES[6:12]) + "\n"
    )
    values = profiles()[PLANTED]
    (root / "w.rnk").write_text(
        "".join(f"{gene}\t{value}\n" for gene, value in zip(GENES, values, strict=True))
    )
    return root


def sets(folder: Path) -> list[str]:
    return ["--up", f"{folder / 'up.txt'}", "--down", f"{folder / 'down.txt'}"]


def called(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_planted_profile_comes_first_in_text_json_and_table(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.csv"
    words = ["--screen", f"{folder / 'screen'}", *sets(folder), "--top", "3"]
    text = called(*words, "--out", f"{out}")
    assert "predicted (" in text and "up: 6 of 8 genes used" in text and "(1-Mar)" in text
    assert text.index("Mimickers: 3 of") < text.index("  1  drug20") < text.index("Reversers: 3 of")
    assert text.rstrip().endswith(f"table {out}")
    found = pl.read_csv(out)
    assert found.height == N and found["sig_id"][0] == f"S{PLANTED}" and found["sig_id"][-1] == "S100"
    assert {"raw_cs", "norm_cs", "tau", "fdr_q_nlog10", "word", "rank", "library"} <= set(found.columns)
    told = json.loads(called(*words, "--json"))
    assert told["mimics"][0]["sig_id"] == f"S{PLANTED}" and len(told["reverses"]) == 3
    assert told["mapping"]["lists"][0]["invalid"] == ["1-Mar"]


def test_a_weighted_signature_a_profile_and_sets_of_a_gmt_file_find_the_same_profile(folder: Path) -> None:
    screen = folder / "screen"
    for request in (
        QueryRequest(screen=screen, signature=folder / "w.rnk"),
        QueryRequest(screen=screen, up=folder / "both.gmt", down=folder / "both.gmt"),
        QueryRequest(screen=screen, up=folder / "up.txt", down=folder / "down.txt", score="xsum"),
    ):
        found = ask(request)
        assert found.table["sig_id"][0] == f"S{PLANTED}" and found.table["sig_id"][-1] == "S100"
    own = ask(QueryRequest(screen=screen, sig_id=f"S{PLANTED}"))
    assert own.table["sig_id"][-1] == "S100" and own.table.height == N - 1
    assert f"S{PLANTED}" not in own.table["sig_id"]


def test_a_screen_without_ranks_gives_the_same_order_and_says_that_it_lacks_them(
    folder: Path, tmp_path: Path
) -> None:
    exact = profiles().astype(np.float16).astype(np.float32)
    bare = write_screen(tmp_path / "bare", exact, with_ranks=False)
    ranked = write_screen(tmp_path / "ranked", exact)
    asked = {"up": folder / "up.txt", "down": folder / "down.txt"}
    first, second = ask(QueryRequest(screen=bare, **asked)), ask(QueryRequest(screen=ranked, **asked))
    assert first.table.drop("library").equals(second.table.drop("library"))
    assert any("holds no ranks" in remark for remark in first.remarks)
    assert not any("holds no ranks" in remark for remark in second.remarks)


def test_a_store_is_searched_as_measured_without_its_controls(folder: Path) -> None:
    found = ask(QueryRequest(store=folder / "store", up=folder / "up.txt", down=folder / "down.txt"))
    assert found.library.startswith("measured (") and found.table.height == N - 2
    assert found.table["sig_id"][0] == f"S{PLANTED}"
    assert any("2 control profiles left out" in remark for remark in found.remarks)


def test_cell_lines_and_types_restrict_what_is_searched(folder: Path) -> None:
    found = ask(QueryRequest(screen=folder / "screen", signature=folder / "w.rnk", cells=("MCF7",)))
    assert set(found.table["cell_iname"]) == {"MCF7"} and found.table.height == 64
    with pytest.raises(ConfigError, match="Use MCF7"):
        ask(QueryRequest(screen=folder / "screen", signature=folder / "w.rnk", cells=("MCF-7",)))
    with pytest.raises(ConfigError, match="no pert_type 'trt_sh'"):
        ask(QueryRequest(screen=folder / "screen", signature=folder / "w.rnk", types=("trt_sh",)))


def test_a_summary_has_one_row_a_perturbation(folder: Path) -> None:
    words = ["--screen", f"{folder / 'screen'}", *sets(folder), "--score", "cosine", "--summary", "--json"]
    told = json.loads(called(*words))
    assert told["n_rows"] == 64 and told["mimics"][0]["n_cells"] == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--screen", "S", "--store", "S", "--up", "U", "--down", "U"], "never mixed"),
        (["--up", "U", "--down", "U"], "Search one library"),
        (["--screen", "S"], "Ask with one signature"),
        (["--screen", "S", "--up", "U", "--down", "U", "--sig-id", "X"], "Ask with one signature"),
        (["--screen", "S", "--up", "U"], "needs both"),
        (["--screen", "S", "--sig-id", "X", "--score", "wtc"], "Did you mean wtcs"),
    ],
)
def test_a_query_that_is_not_one_is_refused(words: list[str], told: str) -> None:
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2 and told in " ".join(refused.output.split())


def test_a_table_is_written_as_csv_or_parquet() -> None:
    with pytest.raises(ConfigError, match=r"csv or \.parquet"):
        CliRunner().invoke(app, ["--screen", "S", "--sig-id", "X", "--out", "q.xlsx"], catch_exceptions=False)


def test_a_folder_that_is_no_library_is_refused(folder: Path, tmp_path: Path) -> None:
    asked = {"up": folder / "up.txt", "down": folder / "down.txt"}
    with pytest.raises(ConfigError, match="no finished screen"):
        ask(QueryRequest(screen=tmp_path, **asked))
    create_store(
        tmp_path / "levels",
        obs=table(),
        var=pl.DataFrame({"gene_symbol": GENES}),
        batches=[profiles() + 10],
        measure="expression",
        normalisation="log2_intensity",
    )
    with pytest.raises(PertcastError, match="holds levels"):
        ask(QueryRequest(store=tmp_path / "levels", **asked))


def test_a_profile_that_is_not_there_is_refused_with_the_nearest(folder: Path) -> None:
    with pytest.raises(UnknownName, match="Nearest known"):
        ask(QueryRequest(screen=folder / "screen", sig_id="S2x"))


def test_ranks_are_read_only_for_scores_that_need_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    from pertcast.screens.profile_read import ProfileRead

    plain = ProfileRead.exact

    def noted(self: ProfileRead, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        found: NDArray[np.generic] = plain(self, rows)
        read.append(found.dtype.name)
        return found

    monkeypatch.setattr(ProfileRead, "exact", noted)
    library = open_screen(folder / "screen")
    block = library.index.take(np.arange(3))
    assert read == ["float16"]
    assert np.array_equal(block.ranks, gene_ranks(profiles()[:3])) and read == ["float16", "uint16"]
