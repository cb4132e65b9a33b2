"""What travels with a job: the installed code, the same bytes for the same code, and files that it names."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pertcast
import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.cluster.code_archive import sent_files, write_archive
from pertcast_jobs.cluster.command import Command, parse_command
from pertcast_jobs.cluster.shipped import unmet_requirements
from pertcast_jobs.run_config.load import shipped_configs

WORDS = ["data.store=/s", "--out", "/data/run"]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    path = tmp_path / "configs" / "mine.yaml"
    path.write_text(shipped_configs()["response_mlp"].read_text())
    return path


def test_the_same_code_gives_the_same_bytes_and_other_files_give_others(tmp_path: Path) -> None:
    first, again, other = (tmp_path / f"{name}.zip" for name in ("first", "again", "other"))
    write_archive(first)
    write_archive(again)
    write_archive(other, files={"sent/a.txt": Path(__file__)})
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()


def test_the_archive_is_this_installation_and_runs_where_it_is_unpacked(tmp_path: Path) -> None:
    write_archive(tmp_path / "code.zip")
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "unpacked")
    assert not [name for name in names if name.endswith(".pyc")]
    version = tmp_path / "unpacked/pertcast/__init__.py"
    version.write_text(version.read_text().replace(pertcast.__version__, "0.0.1+marked"))
    done = subprocess.run(
        [sys.executable, "-m", "pertcast_jobs.cluster.shipped", "--help"],
        cwd=tmp_path / "unpacked", capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert "0.0.1+marked" in done.stderr and str(tmp_path / "unpacked") in done.stderr
    assert "warning" not in done.stderr
    assert done.stdout.count("  serve ") == 1, "commands of other rooms are found, and once"


def test_a_configuration_of_this_machine_travels_and_is_named_where_it_will_lie(config: Path) -> None:
    words = ["train", "configs/mine.yaml", "data.split=split.json", *WORDS]
    Path("split.json").write_text("{}")
    local, files = sent_files(parse_command(words), [Path("split.json")])
    assert local == ["train", "sent/mine.yaml", "data.split=sent/split.json", *WORDS]
    assert files == {"sent/mine.yaml": config, "sent/split.json": Path("split.json").resolve()}


def test_a_shipped_configuration_stays_a_name_and_a_place_of_this_machine_travels(config: Path) -> None:
    Path("where.yaml").write_text("cluster: {num_workers: 2}\n")
    words = ["train", "response_mlp", "@where.yaml", "@node_8gpu", "data.split=/t", *WORDS]
    local, files = sent_files(parse_command(words))
    assert local[1:4] == ["response_mlp", "@sent/where.yaml", "@node_8gpu"]
    assert list(files) == ["sent/where.yaml"]


def test_files_that_are_missing_or_of_one_name_are_refused(config: Path) -> None:
    words = Command(("evaluate", "/data/run"), {})
    with pytest.raises(ConfigError, match=r"nowhere\.csv"):
        sent_files(words, [Path("nowhere.csv")])
    Path("mine.yaml").write_text("")
    with pytest.raises(ConfigError, match="one name"):
        sent_files(words, [config, Path("mine.yaml")])


def test_libraries_that_do_not_fit_the_code_are_named() -> None:
    wanted = ["numpy>=2", "numpy>=1000", "no-such-library>=1", "mlflow-skinny>=99; extra == 'mlflow'"]
    problems = list(unmet_requirements(wanted))
    assert len(problems) == 2
    assert "numpy>=1000" in problems[0] and "no-such-library" in problems[1]
