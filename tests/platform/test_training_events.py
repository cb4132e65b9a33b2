"""Events and curves survive kills and storage that is away; stops come from signals and other threads."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import training_toys as toys
from pertcast.training.board import Board
from pertcast.training.events import EventLog, read_events
from pertcast.training.fit import fit
from pertcast.training.interrupts import InterruptGuard
from pertcast.training.patient_file import LineFile
from pertcast.training.window import NonFiniteLoss
from pertcast_data.errors import Preempted


def test_events_of_several_attempts_stand_in_one_file(tmp_path: Path) -> None:
    EventLog(tmp_path).write("started", 0)
    EventLog(tmp_path).write("resumed", 40, "from stage-01-step-000000040", ranks=3)
    events = read_events(tmp_path / "events.jsonl")
    assert [(event.kind, event.global_step, event.world_size) for event in events] == [
        ("started", 0, 1),
        ("resumed", 40, 3),
    ]
    assert events[1].text == "from stage-01-step-000000040"
    assert read_events(tmp_path / "none.jsonl") == []


def test_a_line_that_a_kill_cut_short_hides_no_other(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.write("started", 0)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"kind": "check')
    log.write("finished", 9)
    assert [event.kind for event in read_events(tmp_path / "events.jsonl")] == ["started", "finished"]


def test_lines_written_while_the_folder_is_away_are_written_once_it_is_back(tmp_path: Path) -> None:
    folder, hidden = tmp_path / "run", tmp_path / "hidden"
    folder.mkdir()
    lines = LineFile(folder / "lines.txt")
    assert lines.add_line("one")
    folder.rename(hidden)
    assert not lines.add_line("two") and not lines.add_line("three")
    assert not folder.exists(), "a folder that is away is not made anew"
    hidden.rename(folder)
    assert lines.add_line("four")
    assert (folder / "lines.txt").read_text().split() == ["one", "two", "three", "four"]


def test_the_curves_can_be_read_by_tensorboard(tmp_path: Path) -> None:
    board = Board(tmp_path / "tensorboard")
    for step in (1, 2, 3):
        board.add_scalars({"linear/train/loss": 1 / step}, step)
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    values = [(each.step, each.value) for each in found.Scalars("linear/train/loss")]
    assert values == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]


def test_a_loss_that_is_not_finite_is_an_event(tmp_path: Path) -> None:
    rows = toys.toy_rows()
    rows.target[5] = float("nan")
    with pytest.raises(NonFiniteLoss):
        fit(toys.toy_model(), toys.toy_data(rows=rows), toys.toy_train_config(), tmp_path)
    last = read_events(tmp_path / "events.jsonl")[-1]
    assert last.kind == "non_finite" and "loss is nan" in last.text


def test_sigterm_finishes_the_step_writes_a_checkpoint_and_raises_preempted(tmp_path: Path) -> None:
    def preempt(report: Any) -> None:
        if report.global_step == 8 and report.kind == "steps":
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # batch systems may send it twice

    before = signal.getsignal(signal.SIGTERM)
    config = toys.toy_train_config(log_every_steps=1, checkpoint_every_steps=1000)
    with pytest.raises(Preempted, match="step 8; the checkpoint is written"):
        fit(toys.toy_model(), toys.toy_data(), config, tmp_path, report=preempt)
    assert signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / "checkpoints" / "stage-01-step-000000008").is_dir()
    assert read_events(tmp_path / "events.jsonl")[-1].kind == "preempted"


def test_another_thread_can_ask_to_stop_and_the_first_reason_counts(tmp_path: Path) -> None:
    guard = InterruptGuard()

    def ask(report: Any) -> None:
        if report.global_step == 8 and report.kind == "steps":
            asking = threading.Thread(target=guard.request)
            asking.start()
            asking.join()
            guard.request("interrupt")

    with pytest.raises(Preempted, match="step 8"):
        fit(
            toys.toy_model(),
            toys.toy_data(),
            toys.toy_train_config(log_every_steps=1),
            tmp_path,
            report=ask,
            interrupts=guard,
        )


def test_a_stop_in_a_closed_form_stage_ends_it_at_once(tmp_path: Path) -> None:
    guard = InterruptGuard()
    guard.request("interrupt")
    with pytest.raises(KeyboardInterrupt, match="'mean', which will begin again") as stop:
        fit(toys.toy_model(), toys.toy_data(), toys.toy_train_config(), tmp_path, interrupts=guard)
    assert not isinstance(stop.value, Preempted)


def test_a_second_sigint_interrupts_at_once(sigint_interrupts: None) -> None:
    with pytest.raises(KeyboardInterrupt), InterruptGuard() as guard:
        os.kill(os.getpid(), signal.SIGINT)
        assert guard.reason == "interrupt"
        os.kill(os.getpid(), signal.SIGINT)
