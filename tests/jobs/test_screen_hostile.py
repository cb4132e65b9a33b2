"""Screens in careless and hostile hands: what could be misread is refused, and what is damaged is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pertcast.screens.finished import RESPONSE, FinishedScreen
from pertcast.screens.library import open_measured, open_screen
from pertcast_data.errors import ConfigError, CorruptStore, FormatError, SchemaError
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.cli.screen_options import numbers, words
from pertcast_jobs.screen import again
from pertcast_jobs.screen.again import enrich_screen, remake_report
from pertcast_jobs.screen.library import Library, Refusal, read_library
from pertcast_jobs.screen.objective import objective_of, weighted_signature
from pertcast_jobs.screen.pairs import pairs_of
from pertcast_jobs.screen_export import Choice, ExportRequest, export_screen
from pertcast_jobs.screen_export.cell_eval import Labels
from typer import BadParameter

GENES = [f"GENE{number}" for number in range(24)]


def library(folder: Path, content: str | bytes, kind: str = "compounds") -> Library:
    path = folder / "list.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_library(path, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfpert_id,pert_dose\nX,1\nY,3\n",
        "pert_id,pert_dose\nX,1\nY,3\n".encode("utf-16"),
        b"pert_id;pert_dose\r\nX;1\r\n\r\nY;3\r\n",
        b"compound|pert_dose\n X |1\n\nY|3\n",
    ],
    ids=["byte order mark", "utf-16", "semicolons and blank lines", "bars and blanks"],
)
def test_lists_are_read_however_a_spreadsheet_wrote_them(tmp_path: Path, content: bytes) -> None:
    frame = library(tmp_path, content).frame
    assert frame["pert_id"].to_list() == ["X", "Y"]
    assert frame["pert_dose"].to_list() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pert_id,pert_id\nX,Y\n", "two columns pert_id. Keep"),
        ("pert_id, pert_id\nX,Y\n", "two columns pert_id. Keep"),
        ("gene,compound\nX,Y\n", "gene and compound could both be pert_id"),
        ("PERT_ID\nX\n", "'PERT_ID' is not read, and looks like pert_id"),
        ("pert_id,dose\nX,3\n", "'dose' is not read, and looks like pert_dose"),
        ("pert_id,pert_idose\nX,3 uM\n", "'pert_idose' is not read, and looks like pert_dose"),
        ("pert_id,Cell Type\nX,A375\n", "'Cell Type' is not read, and looks like cell_iname"),
        ("pert_id,pert_dose_unit\nX,nM\n", "pert_dose_unit and no pert_dose"),
        ("pert_id,cell_iname\nX\n", "line 2: 1 values, the header names 2"),
        ("pert_id,pert_dose\nX,0\n", "row 1: pert_dose is '0': without a dose"),
        ("pert_id,pert_dose\nX,1e300\n", r"no experiment has 1e\+300 uM"),
        ("pert_id,pert_dose,pert_dose_unit\nX,1e308,M\n", "no experiment has inf uM"),
        ("pert_id,pert_time\nX,0\n", "row 1: pert_time is '0': nothing has happened"),
    ],
)
def test_a_list_that_could_be_misread_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SchemaError, match=r"list\.csv.*" + said):
        library(tmp_path, text)


def test_a_list_in_latin_1_or_with_lists_in_its_cells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="in UTF-8"):
        library(tmp_path, "pert_id,note\nX,\xe9\n".encode("latin-1"))
    pl.DataFrame({"pert_id": [["A", "B"]]}).write_parquet(tmp_path / "list.parquet")
    with pytest.raises(SchemaError, match="pert_id holds lists"):
        read_library(tmp_path / "list.parquet", "genes")


def test_blanks_round_a_plus_are_no_part_of_a_name_and_a_name_twice_is_refused(tmp_path: Path) -> None:
    found = library(tmp_path, "gene\nA + B\nA +C\nA+A\n(+)-JQ1\n", "genes")
    assert found.frame["pert_id"].to_list() == ["A+B", "A+C", "(+)-JQ1"]
    assert [str(item) for item in found.refused] == [
        "row 3 (A+A): names one perturbation twice. Name each once."
    ]


def test_one_name_for_two_structures_is_refused_by_row(tmp_path: Path) -> None:
    found = library(tmp_path, "pert_id,smiles\nX,CCO\nY,CCN\nX,CCCl\nX,OCC\n")
    assert [(item.row, item.pert_id) for item in found.refused] == [(3, "X")]
    assert "row 1 gives 'X' another structure" in found.refused[0].message
    assert found.frame["row"].to_list() == [1, 2] and found.n_repeated == 1


def test_the_dose_of_a_gene_has_no_unit_of_concentration(tmp_path: Path) -> None:
    text = "gene,pert_dose,pert_dose_unit\nA,1.5,uL\nB,0,uL\n"
    assert library(tmp_path, text, "genes").frame["pert_dose"].to_list() == [1.5, 0.0]


def test_a_message_shows_hostile_names_in_one_short_line() -> None:
    told = str(Refusal(1, "\x1b[31m" + "x" * 1000, "pert_id", "two\nlines"))
    assert told.isprintable() and len(told) < 200


def test_singles_that_do_not_agree_are_not_called_a_single_one(tmp_path: Path) -> None:
    singles = library(tmp_path, "pert_id,pert_type\nA,trt_sh\nB,trt_xpr\n", "pairs")
    with pytest.raises(SchemaError, match="no two of its perturbations agree in pert_type"):
        pairs_of(singles)


@pytest.mark.parametrize("text", ["", " ", ",,"])
def test_an_option_that_names_nothing_is_not_taken_for_everything(text: str) -> None:
    assert words("--cells", None) is None and numbers("--doses", "pert_dose", None) is None
    with pytest.raises(BadParameter, match="names nothing"):
        words("--cells", text)
    with pytest.raises(BadParameter, match="names nothing"):
        numbers("--doses", "pert_dose", text)


@pytest.mark.parametrize(
    ("option", "amount", "text", "said"),
    [
        ("--doses", "pert_dose", "0,1", "0: without a dose"),
        ("--doses", "pert_dose", "nan", "nan: no experiment"),
        ("--doses", "pert_dose", "1,1e300", "1e300: no experiment"),
        ("--times", "pert_time", "-1", "-1: no experiment"),
        ("--times", "pert_time", "6h", "'6h' is no number"),
    ],
)
def test_doses_and_times_that_no_experiment_has_are_usage_errors(
    option: str, amount: str, text: str, said: str
) -> None:
    with pytest.raises(BadParameter, match=said):
        numbers(option, amount, text)


def test_a_signature_that_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signature.csv"
    path.write_text("gene,value\nA,1\nB,1e300\n")
    with pytest.raises(SchemaError, match="the value of B is 1e\\+300, too large"):
        weighted_signature(path, None)
    path.write_text("gene,value\nA,2\nB,2\n")
    with pytest.raises(SchemaError, match="all 2 values are 2"):
        weighted_signature(path, "pearson")
    assert weighted_signature(path, "cosine").is_weighted
    with pytest.raises(ConfigError, match="--objective compares with a signature"):
        objective_of(None, None, None, "mimic", None)


@pytest.fixture(scope="module")
def screen(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "sets.gmt").write_text("\n".join("\t".join((name, "", *GENES[i : i + 7])) for name, i in SETS))
    (folder / "list.csv").write_text("pert_id\ndrug-1\ndrug-2\n")
    words_ = ["screen", "compounds", f"{folder / 'list.csv'}", "--model", f"{tiny_bundle}"]
    words_ += ["--out", f"{folder / 'screen'}", "--gmt", f"{folder / 'sets.gmt'}"]
    assert pertcast([*words_, "--executor", "in-process"]) == 0
    return folder / "screen"


SETS = (("FIRST", 0), ("SECOND", 9))


@pytest.fixture
def damaged(screen: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(screen, tmp_path / "screen"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("harm", [flip, truncate, Path.unlink], ids=["flip", "truncate", "unlink"])
@pytest.mark.parametrize(
    "name", ["sig_info.parquet", "neighbors.parquet", "gene_sets.gmt", "profiles.zarr/X/c/0/0"]
)
def test_no_report_is_made_of_a_damaged_screen_and_the_old_one_stays(
    damaged: Path, name: str, harm: Callable[[Path], None]
) -> None:
    before = (damaged / "report.html").read_bytes()
    harm(damaged / name)
    with pytest.raises(CorruptStore, match=name.split("/")[-1]):
        remake_report(damaged)
    assert (damaged / "report.html").read_bytes() == before


@pytest.mark.parametrize("harm", [flip, truncate, Path.unlink], ids=["flip", "truncate", "unlink"])
@pytest.mark.parametrize(
    "name", ["profiles.zarr/X/c/0/0", "ranks.zarr/rank/c/0/0", "profiles.zarr/zarr.json"]
)
def test_damaged_profiles_are_neither_exported_nor_scored(
    damaged: Path, tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    harm(damaged / name)
    with pytest.raises(CorruptStore, match=r"profiles\.zarr|ranks\.zarr"):
        export_screen(ExportRequest(damaged, "gmt", tmp_path / "out.gmt"))
    with pytest.raises(CorruptStore, match=r"profiles\.zarr|ranks\.zarr"):
        enrich_screen(damaged, damaged.parent / "screen" / "gene_sets.gmt", tmp_path / "out.parquet", 5)
    assert [path.name for path in tmp_path.iterdir()] == ["screen"]


@pytest.mark.parametrize("name", ["profiles.zarr/X/c/0/0", "ranks.zarr/rank/c/0/0", "sig_info.parquet"])
def test_a_query_sees_what_is_missing_or_cut_off(damaged: Path, name: str) -> None:
    truncate(damaged / name)
    with pytest.raises(CorruptStore, match="the manifest says"):
        open_screen(damaged)
    (damaged / name).unlink()
    with pytest.raises(CorruptStore, match="is missing"):
        open_screen(damaged)


def test_ranks_taken_out_whole_are_computed_from_the_profiles(damaged: Path) -> None:
    kept = FinishedScreen.open(damaged)
    rows = np.arange(kept.n_profiles)
    responses = kept.read(RESPONSE, rows)
    shutil.rmtree(damaged / "ranks.zarr")
    order = FinishedScreen.open(damaged).descending(rows, responses)
    assert (np.diff(np.take_along_axis(responses, order, axis=1), axis=1) <= 0).all()
    assert any("holds no ranks" in remark for remark in open_screen(damaged).remarks)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("plan", None, "does not say how the screen was computed"),
        ("plan", {"settings": {"kind": "moon"}}, "kind: Input should be"),
        ("layers", ..., "does not state layers"),
        ("bundle", ..., "does not state bundle"),
    ],
)
def test_an_edited_manifest_is_told_from_a_whole_one(
    damaged: Path, key: str, value: object, said: str
) -> None:
    path = damaged / "manifest.json"
    manifest = json.loads(path.read_text())
    if value is ...:
        del manifest[key]
    else:
        manifest[key] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(CorruptStore, match=said):
        remake_report(damaged)


def test_a_full_disk_is_told_and_leaves_the_report_that_was_there(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (damaged / "report.html").read_bytes()

    def full(path: Path, write: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(again, "write_atomically", full)
    assert pertcast(["report", str(damaged)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert (damaged / "report.html").read_bytes() == before


def test_an_existing_file_is_not_overwritten_by_a_query(
    screen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("mine")
    name = pl.read_parquet(screen / "sig_info.parquet")["sig_id"][0]
    assert pertcast(["query", "--screen", str(screen), "--sig-id", name, "--out", str(mine)]) == 1
    assert "mine.csv already exists" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_a_screen_is_not_taken_for_a_store_of_measured_responses(screen: Path) -> None:
    with pytest.raises(ConfigError, match="is a screen of predictions"):
        open_measured(screen)


@pytest.mark.parametrize("option", ["--cells", "--doses", "--sig-id"])
def test_a_choice_that_names_nothing_exports_nothing(
    screen: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    line = ["screen", "export", str(screen), "--to", "csv", "--out", str(tmp_path / "o.csv")]
    assert pertcast([*line, option, f"@{tmp_path / 'empty.txt'}"]) == 1
    assert "names nothing" in capsys.readouterr().err
    assert pertcast([*line, "--doses", "nan"]) == 2
    assert not (tmp_path / "o.csv").exists()


def test_labels_may_stand_in_pert_id_but_not_among_cell_lines(screen: Path, tmp_path: Path) -> None:
    choice = Choice(doses=(1.0,))
    clash = ExportRequest(
        screen, "cell-eval", tmp_path / "a.h5ad", choice, labels=Labels(pert_col="cell_iname")
    )
    with pytest.raises(ConfigError, match="--pert-col cell_iname"):
        export_screen(clash)
    fits = ExportRequest(screen, "cell-eval", tmp_path / "b.h5ad", choice, labels=Labels(pert_col="pert_id"))
    assert export_screen(fits).path.is_file()


def test_what_cannot_be_screened_is_told_before_a_folder_is_made(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "up.txt").write_text("GENE1\nGENE2\n")
    out = tmp_path / "out"
    line = ["screen", "compounds", "--model", str(tiny_bundle), "--executor", "in-process", "--out", str(out)]
    signature = ["--up", str(tmp_path / "up.txt"), "--down", str(tmp_path / "up.txt")]
    cases = [
        (signature, 1, "5 are needed"),
        (["--out", ""], 2, "name the folder"),
        (["--seed", "-1"], 2, "seed"),
    ]
    cases += [(["--shard-rows", "100"], 2, "write 64 or 128"), (["--gpus-per-worker", "1"], 1, "no GPU")]
    cases += [(["--out", str(tmp_path / "up.txt" / "x")], 1, "cannot be written")]
    for words_, code, said in cases:
        assert pertcast([*line, *words_]) == code, words_
        assert said in capsys.readouterr().err
        assert not out.exists()


@pytest.mark.parametrize(
    "command",
    [
        *(["screen", kind] for kind in ("compounds", "genes", "pairs", "table", "export")),
        ["query"],
        ["enrich"],
    ],
    ids=" ".join,
)
def test_help_shows_an_example_that_can_be_copied_as_one_line(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert pertcast([*command, "--help"]) == 0
    text = capsys.readouterr().out.splitlines()
    place = next(number for number, line in enumerate(text) if line.startswith("  Example: pertcast "))
    assert text[place + 1] == ""
