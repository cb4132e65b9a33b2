"""Exports of screens: every value and name comes back, only what is asked for, and nothing half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import polars as pl
import pytest
import typer
from numpy.typing import NDArray
from pertcast.analysis.hits import condition_statistics, rank_hits
from pertcast.evaluation.other_tools.pair import open_pair
from pertcast.screens import finished
from pertcast_data.errors import ConfigError, CorruptStore, UnknownContext
from pertcast_data.export import gct
from pertcast_data.gene_sets.gmt import read_gmt
from pertcast_data.readers import open_source
from pertcast_data.store.zarr_layout import (
    create_array,
    create_dense_group,
    open_array,
    write_array_shard,
    write_obs,
)
from pertcast_jobs.cli.screen_export import export
from pertcast_jobs.screen_export import Choice, ExportRequest, export_screen
from pertcast_jobs.screen_export.choice import UnknownPerturbation, UnknownSignature
from pertcast_jobs.screen_export.gene_lists import MOST_FILES
from typer.testing import CliRunner

N_GENES, SHARD = 30, 64
GENES = tuple(f"GENE{number:02d}" for number in range(N_GENES))
CELLS, DRUGS, DOSES = ("A375", "MCF7"), 25, (0.1, 1.0, 10.0)


def identities() -> pl.DataFrame:
    rows = [
        {
            "sig_id": f"{cell}|trt_cp|BRD-{drug:03d}|{dose:g}|24",
            "pert_id": f"BRD-{drug:03d}",
            # A Greek letter, a tab and missing names: what text columns have to survive.
            "cmap_name": None if drug == 3 else f"α-drug\t{drug}" if drug == 4 else f"drug-{drug}",
            "pert_type": "trt_cp",
            "cell_iname": cell,
            "pert_dose": dose,
            "pert_time": 24.0 if drug != 5 else None,
            "targets": None,
            "seen_pert": None if drug % 2 else drug < 10,
            "seen_cell": True,
            "is_in_domain": True,
        }
        for cell in CELLS
        for drug in range(DRUGS)
        for dose in DOSES
    ]
    types = {"targets": pl.String, "pert_time": pl.Float64, "seen_pert": pl.Boolean}
    return pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None)


def responses(count: int) -> NDArray[np.float32]:
    values = np.random.default_rng(3).normal(0, 1, (count, N_GENES)).astype(np.float32)
    values[:, 5] = np.nextafter(values[:, 6], np.float32(9))  # apart in float32, one number in float16
    values[7] = np.abs(values[7])  # nothing falls
    return values


def write_screen(path: Path, has_levels: bool = True, has_ranks: bool = True) -> Path:
    """A finished screen with the files of `pertcast screen`, without a model."""
    info = identities()
    mean = responses(info.height)
    sd = np.full_like(mean, 0.3)
    levels = mean + np.where(info["cell_iname"] == "A375", 6.0, 4.0)[:, None] + np.arange(N_GENES) / 10
    info = info.with_columns(condition_statistics(mean, sd, GENES).get_columns())
    hits = rank_hits(info).with_columns(fdr=pl.when(pl.col("rank") <= 60).then(pl.col("rank") / 600))
    var = pl.DataFrame({"gene_symbol": GENES})
    layers = {"sd": sd} | ({"expression": levels} if has_levels else {})
    root = path / "profiles.zarr"
    path.mkdir()
    create_dense_group(
        root, len(mean), N_GENES, chunk_rows=SHARD, shard_rows=SHARD, dtype=np.float16, var=var
    )
    write_obs(root, info, None)
    write_matrix(root, "X", mean.astype(np.float16))
    for name, values in layers.items():
        add_matrix(root / "layers", name, np.float16)
        write_matrix(root, f"layers/{name}", values.astype(np.float16))
    if has_ranks:
        place = np.argsort(np.argsort(-mean, axis=1, kind="stable"), axis=1)
        create_dense_group(path / "ranks.zarr", len(mean), N_GENES, chunk_rows=SHARD, shard_rows=SHARD)
        add_matrix(path / "ranks.zarr", "rank", np.uint16)
        write_matrix(path / "ranks.zarr", "rank", place.astype(np.uint16))
    info.write_parquet(path / "sig_info.parquet", row_group_size=40)
    hits.write_parquet(path / "hits.parquet")
    bundle = {
        "model_id": "toy:1", "measure": "expression", "normalisation": "log1p_cpm", "licence": "CC0",
    }  # fmt: skip
    facts = {"n_profiles": len(mean), "bundle": bundle if has_levels else bundle | {"measure": "response"}}
    facts["format"] = "pertcast-screen"
    (path / "manifest.json").write_text(json.dumps(facts))
    return path


def add_matrix(group: Path, name: str, dtype: Any) -> None:
    import zarr

    shape = (len(CELLS) * DRUGS * len(DOSES), N_GENES)
    create_array(
        zarr.open_group(str(group), mode="r+"),
        name,
        shape=shape,
        chunks=(SHARD, N_GENES),
        shards=(SHARD, N_GENES),
        dtype=dtype,
        codec="none",
        attributes={"encoding-type": "array", "encoding-version": "0.2.0"},
    )


def write_matrix(root: Path, name: str, values: NDArray[Any]) -> None:
    array = open_array(root, name)
    for shard, start in enumerate(range(0, len(values), SHARD)):
        write_array_shard(root, array, name, shard, values[start : start + SHARD])


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_screen(tmp_path_factory.mktemp("exports") / "screen")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that end in the middle of everything."""
    monkeypatch.setattr(finished, "rows_per_batch", lambda n_genes: 17)
    monkeypatch.setattr(finished, "_TABLE_ROWS", 23)


