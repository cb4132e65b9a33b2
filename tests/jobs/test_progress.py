"""Progress is plain lines where there is no terminal, with rate and what is left."""

from __future__ import annotations

import threading
import time

import pytest
from pertcast_jobs.progress import progress_bar, told_regularly


def test_without_a_terminal_the_last_state_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("ingest", "rows") as update:
        update(500, 1000, "reading")
        update(1000, 1000, "writing")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ingest: 1,000/1,000 rows") and "writing" in line


def test_the_rate_of_a_resumed_run_leaves_out_what_was_done_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar("train", "steps") as update:
        update(100_000, 200_000)
        time.sleep(1.1)
        update(100_022, 200_000)
    rate = float(capsys.readouterr().err.split("steps, ")[1].split("/s")[0].replace(",", ""))
    assert rate <= 20


def test_progress_that_is_written_down_elsewhere_is_asked_for_until_the_end() -> None:
    told: list[int] = []
    twice = threading.Event()

    def tell() -> None:
        told.append(len(told))
        if len(told) == 2:
            twice.set()

    with told_regularly(tell, every_s=0.01):
        assert twice.wait(5)
    ended = len(told)
    assert ended >= 3
    assert not any(thread.name == "told-regularly" for thread in threading.enumerate())
