"""Really killing what trains: the result is that of an undisturbed run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import ray_faults as faults
from pertcast_jobs.run_folder import RunFolder
from waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    yield
    faults.end_all()


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def test_killed_and_preempted_workers_are_replaced_and_the_weights_are_those_of_an_undisturbed_run(
    screen: list[str], undisturbed: RunFolder, tmp_path: Path
) -> None:
    run = faults.two_workers(screen, tmp_path / "run")
    driver = run.start()
    killed = run.await_step(60, rank=1)
    newest = run.checkpoints()[-1]
    faults.truncate(newest / "model.safetensors")
    os.kill(killed, signal.SIGKILL)

    preempted = run.await_step(120, attempt=2, rank=1)
    os.kill(preempted, signal.SIGTERM)
    faults.ended(driver)

    (damaged,) = run.events("damaged_checkpoint_skipped")
    assert newest.name in damaged.text
    (stopped,) = run.events("preempted")
    after_kill, after_notice = run.events("resumed")
    assert after_kill.global_step == step_of(newest) - 25
    assert after_notice.global_step == stopped.global_step
    assert run.events()[-1].kind == "finished"
    assert faults.same_weights(undisturbed, run.run)


def processes_of(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def test_a_driver_that_is_asked_to_end_and_then_killed_leaves_nothing_behind_and_resumes(
    screen: list[str], undisturbed: RunFolder, tmp_path: Path
) -> None:
    run = faults.two_workers(screen, tmp_path / "run")
    driver = run.start()
    run.await_step(60)
    driver.send_signal(signal.SIGTERM)
    faults.ended(driver, code=143)
    (asked,) = run.events("preempted", "interrupted")
    assert step_of(run.checkpoints()[-1]) == asked.global_step

    driver = run.start("--resume")
    worker = run.await_step(asked.global_step + 60, attempt=2)
    driver.kill()
    driver.communicate()
    assert wait_for(lambda: not psutil.pid_exists(worker), 30)

    run.finish("--resume")
    assert faults.same_weights(undisturbed, run.run)
    # Ray's agents look for their node every few seconds, and go once it is gone.
    assert wait_for(lambda: not processes_of(driver.pid), 120), processes_of(driver.pid)


def test_an_interrupted_ray_run_ends_with_130_at_the_step_it_had_come_to(
    screen: list[str], tmp_path: Path
) -> None:
    run = faults.two_workers(screen, tmp_path / "interrupted")
    driver = run.start()
    run.await_step(60)
    driver.send_signal(signal.SIGINT)
    assert "interrupted" in faults.ended(driver, code=130)
    assert not run.run.is_done
    (stopped,) = run.events("interrupted")
    assert step_of(run.checkpoints()[-1]) == stopped.global_step