def exported(screen: Path, to: str, out: Path, choice: Choice | None = None, **options: Any) -> Path:
    return export_screen(ExportRequest(screen, to, out, choice or Choice(), **options)).path


def info_of(screen: Path) -> pl.DataFrame:
    return pl.read_parquet(screen / "sig_info.parquet")


def stored(screen: Path, layer: str = "X") -> NDArray[np.float32]:
    return np.asarray(open_array(screen / "profiles.zarr", layer, mode="r")[:]).astype(np.float32)


def source_values(path: Path) -> NDArray[Any]:
    return np.concatenate(list(open_source(path).batches()))


def plain(column: Any) -> list[Any]:
    """A pandas column with None for whatever is missing."""
    return [None if value != value else value for value in column.astype(object).fillna(np.nan)]


CHOICES = {
    "everything": Choice(),
    "scattered": Choice(top=9),
    "one cell line": Choice(cells=("MCF7",), doses=(10.0,)),
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=list(CHOICES))
@pytest.mark.parametrize("to", ["h5ad", "gctx", "gct"])
def test_values_and_names_come_back_through_our_own_readers(
    screen: Path, tmp_path: Path, to: str, choice: Choice
) -> None:
    info = info_of(screen).with_row_index("row")
    if choice.top:
        best = pl.read_parquet(screen / "hits.parquet")["sig_id"].head(choice.top)
        info = info.filter(pl.col("sig_id").is_in(best.to_list()))
    if choice.cells:
        info = info.filter((pl.col("cell_iname") == "MCF7") & (pl.col("pert_dose") == 10))
    path = exported(screen, to, tmp_path / f"out.{to}", choice)
    source = open_source(path)
    assert source.obs()["source_id"].to_list() == info["sig_id"].to_list()
    assert source.var()["source_id"].to_list() == list(GENES)
    np.testing.assert_array_equal(source_values(path), stored(screen)[info["row"]])
    found = source.obs()
    for column in ("pert_id", "cell_iname", "pert_dose", "effect_size", "n_deg", "top_up"):
        assert found[column].to_list() == info[column].to_list(), column


