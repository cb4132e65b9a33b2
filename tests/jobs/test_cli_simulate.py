"""The command that simulates: sizes, noise and settings in words; what it leaves can be ingested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pertcast_data.simulate import NOISE_LEVELS, SIZES
from pertcast_data.simulate.files import FILE_NAMES
from pertcast_jobs.cli import run

pytestmark = pytest.mark.filterwarnings("ignore:zarr v3 autosharding:UserWarning")


def test_sizes_noise_and_settings_are_taken_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--regime",
        "network",
        "--size",
        "small",
        "--noise",
        "hard",
        "n_pairs=3",
        "doses=[1,10]",
        "--json",
    ]
    assert run(["data", "simulate", "--out", str(tmp_path / "atlas"), *words]) == 0
    printed = json.loads(capsys.readouterr().out)
    config = printed["config"]
    assert config["n_genes"] == SIZES["small"]["n_genes"] and config["noise"] == NOISE_LEVELS["hard"]
    assert (config["n_pairs"], config["doses"], config["regime"]) == (3, [1.0, 10.0], "network")
    assert all(Path(path).exists() for path in printed["files"].values())
    assert all((tmp_path / "atlas" / name).is_file() for name in FILE_NAMES)
    signatures, store = printed["files"]["signatures"], str(tmp_path / "store")
    assert run(["data", "ingest", signatures, "--out", store, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["measure"] == "response" and report["warnings"] == []


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--size", "smal"], "Did you mean small"),
        (["--noise", "loud"], "quiet or usual or hard"),
        (["n_pair=3"], "n_pairs"),
        (["n_pairs=x"], "n_pairs"),
    ],
)
def test_words_that_are_not_understood_are_refused_with_the_known_ones(
    words: list[str], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "simulate", "--regime", "linear", "--out", str(tmp_path / "atlas"), *words]) == 2
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "atlas").exists()


def test_a_file_in_the_way_is_refused_before_anything_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        pytest.fail("simulated before the folder was looked at")

    monkeypatch.setattr("pertcast_jobs.cli.simulate.simulate_atlas", never)
    taken = tmp_path / "atlas"
    taken.write_text("mine", encoding="utf-8")
    assert run(["data", "simulate", "--regime", "linear", "--out", str(taken)]) == 1
    assert f"{taken} is a file" in capsys.readouterr().err
    assert taken.read_text(encoding="utf-8") == "mine"
