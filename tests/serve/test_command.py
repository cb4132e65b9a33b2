"""`pertcast serve` refuses what cannot work before it starts Ray, in words; settings are checked."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pertcast.errors import ConfigError
from pertcast_serve.command import app
from pertcast_serve.command_settings import (
    DEFAULT_NAME,
    checked,
    merged,
    most_replicas,
    named_paths,
    read_settings,
    require_guarded,
)
from pertcast_serve.config import ServeConfig
from pertcast_serve.ports import reached_at
from pydantic import ValidationError
from typer.testing import CliRunner

RUNS = """
import contextlib, io, json, sys
sys.modules["ray"] = None  # importing it is an error
from pertcast_jobs.cli import run
found = {}
for name, words in json.load(sys.stdin).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["serve", *words])
    found[name] = [code, out.getvalue(), err.getvalue()]
json.dump(found, sys.stdout)
"""
"""Runs `pertcast serve` with several command lines, where Ray cannot be started: Python starts slowly."""


@pytest.fixture(scope="module")
def refusals(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    folder = tmp_path_factory.mktemp("refusals")
    damaged = folder / "bundle"
    shutil.copytree(tiny_bundle, damaged)
    weights = damaged / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (folder / "nothing").mkdir()
    (folder / "empty.yaml").write_text("limits: {genes: 5}\n")
    (folder / "misspelt.yaml").write_text("predictr: {max_replicas: 3}\n")
    good = ["--model", str(tiny_bundle)]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        asked = {
            "a port in use": [*good, "--port", port],
            "a damaged bundle": ["--model", str(damaged)],
            "a damaged second bundle": [*good, "--model", f"second={damaged}"],
            "no run": ["--model", str(folder / "nothing")],
            "no model in the file": ["--config", str(folder / "empty.yaml")],
            "a misspelt part": [*good, "--config", str(folder / "misspelt.yaml")],
            "no such device": [*good, "--device", "tpu"],
            "open to all": [*good, "--host", "0.0.0.0"],
            "no keys there": [*good, "--keys", str(folder / "keys.json")],
        }
        done = subprocess.run(
            [sys.executable, "-c", RUNS], input=json.dumps(asked), capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("what", "remedy"),
    [
        ("a port in use", "--port"),
        ("a damaged bundle", "weights.safetensors is damaged"),
        ("a damaged second bundle", "weights.safetensors is damaged"),
        ("no run", "neither a run nor a bundle"),
        ("no model in the file", "no model is named: --model RUN, or models: in the file"),
        ("a misspelt part", "misspelt.yaml: unknown key predictr. Did you mean predictor?"),
        ("no such device", "--device tpu"),
        ("open to all", "pertcast key create"),
        ("no keys there", "keys.json"),
    ],
)
def test_what_cannot_work_is_refused_before_ray_is_started(
    refusals: dict[str, tuple[int, str, str]], what: str, remedy: str
) -> None:
    code, out, err = refusals[what]
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert remedy in err
    assert "Traceback" not in err


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.5"])
def test_loopback_needs_no_keys(tmp_path: Path, host: str) -> None:
    require_guarded(checked({"models": {"default": tmp_path}}, "options"), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org"])
def test_keys_or_a_proxy_open_other_addresses(tmp_path: Path, host: str) -> None:
    models = {"models": {"default": tmp_path}}
    with pytest.raises(ConfigError, match="key create"):
        require_guarded(checked(models, "options"), host)
    require_guarded(checked({**models, "access": {"keys": tmp_path / "keys.json"}}, "options"), host)
    proxy = {"networks": ["10.0.0.0/8"]}
    require_guarded(checked({**models, "access": {"trusted_proxy": proxy}}, "options"), host)


def test_models_are_named_and_the_first_is_the_default() -> None:
    found = named_paths("--model", ["runs/a", "second=/runs/b"], DEFAULT_NAME)
    assert list(found) == ["default", "second"]
    assert found["default"] == Path("runs/a").absolute()
    assert list(named_paths("--model", ["mine=/runs/a"], DEFAULT_NAME)) == ["mine"]
    with pytest.raises(ConfigError, match="--model NAME=/runs/b"):
        named_paths("--model", ["/runs/a", "/runs/b"], DEFAULT_NAME)
    with pytest.raises(ConfigError, match="twice"):
        named_paths("--model", ["a=/runs/a", "a=/runs/b"], DEFAULT_NAME)
    with pytest.raises(ConfigError, match="--library NAME="):
        named_paths("--library", ["/screens/a"])


def test_options_go_over_a_file_and_leave_the_rest_of_it(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("models: {old: /runs/old}\npredictor: {max_replicas: 7, batch_wait_s: 0.01}\n")
    options = {"models": {"new": "/runs/new"}, "predictor": {"max_replicas": 3, "device": None}}
    config = checked(merged(read_settings(file), options), str(file))
    assert list(config.models) == ["new", "old"]
    assert (config.predictor.max_replicas, config.predictor.batch_wait_s) == (3, 0.01)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("{}", "--model RUN"),
        ("[1]", "holds no settings"),
        ("a: b: c", "cannot be read"),
        ("models: {a: /r}\npredictors: {}", "predictors"),
        ("models: {a: /r}\npredictor: {max_replicas: none}", "predictor.max_replicas"),
        ("models: {a: /r}\nacces: {keys: k}", "unknown key acces. Did you mean access?"),
        ("models: {a: /r}\npredictor: {max_replica: 3}", "Did you mean predictor.max_replicas"),
        ("models: {a: /r}\naccess: {trusted_proxy: {}}", "access.trusted_proxy.networks is missing"),
    ],
)
def test_a_file_of_settings_that_does_not_fit_is_refused_by_its_field(
    tmp_path: Path, text: str, remedy: str
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=remedy):
        checked(read_settings(file), str(file))


def test_a_misspelt_key_is_told_first_and_does_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("modle: {default: x}\nlimits: {genes: 0}\n")
    with pytest.raises(ConfigError) as refused:
        checked(merged(read_settings(file), {"models": {}}), str(file))
    first, second, third = str(refused.value).splitlines()
    assert first == f"{file}: unknown key modle. Did you mean models?"
    assert "no model is named: --model RUN, or models: in the file" in second
    assert "limits.genes" in third and "(got 0)" in third


@pytest.mark.parametrize("words", [[], ["--port", "9000", "--screens", "s"]])
def test_a_server_without_a_model_is_a_usage_error(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "no model is named" in result.output and "--model RUN" in result.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "a", "--model", "b"], "--model NAME=b"),
        (["--model", "x=a", "--model", "x=b"], "named twice"),
        (["--model", "a", "--library", "s"], "--library NAME=s"),
    ],
)
def test_paths_without_a_name_of_their_own_are_a_usage_error(words: list[str], told: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and told in " ".join(result.output.split())


@pytest.mark.parametrize("part", ["5", "[1]", "cpu"])
def test_a_part_that_holds_no_settings_is_refused_by_its_name(tmp_path: Path, part: str) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(f"models: {{a: /r}}\npredictor: {part}\n")
    settings = read_settings(file)
    assert most_replicas(settings) == 2
    with pytest.raises(ConfigError, match=r"serve\.yaml: predictor: Input should be a valid dictionary"):
        checked(merged(settings, {"predictor": {"max_replicas": 3}}), str(file))


def test_the_address_of_a_server_is_the_one_that_this_machine_reaches() -> None:
    assert [reached_at(host) for host in ("127.0.0.1", "0.0.0.0", "::", "10.0.0.1", "fe80::1", "node")] == [
        "127.0.0.1", "127.0.0.1", "[::1]", "10.0.0.1", "[fe80::1]", "node",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"replicas": 3}, "replicas"),
        ({"predictor": {"min_replicas": 3, "max_replicas": 2}}, "above max_replicas"),
        ({"predictor": {"device": "cuda"}}, "gpus_per_replica"),
        ({"predictor": {"max_batch_conditions": 8}}, "256"),
        ({"predictor": {"rows_per_pass": [8, 1]}}, "rising"),
        ({"models": {"a/b": "/data/bundle"}}, "no name"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], remedy: str) -> None:
    with pytest.raises(ValidationError, match=remedy):
        ServeConfig.model_validate({"models": {"default": "/data/bundle"}, **settings})