def test_anndata_reads_the_h5ad_with_its_layers_and_every_column(screen: Path, tmp_path: Path) -> None:
    data = anndata.read_h5ad(exported(screen, "h5ad", tmp_path / "out.h5ad"))
    whole = anndata.read_zarr(screen / "profiles.zarr")
    assert data.X.dtype == np.float32 and set(data.layers) == {"sd", "expression"}
    assert data.obs_names.tolist() == whole.obs_names.tolist()
    for name in data.layers:
        np.testing.assert_array_equal(data.layers[name], np.asarray(whole.layers[name], np.float32))
    info = info_of(screen)
    assert data.obs.columns.tolist() == info.columns
    for column in info.columns:
        found = [
            None if value != value else value for value in data.obs[column].astype(object).fillna(np.nan)
        ]
        assert found == info[column].to_list(), column
    assert data.uns["pertcast"]["values"] == "response"


def test_one_layer_is_written_alone(screen: Path, tmp_path: Path) -> None:
    data = anndata.read_h5ad(exported(screen, "h5ad", tmp_path / "out.h5ad", layer="expression"))
    np.testing.assert_array_equal(data.X, stored(screen, "layers/expression"))
    assert not data.layers and data.uns["pertcast"]["values"] == "expression"


def test_text_beyond_the_remembered_categories_stays_text(
    screen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pertcast_data.export.content.MOST_CATEGORIES", 3)
    data = anndata.read_h5ad(exported(screen, "h5ad", tmp_path / "out.h5ad"))
    assert data.obs["cell_iname"].dtype == "category" and data.obs["cmap_name"].dtype != "category"
    names = [
        None if value != value else value for value in data.obs["cmap_name"].astype(object).fillna(np.nan)
    ]
    assert names == info_of(screen)["cmap_name"].to_list()


@pytest.mark.parametrize("to", ["gctx", "gct"])
def test_missing_metadata_is_cmaps_number_and_genes_are_the_rows(
    screen: Path, tmp_path: Path, to: str
) -> None:
    import h5py

    path = exported(screen, to, tmp_path / f"out.{to}", Choice(pert_ids=("BRD-003", "BRD-004", "BRD-005")))
    if to == "gctx":
        with h5py.File(path) as file:
            columns = {name: list(file["0/META/COL"][name][()]) for name in ("cmap_name", "pert_time")}
            assert file["0/DATA/0/matrix"].shape == (18, N_GENES)
        names = [name.decode() for name in columns["cmap_name"]]
        times = columns["pert_time"]
    else:
        lines = [line.split("\t") for line in path.read_text().splitlines()]
        assert lines[0] == ["#1.3"] and lines[1][:2] == [str(N_GENES), "18"]
        fields = {line[0]: line[2:] for line in lines[2:]}
        names, times = fields["cmap_name"], [float(time) for time in fields["pert_time"]]
        assert len({len(line) for line in lines[2:]}) == 1
    assert set(names) == {"-666", "α-drug\t4" if to == "gctx" else "α-drug 4", "drug-5"}
    assert set(times) == {24.0, -666.0}


def test_a_gct_file_that_would_be_too_large_is_refused_with_what_to_write_instead(
    screen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gct, "MOST_VALUES", 100)
    with pytest.raises(ConfigError, match="Write gctx"):
        exported(screen, "gct", tmp_path / "out.gct")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("has_ranks", [True, False])
def test_gene_sets_hold_the_strongest_genes_of_one_sign_as_ranked_before_rounding(
    screen: Path, tmp_path: Path, has_ranks: bool
) -> None:
    if not has_ranks:
        screen = write_screen(tmp_path / "unranked", has_ranks=False)
    path = exported(screen, "gmt", tmp_path / "sets.gmt", n_genes=20)
    sets = {line.split("\t")[0]: line.split("\t")[2:] for line in path.read_text().splitlines()}
    info, exact = info_of(screen), responses(150)
    values = exact if has_ranks else stored(screen)
    for sig_id, response in zip(info["sig_id"], values, strict=True):
        order = np.argsort(-response, kind="stable")
        up = [GENES[gene] for gene in order[:20] if response[gene] > 0]
        down = [GENES[gene] for gene in order[::-1][:20] if response[gene] < 0]
        assert sets.get(f"{sig_id}_UP", []) == up
        assert sets.get(f"{sig_id}_DOWN", []) == down
    assert f"{info['sig_id'][7]}_DOWN" not in sets and len(sets) == 299
    assert len(read_gmt(path)) == 299


def test_ranked_lists_are_files_from_the_highest_to_the_lowest(screen: Path, tmp_path: Path) -> None:
    folder = exported(screen, "rnk", tmp_path / "lists", Choice(pert_ids=("BRD-002",)))
    assert len(list(folder.iterdir())) == 6
    row = info_of(screen)["sig_id"].to_list().index("A375|trt_cp|BRD-002|0.1|24")
    lines = (folder / "A375_trt_cp_BRD-002_0.1_24.rnk").read_text().splitlines()
    names, values = zip(*(line.split("\t") for line in lines), strict=True)
    order = np.argsort(-responses(150)[row], kind="stable")
    assert list(names) == [GENES[gene] for gene in order]
    np.testing.assert_array_equal(np.array(values, np.float32), stored(screen)[row][order])


def test_more_files_than_a_folder_should_hold_are_refused(
    screen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_FILES == 1_000
    monkeypatch.setattr("pertcast_jobs.screen_export.gene_lists.MOST_FILES", 149)
    with pytest.raises(ConfigError, match=r"150 profiles would be 150 files.*--top"):
        exported(screen, "rnk", tmp_path / "lists")
    assert not list(tmp_path.iterdir())


def test_hits_keep_their_order_and_ranks(screen: Path, tmp_path: Path) -> None:
    path = exported(screen, "csv", tmp_path / "hits.csv", Choice(cells=("A375",), top=12))
    expected = pl.read_parquet(screen / "hits.parquet").filter(cell_iname="A375").head(12)
    found = pl.read_csv(path)
    assert found.columns == expected.columns
    assert found["sig_id"].to_list() == expected["sig_id"].to_list()
    assert found["rank"].to_list() == expected["rank"].to_list()


def test_a_long_table_has_a_row_a_profile_and_gene(screen: Path, tmp_path: Path) -> None:
    path = exported(screen, "csv", tmp_path / "long.csv", Choice(doses=(0.1,)), is_long=True, layer="sd")
    long = pl.read_csv(path)
    info = info_of(screen).with_row_index("row").filter(pl.col("pert_dose") == 0.1)
    assert long["sig_id"].to_list() == np.repeat(info["sig_id"].to_numpy(), N_GENES).tolist()
    assert long["gene"].to_list() == [*GENES] * info.height
    np.testing.assert_array_equal(
        long["sd"].to_numpy().astype(np.float32), stored(screen, "layers/sd")[info["row"]].ravel()
    )


def test_conditions_of_a_choice_must_all_hold(screen: Path, tmp_path: Path) -> None:
    hits = pl.read_parquet(screen / "hits.parquet")
    asked = Choice(cells=("A375",), pert_types=("trt_cp",), times=(24.0,), min_effect=0.9, max_fdr=0.05)
    expected = hits.filter(
        (pl.col("cell_iname") == "A375")
        & (pl.col("pert_time") == 24)
        & (pl.col("effect_size") >= 0.9)
        & (pl.col("fdr") <= 0.05)
    )
    assert 0 < expected.height < hits.height
    assert pl.read_csv(exported(screen, "csv", tmp_path / "a.csv", asked))["sig_id"].equals(
        expected["sig_id"]
    )
    with pytest.raises(ConfigError, match="no profile is left of 150"):
        exported(screen, "csv", tmp_path / "b.csv", Choice(min_effect=99.0))


def test_what_the_screen_does_not_hold_is_refused_with_the_nearest_names(
    screen: Path, tmp_path: Path
) -> None:
    cases: list[tuple[Choice, Any, str]] = [
        (
            Choice(sig_ids=("MCF7|trt_cp|BRD-0l2|10|24",)),
            UnknownSignature,
            r"known: MCF7\|trt_cp\|BRD-0\d\d\|10\|",
        ),
        (Choice(pert_ids=("BRD-001", "BRD-25")), UnknownPerturbation, "Nearest known: BRD-02"),
        (Choice(cells=("MFC7",)), UnknownContext, "Nearest known: MCF7"),
    ]
    for choice, error, words in cases:
        with pytest.raises(error, match=words):
            exported(screen, "csv", tmp_path / "out.csv", choice)
    assert not list(tmp_path.iterdir())


def test_a_rate_is_not_asked_of_a_screen_that_has_none(screen: Path, tmp_path: Path) -> None:
    shutil.copytree(screen, tmp_path / "screen")
    hits = pl.read_parquet(screen / "hits.parquet").with_columns(fdr=pl.lit(None, dtype=pl.Float64))
    hits.write_parquet(tmp_path / "screen" / "hits.parquet")
    with pytest.raises(ConfigError, match="nothing calibrated this screen"):
        exported(tmp_path / "screen", "csv", tmp_path / "out.csv", Choice(max_fdr=0.1))


def test_hits_out_of_order_and_a_table_of_another_length_are_seen(screen: Path, tmp_path: Path) -> None:
    shutil.copytree(screen, tmp_path / "screen")
    hits = pl.read_parquet(screen / "hits.parquet")
    hits.reverse().write_parquet(tmp_path / "screen" / "hits.parquet")
    with pytest.raises(CorruptStore, match="not ordered by rank"):
        exported(tmp_path / "screen", "csv", tmp_path / "out.csv", Choice(top=3))
    info_of(screen).head(140).write_parquet(tmp_path / "screen" / "sig_info.parquet")
    with pytest.raises(CorruptStore, match="has 140 rows, the manifest says 150"):
        exported(tmp_path / "screen", "gctx", tmp_path / "out.gctx")


def test_an_unfinished_screen_an_existing_file_and_a_layer_that_is_not_there_are_refused(
    screen: Path, tmp_path: Path
) -> None:
    shutil.copytree(screen, tmp_path / "screen")
    (tmp_path / "screen" / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="holds no finished screen"):
        exported(tmp_path / "screen", "h5ad", tmp_path / "out.h5ad")
    mine = tmp_path / "mine.gctx"
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=r"mine\.gctx already exists"):
        exported(screen, "gctx", mine)
    with pytest.raises(ConfigError, match="has no layer 'counts'; it has response, expression, sd"):
        exported(screen, "gctx", tmp_path / "out.gctx", layer="counts")
    for to, options, words in (
        ("gmt", {"layer": "sd"}, "no meaning with --to gmt"),
        ("h5ad", {"is_long": True}, "--long is for --to csv"),
        ("h5da", {}, "Did you mean h5ad"),
    ):
        with pytest.raises(ConfigError, match=words):
            exported(screen, to, tmp_path / "out", **options)
    assert mine.read_text() == "mine" and {path.name for path in tmp_path.iterdir()} == {
        "screen",
        "mine.gctx",
    }


@pytest.mark.parametrize("to", ["h5ad", "cell-eval", "gctx", "gct", "gmt", "rnk", "csv"])
def test_an_interrupted_export_leaves_nothing(screen: Path, tmp_path: Path, to: str) -> None:
    def interrupt(done: int, total: int, note: str = "") -> None:
        raise KeyboardInterrupt

    choice = Choice(doses=(10.0,))
    with pytest.raises(KeyboardInterrupt):
        export_screen(ExportRequest(screen, to, tmp_path / "out", choice), interrupt)
    assert not list(tmp_path.iterdir())


def test_a_prediction_for_cell_eval_holds_levels_and_the_controls_of_every_context(
    screen: Path, tmp_path: Path
) -> None:
    choice = Choice(doses=(10.0,), times=(24.0,))
    outcome = export_screen(ExportRequest(screen, "cell-eval", tmp_path / "p.h5ad", choice))
    data = anndata.read_h5ad(outcome.path)
    controls = data[data.obs["target_gene"] == "non-targeting"]
    assert controls.obs["cell_iname"].tolist() == ["A375", "MCF7"]
    for control, basal in zip(controls.X, (6.0, 4.0), strict=True):
        np.testing.assert_allclose(control, basal + np.arange(N_GENES) / 10, atol=2e-3)
    info = info_of(screen).with_row_index("row").filter(pert_dose=10.0, pert_time=24.0)
    treated = data[: info.height]
    assert treated.obs["target_gene"].tolist() == info["pert_id"].to_list()
    context = (info["cell_iname"] == "MCF7").to_numpy().astype(int)
    # What cell-eval subtracts leaves the response as it is stored, except where a level would be negative.
    np.testing.assert_allclose(treated.X - controls.X[context], stored(screen)[info["row"]], atol=2e-6)
    np.testing.assert_allclose(treated.X, stored(screen, "layers/expression")[info["row"]], atol=1e-2)
    assert data.X.min() >= 0 and outcome.remarks[0].startswith("2 control profiles")


def test_negative_levels_become_zero_and_are_counted(screen: Path, tmp_path: Path) -> None:
    shutil.copytree(screen, tmp_path / "screen")
    low = stored(screen) + 0.5
    write_matrix(tmp_path / "screen" / "profiles.zarr", "layers/expression", low.astype(np.float16))
    request = ExportRequest(tmp_path / "screen", "cell-eval", tmp_path / "p.h5ad", Choice(doses=(1.0,)))
    outcome = export_screen(request)
    data = anndata.read_h5ad(outcome.path)
    count = int((data.X == 0).sum())
    assert count > 100 and data.uns["pertcast"]["n_values_set_to_zero"] == count
    assert f"{count:,} predicted levels below 0" in outcome.remarks[1]
    write_matrix(tmp_path / "screen" / "profiles.zarr", "layers/expression", (low + 15).astype(np.float16))
    with pytest.raises(ConfigError, match="cell-eval refuses 15 and more"):
        exported(tmp_path / "screen", "cell-eval", tmp_path / "q.h5ad", Choice(doses=(1.0,)))


def test_conditions_that_cell_eval_would_average_and_screens_without_levels_are_refused(
    screen: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="150 conditions have only 50 labels"):
        exported(screen, "cell-eval", tmp_path / "p.h5ad")
    without = write_screen(tmp_path / "screen", has_levels=False)
    with pytest.raises(ConfigError, match=r"holds responses .* and no levels"):
        exported(without, "cell-eval", tmp_path / "p.h5ad", Choice(doses=(1.0,)))


def test_pertcast_evaluate_reads_what_was_written_for_cell_eval(screen: Path, tmp_path: Path) -> None:
    prediction = exported(screen, "cell-eval", tmp_path / "p.h5ad", Choice(cells=("A375",), doses=(10.0,)))
    data = anndata.read_h5ad(prediction)
    cells = np.repeat(np.arange(data.n_obs), 20)
    noise = np.random.default_rng(0).normal(0, 0.1, (len(cells), N_GENES))
    truth = anndata.AnnData(
        np.clip(data.X[cells] + noise, 0, None).astype(np.float32),
        data.obs[["target_gene"]].iloc[cells].astype(str).reset_index(drop=True).rename(index=str),
        data.var[[]],
    )
    truth.write_h5ad(tmp_path / "truth.h5ad")
    pair = open_pair(prediction, tmp_path / "truth.h5ad")
    assert pair.held.n_conditions == DRUGS and pair.held.n_genes == N_GENES


def test_the_command_reads_lists_and_tells_what_it_wrote(screen: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(export)
    wanted = info_of(screen)["sig_id"].gather([3, 77]).to_list()
    (tmp_path / "list.txt").write_text("\n".join(wanted) + "\n")
    words = [str(screen), "--to", "gctx", "--out", str(tmp_path / "a.gctx")]
    done = CliRunner().invoke(app, [*words, "--sig-id", f"@{tmp_path / 'list.txt'}", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["n_profiles"] == 2 and facts["format"] == "gctx"
    assert open_source(tmp_path / "a.gctx").obs()["source_id"].to_list() == wanted
    odd = CliRunner().invoke(app, [*words, "--doses", "0.1,low"])
    assert odd.exit_code == 2 and "--doses: 'low' is no number" in " ".join(odd.output.split())
