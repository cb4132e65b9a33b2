"""The command line's frame: help without imports, exit codes, errors without tracebacks."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from pertcast_jobs.cli import COMMANDS, run


def test_help_lists_every_command_without_importing_an_engine(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pertcast_jobs.cli import run\ncode = run(['--help'])\n"
        "heavy = {'torch', 'ray', 'zarr', 'polars', 'deepspeed'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in [*COMMANDS, "serve"]:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("command", [*COMMANDS, "serve"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert f"Usage: pertcast {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", [*COMMANDS, "serve", "key"])
def test_no_command_offers_a_completion_that_it_cannot_install(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    assert "completion" not in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"pertcast {version('pertcast')}\n"


@pytest.mark.parametrize(("typo", "meant"), [("trian", "train"), ("evalute", "evaluate"), ("sevre", "serve")])
def test_a_mistyped_command_is_a_usage_error_that_names_the_nearest(
    typo: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([typo]) == 2
    message = capsys.readouterr().err
    assert f"No such command '{typo}'" in message and f"'{meant}'" in message


def test_a_word_that_is_like_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["zzzz"]) == 2
    assert "No such command 'zzzz'." in capsys.readouterr().err


def test_an_expected_error_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "inspect", str(tmp_path / "absent")]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "absent" in message and "Traceback" not in message
