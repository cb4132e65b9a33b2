"""A program that is asked to stop hears it, also where Python throws away what is raised."""

from __future__ import annotations

import os
import signal
import sys
import time
import weakref
from importlib import import_module
from pathlib import Path

import pytest
from pertcast_data.errors import Preempted
from pertcast_data.stops import stops_heard

ANSWERS = {signal.SIGTERM: Preempted}


class Thing:
    """Something that a weak reference can point to."""


def lose(number: signal.Signals) -> None:
    """Be sent a signal while a weak reference's callback runs, which lets nothing through."""
    thing = Thing()
    watched = weakref.ref(thing, lambda _: signal.raise_signal(number))
    del thing
    assert watched() is None


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGTERM, Preempted), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_stop_that_is_lost_in_a_callback_comes_again(
    number: signal.Signals,
    kind: type[KeyboardInterrupt],
    capfd: pytest.CaptureFixture[str],
    sigint_interrupts: None,
) -> None:
    lost = False
    with pytest.raises(KeyboardInterrupt) as stop, stops_heard(ANSWERS):
        lose(number)
        lost = True
        time.sleep(20)
    assert lost
    assert stop.type is kind
    assert "ignored" not in capfd.readouterr().err


def test_a_stop_that_is_lost_in_the_last_moment_does_not_reach_what_follows() -> None:
    before = sys.unraisablehook
    with stops_heard(ANSWERS):
        lose(signal.SIGTERM)
    assert sys.unraisablehook is before
    heard: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        time.sleep(0.3)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert not heard


def test_a_second_one_does_not_disturb_the_tidying_up() -> None:
    steps = []
    with pytest.raises(Preempted), stops_heard(ANSWERS):
        try:
            signal.raise_signal(signal.SIGTERM)
            steps.append("not stopped")
        finally:
            signal.raise_signal(signal.SIGTERM)
            steps.append("tidied")
    assert steps == ["tidied"]


def test_a_stop_is_raised_after_the_import_that_it_meets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slowly_imported.py").write_text(
        "import signal, time\nsignal.raise_signal(signal.SIGTERM)\ntime.sleep(0.3)\nis_there = True\n"
    )
    with pytest.raises(Preempted), stops_heard(ANSWERS):
        import_module("slowly_imported")
        time.sleep(20)
    assert sys.modules.pop("slowly_imported").is_there


def test_where_the_program_answers_already_it_still_does() -> None:
    heard: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with stops_heard(ANSWERS):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert heard == [signal.SIGTERM]


def test_a_process_forked_inside_ends_at_once() -> None:
    with stops_heard(ANSWERS):
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_another_error_in_a_callback_is_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_type))
    thing = Thing()
    watched = weakref.ref(thing, lambda _: 1 / 0)
    with stops_heard(ANSWERS):
        del thing
    assert watched() is None
    assert told == [ZeroDivisionError]
