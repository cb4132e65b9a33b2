"""A run followed in MLflow: what arrives there, and that nothing of it can end or hold up a training."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import mlflow_run, run_training
from pertcast_jobs.train.tracking import TrackingThread

QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8"]
QUICK += ["train.batch_size=32", "train.epochs=2", "train.log_every_steps=2", "train.patience=null"]


def config_with(small_screen: Any, uri: str, *more: str) -> RunConfig:
    return load_config("response_mlp", [*small_screen.overrides, *QUICK, f"tracking.mlflow_uri={uri}", *more])


def run_of(client: Any, folder: Path) -> Any:
    return client.get_run(json.loads((folder / "mlflow.json").read_text())["run_id"])


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database: making its tables takes most of the time of these tests."""
    pytest.importorskip("mlflow", reason="needs the extra pertcast[mlflow]")
    address = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    mlflow_run._connect(address).get_experiment_by_name("pertcast")
    return address


def test_a_run_arrives_with_parameters_metrics_tags_and_bundle(
    small_screen: Any, uri: str, tmp_path: Path
) -> None:
    client = mlflow_run._connect(uri)
    out = tmp_path / "first"
    run_training(config_with(small_screen, uri), out)
    found, manifest = run_of(client, out), RunFolder.open(out).manifest()
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "first"
    assert found.data.params["train.batch_size"] == "32"
    assert found.data.params["model.config.width"] == "16"
    assert found.data.tags["pertcast.data_hash"] == manifest.data_hash
    assert found.data.tags["pertcast.bundle"] == str(out / "bundle")
    assert found.data.metrics["final/validation_loss"] == manifest.result["validation"]["loss"]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    history = client.get_metric_history(found.info.run_id, f"{lines[0]['stage']}/train/loss")
    expected = {(line["step"], line["losses"]["loss"]) for line in lines}
    assert {(each.step, each.value) for each in history} == expected
    assert found.data.metrics["speed/samples_per_second"] > 0


class Killed(RuntimeError):
    """Stands for a training that dies."""


def test_a_resumed_run_goes_on_in_the_same_place(small_screen: Any, uri: str, tmp_path: Path) -> None:
    client = mlflow_run._connect(uri)
    config, out = config_with(small_screen, uri, "train.checkpoint_every_steps=2"), tmp_path / "run"

    def die(done: int, total: int, note: str = "") -> None:
        if done >= 6:
            raise Killed

    with pytest.raises(Killed):
        run_training(config, out, progress=die)
    first = run_of(client, out)
    assert first.info.status == "FAILED"
    run_training(config, out, resume=True)
    again = run_of(client, out)
    assert again.info.run_id == first.info.run_id
    assert again.info.status == "FINISHED"


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()
        held: list[socket.socket] = []

        def hold() -> None:
            server.settimeout(0.1)
            while not ended.is_set():
                try:
                    held.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=hold)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        thread.join()
        for each in held:
            each.close()


def test_a_server_that_is_away_or_never_answers_costs_a_warning_and_no_training(
    small_screen: Any,
    tmp_path: Path,
    silent_server: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("mlflow", reason="needs the extra pertcast[mlflow]")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    for name, uri in (("away", "http://127.0.0.1:9"), ("silent", silent_server)):
        began = time.monotonic()
        outcome = run_training(config_with(small_screen, uri), tmp_path / name)
        assert outcome.bundle.is_dir()
        assert time.monotonic() - began < 30
    warnings = [record.getMessage() for record in caplog.records if "MLflow" in record.getMessage()]
    assert any("training goes on" in each for each in warnings)
    assert any("the run folder has them" in each for each in warnings)


class Tracker:
    """Takes entries after a while."""

    def __init__(self, fails: int) -> None:
        self.fails, self.taken = fails, []

    def take(self, entry: int) -> None:
        if self.fails:
            self.fails -= 1
            raise ConnectionError("away")
        self.taken.append(entry)


def test_a_server_that_comes_back_gets_everything_in_order() -> None:
    tracker: Any = Tracker(fails=2)
    thread = TrackingThread(lambda: tracker)
    for number in range(50):
        thread.send(lambda run, number=number: run.take(number))
    deadline = time.monotonic() + 20
    while len(tracker.taken) < 50 and time.monotonic() < deadline:
        time.sleep(0.05)
    thread.close()
    assert tracker.taken == list(range(50))


def test_more_entries_than_may_wait_are_left_out_at_once(caplog: pytest.LogCaptureFixture) -> None:
    tracker: Any = Tracker(fails=10**9)
    thread = TrackingThread(lambda: tracker, held=5)
    began = time.monotonic()
    for number in range(10_000):
        thread.send(lambda run, number=number: run.take(number))
    assert time.monotonic() - began < 2
    thread.close(wait_s=0.1)
    assert tracker.taken == []
    assert sum("training goes on" in record.getMessage() for record in caplog.records) == 1


def test_mlflow_that_is_not_installed_is_an_error_that_names_the_extra(
    small_screen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_run, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'pertcast\[mlflow\]'"):
        run_training(config_with(small_screen, "http://127.0.0.1:9"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://me:secret@tracking.example", "MLFLOW_TRACKING_PASSWORD"),
        ("mlruns", "sqlite:///mlruns/mlflow.db"),
        ("file:///data/mlruns", "sqlite:////data/mlruns/mlflow.db"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_the_remedy(
    uri: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pertcast(["config", "validate", "response_mlp", f"tracking.mlflow_uri={uri}"]) != 0
    told = "".join(capsys.readouterr())
    assert said in " ".join(told.split())
    assert "secret" not in told


def test_a_relative_database_is_found_from_any_folder(small_screen: Any) -> None:
    config = config_with(small_screen, "sqlite:///tracking/mlflow.db").with_absolute_paths()
    assert config.tracking.mlflow_uri == f"sqlite:///{Path.cwd() / 'tracking/mlflow.db'}"
    again = config.with_absolute_paths()
    assert again == config
