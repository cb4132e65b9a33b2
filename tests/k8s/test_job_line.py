"""The pertcast commands of a shell line are found as a shell would run them, and nothing else is."""

from __future__ import annotations

import base64

import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.cluster.kube.job_line import pertcast_commands, read_line
from pertcast_jobs.cluster.kube.shell import simple_commands


@pytest.mark.parametrize(
    "line",
    [
        "pertcast evaluate /data/r",
        "/opt/pertcast/bin/pertcast evaluate /data/r",
        "python -u -m pertcast_jobs evaluate /data/r",
        "cd /work/pertcast && exec pertcast evaluate '/data/r'",
        "A=b RAY_X=1 nice -n 10 timeout 10m pertcast evaluate /data/r > /data/log 2>&1",
        "set -e; if true; then pertcast evaluate /data/r; fi",
        "bash -lc 'pertcast evaluate /data/r'",
        "pertcast evaluate \\\n  /data/r # and no more",
        'cd "$(mktemp -d)"\npertcast evaluate "/data/r" | tee /data/log',
    ],
)
def test_a_command_is_found_wherever_it_stands(line: str) -> None:
    assert pertcast_commands(line) == [["evaluate", "/data/r"]]


@pytest.mark.parametrize(
    "line", ["python /data/mine.py", "cd /opt/pertcast", "echo pertcast", "forecast run", ""]
)
def test_other_programs_are_let_pass(line: str) -> None:
    assert pertcast_commands(line) == []


def test_each_command_of_a_line_is_read_by_itself() -> None:
    ingest, evaluate = read_line(
        "pertcast data ingest /data/a.h5ad --out /data/store && pertcast evaluate /data/r"
    )
    assert ingest.words == ("data", "ingest", "/data/a.h5ad", "--out", "/data/store")
    assert evaluate.words == ("evaluate", "/data/r")


def test_quotes_numbers_and_redirections_are_read_as_by_a_shell() -> None:
    first, second = simple_commands(r"a --folds 4 >log 2>>errors 'b && c' \& && d<in")
    assert (first.words, first.output) == (["a", "--folds", "4", "b && c", "&"], "log")
    assert (second.words, second.output) == (["d"], None)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pertcast train 'x", "the quote in .* is not closed"),
        ("pertcats train x", "no program 'pertcats'"),
        ("pertcast", "without a command"),
        ("pertcast evalute /data/r", "evalute"),
        ("echo abc | base64 -d > f.yaml && pertcast train f.yaml --out /data/r", "f.yaml is no base64"),
    ],
)
def test_what_the_cluster_would_refuse_is_told(line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_line(line)


def test_a_file_that_the_line_writes_is_there_while_the_command_is_read() -> None:
    sent = base64.b64encode(b"model: {name: response_mlp}\n").decode()
    line = (
        f"echo {sent} | base64 -d > 'my file.yaml' && pertcast train 'my file.yaml' data.store=/s --out /d/r"
    )
    (command,) = read_line(line)
    assert command.words[1] == "my file.yaml"
    assert command.config is not None and command.config.model.name == "response_mlp"
