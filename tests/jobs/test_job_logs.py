"""Output that grows is shown whole and once, however often its connection breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast_jobs.cluster import ray_logs, retry
from pertcast_jobs.cluster.job_client import JobFailed
from pertcast_jobs.cluster.ray_logs import follow_logs
from pertcast_jobs.cluster.retry import Unreachable, patiently

TEXT = "".join(f"step {number} é\n" for number in range(40))


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry, "PAUSE_S", 0.0)
        yield


def _connections(lengths: list[int], size: int) -> Callable[[], AsyncIterator[str]]:
    """Return connections that each send the text from its beginning and are cut after so many characters."""
    left = iter(lengths)

    async def connect() -> AsyncIterator[str]:
        end = next(left, None)
        text = TEXT if end is None else TEXT[:end]
        for start in range(0, len(text), size):
            yield text[start : start + size]
        if end is not None:
            raise ConnectionResetError("cut")

    return connect


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, len(TEXT)), max_size=5), st.integers(1, 50))
def test_any_cuts_leave_the_text_whole_and_without_repetition(lengths: list[int], size: int) -> None:
    asked = iter([False] * len(lengths))
    shown = follow_logs(
        _connections(lengths, size), has_ended=lambda: next(asked, True), whole=lambda: TEXT, what="job"
    )
    assert "".join(shown) == TEXT


def test_what_a_connection_left_out_at_the_end_is_read_once_more() -> None:
    shown = follow_logs(_connections([100], 7), has_ended=lambda: True, whole=lambda: TEXT, what="job")
    assert "".join(shown) == TEXT


def test_a_connection_that_stays_silent_after_the_jobs_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_logs, "SILENCE_S", 0.05)

    async def silent() -> AsyncIterator[str]:
        yield TEXT[:30]
        await asyncio.sleep(3600)

    asked = iter([False, True])
    shown = follow_logs(silent, has_ended=lambda: next(asked, True), whole=lambda: TEXT, what="job")
    assert "".join(shown) == TEXT


def test_a_cluster_that_stays_away_is_given_up_and_the_job_said_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "PATIENCE_S", 0.05)

    def away() -> bool:
        raise Unreachable("nobody answers")

    with pytest.raises(JobFailed, match="may go on"):
        list(follow_logs(_connections([0] * 10**6, 7), has_ended=away, whole=lambda: TEXT, what="job"))
    with pytest.raises(JobFailed, match="nobody answers"):
        patiently(away, "job")
