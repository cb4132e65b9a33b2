"""What a Ray run decides by itself, without a Ray: sizes, failures, folders, and who may write."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray.train
from pertcast.training.checkpoint_local import LocalCheckpointStore
from pertcast.training.events import EVENTS_FILE, read_events
from pertcast.training.window import NonFiniteLoss
from pertcast_data.errors import ConfigError, PertcastError, Preempted
from pertcast_jobs.run_config import ClusterConfig, RunConfig
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import ray_storage
from pertcast_jobs.train.ray_elastic import FittingSizes, ray_train_settings, scaling
from pertcast_jobs.train.ray_failures import JudgesFailures, TrainingFailed, training_error
from pertcast_jobs.train.ray_storage import FencedStore, GroupReplaced, mark_folders, require_shared
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError


def elastic(fewest: int, most: int, batch_size: int = 24, **train: Any) -> RunConfig:
    cluster = {"launcher": "ray", "min_workers": fewest, "num_workers": most}
    sections = {"model": {"name": "train_mean"}, "train": {"batch_size": batch_size, **train}}
    return RunConfig.model_validate({**sections, "cluster": cluster})


def test_an_elastic_run_trains_with_the_numbers_of_workers_that_its_batch_divides_into() -> None:
    assert elastic(2, 8).worker_counts() == (2, 3, 4, 6, 8)
    assert elastic(2, 8, accumulate=3).worker_counts() == (2, 4, 8)


def test_fewest_workers_that_the_batch_does_not_divide_into_are_refused_with_batches_that_work() -> None:
    with pytest.raises(ConfigError, match=r"multiple of 40, such as 40, or a min_workers of 6, 8"):
        elastic(5, 8)


@pytest.mark.parametrize(
    ("cluster", "reason"),
    [
        ({"min_workers": 1}, "min_workers needs Ray"),
        ({"launcher": "ray", "min_workers": 3, "num_workers": 2}, "is more than num_workers=2"),
    ],
)
def test_a_minimum_that_makes_no_sense_is_refused(cluster: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ClusterConfig.model_validate(cluster)


def test_nodes_that_would_make_a_size_that_does_not_fit_are_left_unused() -> None:
    config = elastic(2, 8)
    policy = FittingSizes(scaling(config.cluster), config.worker_counts())
    for cpus, workers in ((9.0, 8), (7.0, 6), (5.0, 4), (1.0, 0)):
        assert policy._count_possible_workers({"node": {"CPU": cpus}}) == workers


def test_only_an_elastic_run_gives_up_early_on_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
    monkeypatch.delenv(name, raising=False)
    with ray_train_settings(elastic(1, 2).cluster):
        assert float(os.environ[name]) < 60
    with ray_train_settings(ClusterConfig(launcher="ray", num_workers=2)):
        assert name not in os.environ
    monkeypatch.setenv(name, "7")
    with ray_train_settings(elastic(1, 2).cluster):
        assert os.environ[name] == "7"


def test_an_accident_is_left_to_ray_and_what_pertcast_raises_is_not_tried_again(tmp_path: Path) -> None:
    judge = JudgesFailures(tmp_path)
    judge.after_exception(None, {0: RuntimeError("connection reset")})
    with pytest.raises(ConfigError, match="no such column"):
        judge.after_exception(None, {0: RuntimeError("reset"), 1: ConfigError("no such column")})
    with pytest.raises(PreemptionError):
        judge.after_exception(None, {0: Preempted("stopped"), 1: RuntimeError("reset")})
    told = [(event.kind, event.text) for event in read_events(tmp_path / EVENTS_FILE)]
    assert told[0] == ("workers_lost", "worker 0: connection reset")
    assert len(told) == 3


def test_a_workers_own_error_is_what_the_user_sees_and_accidents_come_with_the_remedy(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    own = NonFiniteLoss("response", 1, 12, "loss", float("nan"), (3, 4))
    sent = pickle.loads(pickle.dumps(ControllerError(own)))
    found = training_error(sent, run)
    assert isinstance(found, NonFiniteLoss)
    assert (str(found), found.sample_ids) == (str(own), (3, 4))
    many = WorkerGroupError("long", {1: RuntimeError("trace\nlast line")})
    found = training_error(many, run)
    assert isinstance(found, TrainingFailed)
    assert "worker 1: last line" in str(found)
    assert "--resume" in str(found)


def fenced(folder: Path, group: str) -> FencedStore:
    return FencedStore(LocalCheckpointStore(folder / "checkpoints"), folder / "group", group)


def test_a_group_that_was_replaced_can_neither_begin_nor_commit_nor_discard_a_checkpoint(
    tmp_path: Path,
) -> None:
    name = "stage-00-step-000000001"
    (tmp_path / "group").write_text("old")
    old, new = fenced(tmp_path, "old"), fenced(tmp_path, "new")
    old.begin(name)
    old.write_share(name, lambda share: (share / "file").write_text("old") and None)
    (tmp_path / "group").write_text("new")
    new.begin(name)
    new.write_share(name, lambda share: (share / "file").write_text("new") and None)
    for act in (old.begin, old.commit, old.discard):
        with pytest.raises(GroupReplaced, match=r"new"):
            act(name)
    new.commit(name)
    assert (new.fetch(name) / "file").read_text() == "new"


def test_a_machine_that_does_not_see_the_drivers_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_storage, "_SEEN_WITHIN_S", 0.0)
    mark = mark_folders([tmp_path / "workers"])
    require_shared([tmp_path / "workers"], mark)
    with pytest.raises(ConfigError, match=r"elsewhere on .+ \(rank 0\) is not the driver's folder"):
        require_shared([tmp_path / "elsewhere"], mark)


def test_sigterm_asks_a_worker_to_stop_instead_of_ending_it() -> None:
    program = (
        "import os, signal\n"
        "from pertcast_jobs.train.ray_stops import WORKER_STOPS, listen_to_sigterm\n"
        "listen_to_sigterm()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print(WORKER_STOPS.reason)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "preemption"


def test_ray_still_has_what_the_launcher_reaches_into() -> None:
    """Private parts of the pinned Ray: a new version that moves them shall fail here, by name."""
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.execution.preemption import PreemptionContext
    from ray.train.v2._internal.execution.worker_group.thread_runner import ThreadRunner

    assert ray.__version__ == "2.60.0"
    assert PreemptionContext().preemption_info is None
    assert not ThreadRunner().is_running()
    assert callable(TorchTrainer._initialize_and_run_controller)
    assert issubclass(ray.train.PreemptionError, Exception)
    assert not issubclass(Preempted, PertcastError)
