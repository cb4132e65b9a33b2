"""Storage that fails while `pertcast train` runs, and the process killed or preempted: what is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray_faults as faults
import storage_places as places
from pertcast.training.events import read_events
from pertcast_data.storage import ObjectFolder
from pertcast_jobs.run_folder import RunFolder
from waiting import wait_for

pytestmark = pytest.mark.acceptance

EPOCHS = ["train.epochs=40"]


def with_helpers() -> dict[str, str]:
    """Return an environment in which a script imports what the tests do."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def settings(screen: list[str]) -> list[str]:
    """Return the overrides of a training of about 400 steps, a checkpoint each 25."""
    return [*screen, *faults.SIZE, *EPOCHS, *faults.CHECKPOINTS]


@pytest.fixture(scope="module")
def undisturbed(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = faults.Training(settings, RunFolder(tmp_path_factory.mktemp("runs") / "undisturbed"))
    run.finish()
    return run.run


def on_small_disk(mode: str, folder: Path, overrides: list[str]) -> tuple[RunFolder, dict[str, Any]]:
    """Train on a tmpfs that becomes full; returns the finished run and what was seen."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here (unshare -rm)")
    script, out = Path(__file__).with_name("full_disk.py"), folder / "finished"
    command = ["unshare", "-rm", sys.executable, str(script), mode, str(folder / "disk"), str(out)]
    done = subprocess.run(
        [*command, *overrides], capture_output=True, text=True, timeout=400, env=with_helpers()
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return RunFolder(out), json.loads(out.with_suffix(".json").read_text())


def test_a_disk_that_is_full_for_a_while_costs_no_step(
    settings: list[str], undisturbed: RunFolder, tmp_path: Path
) -> None:
    run, seen = on_small_disk("comes_back", tmp_path, settings)
    assert faults.same_weights(run, undisturbed)
    assert seen["kinds"].count("checkpoint_failed") >= 1
    assert seen["kinds"].count("started") == 1 and "resumed" not in seen["kinds"]
    assert "No space left on device" in seen["told"]
    assert seen["kinds"][-1] == "finished"


def test_a_disk_that_stays_full_ends_training_with_the_remedy_and_the_checkpoints_before_are_good(
    settings: list[str], undisturbed: RunFolder, tmp_path: Path
) -> None:
    run, seen = on_small_disk("stays", tmp_path, [*settings, "train.storage_patience_s=1"])
    assert "No space left on device" in seen["told"]
    assert "Free some space there" in seen["told"] and "disk/run/checkpoints" in seen["told"]
    assert "Traceback" not in seen["told"]
    assert set(seen["before"]) & set(seen["after"]), "the last good ones are there"
    assert not seen["hidden"], "what was written half is removed"
    assert faults.same_weights(run, undisturbed)
    assert "storage_unavailable" in seen["kinds"] and "resumed" in seen["kinds"]


def test_a_shared_folder_that_goes_away_and_comes_back_costs_no_step(
    settings: list[str], undisturbed: RunFolder, tmp_path: Path
) -> None:
    shared, hidden = tmp_path / "shared", tmp_path / "hidden"
    run = faults.Training([*settings, f"cluster.storage_path={shared}"], RunFolder(tmp_path / "run"))
    driver = run.start()
    run.await_step(60)
    shared.rename(hidden)
    assert wait_for(lambda: len(run.events("checkpoint_failed")) >= 2, 120)
    hidden.rename(shared)
    told = faults.ended(driver)
    assert "No such file or directory" in told
    assert faults.same_weights(run.run, undisturbed)
    failed = [event.global_step for event in run.events("checkpoint_failed")]
    written = [event.global_step for event in run.events("checkpoint")]
    assert min(written) < min(failed) and max(failed) < max(written)
    assert len(list(shared.glob("run-*/stage-*"))) == 2 and not shared.joinpath("checkpoints").exists()


@pytest.fixture
def moto(tmp_path: Path) -> Iterator[Any]:
    server = places.MotoServer()
    server.make_bucket("checkpoints")
    yield server
    server.process.kill()
    server.process.wait()


def test_an_object_storage_that_dies_and_comes_back_empty_costs_no_step(
    settings: list[str], undisturbed: RunFolder, tmp_path: Path, moto: Any
) -> None:
    environment = places.environment(moto.url, tmp_path / "cache")
    overrides = [*settings, "cluster.storage_path=s3://checkpoints/runs"]
    run = faults.Training(overrides, RunFolder(tmp_path / "run"), tuple(environment.items()))
    driver = run.start()
    run.await_step(60)
    assert wait_for(lambda: len(run.events("checkpoint")) >= 1, 60)
    moto.process.kill()
    moto.process.wait()
    assert wait_for(lambda: len(run.events("checkpoint_failed")) >= 1, 180), run.step()
    port = moto.url.rpartition(":")[2]
    moto.process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    moto.make_bucket("checkpoints")
    faults.ended(driver)
    assert faults.same_weights(run.run, undisturbed)
    assert max(event.global_step for event in run.events("checkpoint")) > 300


def test_a_killed_run_goes_on_from_object_storage_and_skips_the_newest_where_it_is_damaged(
    settings: list[str], undisturbed: RunFolder, tmp_path: Path, moto: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = places.environment(moto.url, tmp_path / "cache")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    run = faults.Training(
        [*settings, "cluster.storage_path=s3://checkpoints/runs"], RunFolder(tmp_path / "run")
    )
    driver = run.start()
    assert wait_for(lambda: len(run.events("checkpoint")) >= 4, 120)
    driver.kill()
    driver.wait()
    objects = ObjectFolder("s3://checkpoints/runs")
    marked = sorted(entry.name for entry in objects.list() if entry.name.endswith("/COMMITTED"))
    newest, before = (name.rpartition("/")[0] for name in reversed(marked[-2:]))
    objects.put(f"{newest}/model.safetensors", objects.get(f"{newest}/model.safetensors")[:100])
    run.finish("--resume")
    (resumed,) = run.events("resumed")
    assert before.rpartition("/")[2] in resumed.text
    assert newest.rpartition("/")[2] in run.events("damaged_checkpoint_skipped")[0].text
    assert faults.same_weights(run.run, undisturbed)


@pytest.mark.parametrize(
    ("number", "code", "kind"), [("SIGTERM", 143, "preempted"), ("SIGINT", 130, "interrupted")]
)
def test_a_stopped_training_writes_a_checkpoint_says_how_to_go_on_and_resumes_to_equal_weights(
    settings: list[str], undisturbed: RunFolder, tmp_path: Path, number: str, code: int, kind: str
) -> None:
    run = faults.Training(settings, RunFolder(tmp_path / "run"))
    driver = run.start()
    run.await_step(110)
    began = time.monotonic()
    driver.send_signal(getattr(signal, number))
    told = faults.ended(driver, code=code)
    assert time.monotonic() - began < 20
    (event,) = run.events(kind)
    assert (
        f"stopped at step {event.global_step}; the checkpoint is written; go on with: pertcast train" in told
    )
    assert told.rstrip().endswith("--resume") and "Traceback" not in told
    run.finish("--resume")
    (resumed,) = run.events("resumed")
    assert resumed.global_step == event.global_step, "not one step is lost"
    assert faults.same_weights(run.run, undisturbed)


def test_sigterm_while_data_are_prepared_ends_the_command_at_once(tmp_path: Path) -> None:
    program = (
        "import sys, time; import pertcast_jobs.train.run as run\n"
        "from pertcast_jobs.cli import run as pertcast\n"
        "run.prepare = lambda config: (print('preparing', flush=True), time.sleep(60))\n"
        "sys.exit(pertcast(sys.argv[1:]))"
    )
    words = ["train", "response_mlp", "data.store=S", "data.split=s.json", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-c", program, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "preparing\n"
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "stopped by SIGTERM; go on with: pertcast train response_mlp" in told
    assert not (tmp_path / "run").exists()


def test_a_run_killed_again_and_again_also_while_it_writes_checkpoints_ends_with_equal_weights(
    settings: list[str], undisturbed: RunFolder, tmp_path: Path
) -> None:
    chance = random.Random(10)
    # A checkpoint each 4 steps: every other kill falls into the writing of one.
    overrides = [*settings, "train.checkpoint_every_steps=4"]
    run = faults.Training(overrides, RunFolder(tmp_path / "run"))

    def is_writing() -> bool:
        return any(run.run.checkpoints_path.glob(".*.partial/share-*/*"))

    lost = []
    for number in range(6):
        driver = run.start("--resume")
        run.await_step(run.step() + 20 if number else 20, attempt=number + 1)
        if number % 2:
            assert wait_for(is_writing, 60, every=0.005)
        else:
            time.sleep(chance.uniform(0.0, 0.5))
        driver.kill()
        driver.wait()
        lost.append(run.step())
    run.finish("--resume")
    resumed = [event.global_step for event in run.events("resumed")]
    assert len(resumed) == 6 and resumed == sorted(resumed)
    print("steps at the kills", lost, "resumed at", resumed)
    assert faults.same_weights(run.run, undisturbed)
    assert not list(run.run.checkpoints_path.glob(".*"))


def test_two_ranks_agree_when_one_cannot_write_and_when_one_is_preempted(tmp_path: Path) -> None:
    script = Path(__file__).with_name("two_ranks.py")
    ranks = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(tmp_path)], env=with_helpers())
        for rank in range(2)
    ]
    try:
        assert [process.wait(240) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    facts = [json.loads((tmp_path / f"facts_{rank}.json").read_text()) for rank in range(2)]
    assert all(each["equal_after_failed_writes"] and each["equal_after_preemption"] for each in facts)
    events = read_events(tmp_path / "one_cannot_write" / "events.jsonl")
    failed = [event for event in events if event.kind == "checkpoint_failed"]
    assert [event.global_step for event in failed] == [10, 15]
    assert all("rank 1: File too large" in event.text and event.world_size == 2 for event in failed)
    assert facts[0]["stopped"] == facts[1]["stopped"]
    stopped = [event.kind for event in read_events(tmp_path / "preempted" / "events.jsonl")]
    assert stopped.count("preempted") == 1 and stopped[-1] == "finished"
