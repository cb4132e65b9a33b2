"""Parts of the screens of the server that need no job: ranges, events, rates, messages, pages, job ids."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast.screens.progress import screen_progress
from pertcast_serve.metrics import SCREEN_PROFILES
from pertcast_serve.schemas.screens import ListRow, Screen, ScreenEstimate, ScreenRequest
from pertcast_serve.screens import watch as watching
from pertcast_serve.screens.command import ScreenCommand
from pertcast_serve.screens.estimates import Estimator
from pertcast_serve.screens.event_stream import event_stream
from pertcast_serve.screens.hits import HitFilter, hit_page
from pertcast_serve.screens.identifiers import is_identifier, new_identifier
from pertcast_serve.screens.jobs import JobsUnavailable
from pertcast_serve.screens.messages import error_in, in_our_words
from pertcast_serve.screens.process_jobs import ProcessJobs
from pertcast_serve.screens.ranges import Part, file_bytes, wanted_part
from pertcast_serve.screens.rate import screen_rate
from pertcast_serve.screens.ray_jobs import RayJobs, entrypoint
from pertcast_serve.screens.store import ScreenStore


def test_what_is_remembered_of_an_estimate_does_not_grow_with_its_list(tmp_path: Path) -> None:
    says = dict.fromkeys(("n_perturbations", "n_profiles", "n_refused", "n_repeated", "disk_bytes"), 1)
    says |= {"profiles_per_second": 1, "seconds": 1, "workers": 1}
    estimator = Estimator([], 30, (sys.executable, "-S", "-c", f"print('{json.dumps(says)}')"))
    rows = [ListRow(pert_id=f"{number}" + "x" * 900) for number in range(2_000)]

    async def two() -> list[Any]:
        requests = [ScreenRequest(kind="genes", rows=each) for each in (rows, rows[1:])]
        return [await estimator.estimate(ScreenCommand(each, str(tmp_path)), "m") for each in requests]

    assert all(isinstance(found, ScreenEstimate) for found in anyio.run(two))
    kept = [sys.getsizeof(key) for key in estimator.__dict__["_known"]]
    assert len(kept) == 2, "another list is another estimate"
    assert max(kept) < 1_000


@given(st.text(max_size=30) | st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=15, max_size=19))
def test_only_plain_words_of_17_letters_are_ids(text: str) -> None:
    assert is_identifier(text) == (len(text) == 17 and set(text) <= set("0123456789abcdefghjkmnpqrstvwxyz"))


def test_ids_are_distinct_and_sort_by_time() -> None:
    made = [new_identifier() for _ in range(100)]
    assert all(map(is_identifier, made))
    assert len(set(made)) == 100
    assert [each[:9] for each in made] == sorted(each[:9] for each in made)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, Part(0, 10, True)),
        ("bytes=0-3", Part(0, 4, False)),
        ("bytes=4-", Part(4, 10, False)),
        ("bytes=-3", Part(7, 10, False)),
        ("bytes=-30", Part(0, 10, False)),
        ("bytes=5-100", Part(5, 10, False)),
        ("bytes=10-", None),
        ("bytes=-0", None),
        ("bytes=5-3", Part(0, 10, True)),
        ("bytes=0-1,4-5", Part(0, 10, True)),
        ("lines=0-1", Part(0, 10, True)),
        ("bytes=-", Part(0, 10, True)),
    ],
)
def test_a_range_names_a_part_or_is_ignored_or_lies_outside(header: str | None, part: Part | None) -> None:
    assert wanted_part(header, 10) == part


def test_a_part_of_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) * 2 + 17)
    (tmp_path / "file").write_bytes(content)

    async def read(start: int, stop: int) -> list[bytes]:
        return [piece async for piece in file_bytes(tmp_path / "file", Part(start, stop, False))]

    pieces = anyio.run(read, 5, len(content) - 1)
    assert b"".join(pieces) == content[5:-1]
    assert len(pieces) == 3


@pytest.mark.parametrize(
    ("log", "error"),
    [
        (
            "screen: 5/7 rows\nerror: first\n  row 1 (x): why\nCorrect them.\n",
            "first\n  row 1 (x): why\nCorrect them.",
        ),
        ("Usage: x\n\nError: Invalid value for --times: 0", "Invalid value for --times: 0"),
        (
            "Traceback (most recent call last):\n  File x\nzarr.errors.BadError: broken\n",
            "zarr.errors.BadError: broken",
        ),
        ("started\nKilled\n", "Killed"),
        ("", "It printed nothing."),
    ],
)
def test_the_last_error_of_a_log_is_what_is_told(log: str, error: str) -> None:
    assert error_in(log) == error


def test_messages_name_fields_and_no_paths() -> None:
    words = {"/data/s/1": "screen 1", "/data/s/1/library.parquet": "rows"}
    found = in_our_words(
        "/data/s/1/library.parquet, row 3: --doses 7. See /data/s/1 (--skip-unknown).", words
    )
    assert found == "rows, row 3: pert_dose 7. See screen 1 (skip_unknown)."


def unfinished(out: Path, times: list[float], planned_at: float) -> None:
    """Make what a screen of 100 profiles, 10 a shard, has written."""
    (out / ".parts/records").mkdir(parents=True)
    plan = out / ".parts/plan.json"
    plan.write_text(json.dumps({"n_profiles": 100, "settings": {"shard_rows": 10}}))
    os.utime(plan, (planned_at, planned_at))
    for shard, at in enumerate(times):
        record = out / f".parts/records/{shard:06d}.json"
        record.touch()
        os.utime(record, (at, at))


def test_a_rate_is_that_of_the_running_job_and_not_of_the_pause_before_it(tmp_path: Path) -> None:
    unfinished(tmp_path, [1001.0, 1002.0, 9001.0, 9003.0, 9005.0], planned_at=1000.0)
    found = screen_rate(tmp_path, screen_progress(tmp_path), began=9000.0)
    assert found.profiles_per_s == pytest.approx(5.0)
    assert found.eta_s == pytest.approx(10.0)


def test_a_first_shard_gives_a_rate_from_the_plan_on_and_none_gives_none(tmp_path: Path) -> None:
    unfinished(tmp_path / "a", [1004.0], planned_at=1002.0)
    found = screen_rate(tmp_path / "a", screen_progress(tmp_path / "a"), began=1000.0)
    assert found.profiles_per_s == pytest.approx(5.0)
    unfinished(tmp_path / "b", [], planned_at=1002.0)
    assert screen_rate(tmp_path / "b", screen_progress(tmp_path / "b"), 1000.0).profiles_per_s is None


def screen_of(state: Any, n_done: int) -> Screen:
    return Screen(
        id="x",
        title="",
        kind="genes",
        model="m@1",
        state=state,
        submitted_at="",
        submitted_by="",
        n_done=n_done,
        n_profiles=10,
        profiles_per_s=None,
        eta_s=None,
        message="",
    )


async def collected(states: AsyncIterator[Screen], heartbeat_s: float, gone_after: int = 10**9) -> list[str]:
    asked = 0

    async def is_gone() -> bool:
        nonlocal asked
        asked += 1
        return asked > gone_after

    return [text async for text in event_stream(states, is_gone, heartbeat_s)]


def test_events_carry_ids_and_names_and_silence_is_filled_with_comments() -> None:
    async def states() -> AsyncIterator[Screen]:
        yield screen_of("running", 0)
        await asyncio.sleep(0.12)
        yield screen_of("failed", 3)

    first, *events = anyio.run(collected, states(), 0.05)
    assert first.startswith("retry: ")
    assert events[0].startswith("id: running-0\nevent: progress\ndata: {")
    assert events[-1].startswith("id: failed-3\nevent: failed\ndata: {")
    assert set(events[1:-1]) == {": still here\n\n"}
    assert all(text.endswith("\n\n") for text in events)


def test_a_client_that_goes_ends_the_looking_at_files() -> None:
    closed = []

    async def states() -> AsyncIterator[Screen]:
        try:
            yield screen_of("running", 0)
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    async def follow() -> None:
        await collected(states(), 0.02, gone_after=4)
        await asyncio.sleep(0)

    anyio.run(follow)
    assert closed == [True]


def hits_file(folder: Path) -> Path:
    table = pl.DataFrame(
        {
            "rank": range(1, 9),
            "sig_id": [*(f"A375|trt_cp|drug-{i}|1|24" for i in range(7)), "A375|trt_cp|A+B|1|24"],
            "cmap_name": ["Abc", "abd", None, "xyz", "(a", "b", "c", "d"],
            "cell_iname": ["A375"] * 4 + ["HT29"] * 4,
            "pert_type": ["trt_cp"] * 8,
            "score": [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0],
            "effect_size": [1.0, float("nan"), 3.0, None, 2.0, 2.0, 0.5, 0.1],
            "top_up": ["x"] * 8,
            "top_down": ["y"] * 8,
            "p_value": [0.01] * 8,
            "fdr": [0.01, 0.04, 0.09, 0.2, None, 0.05, 0.1, 0.3],
            "flag": ["in domain"] * 8,
        }
    )
    table.write_parquet(folder / "hits.parquet", row_group_size=3)
    ids = table.select("sig_id", pert_id=pl.col("sig_id").str.split("|").list.get(2).replace("A+B", "B+A"))
    ids.reverse().write_parquet(folder / "sig_info.parquet")
    return folder / "hits.parquet"


@pytest.mark.parametrize(
    ("sort", "descending", "filters", "ranks"),
    [
        ("rank", False, HitFilter(), [1, 2, 3, 4, 5, 6, 7, 8]),
        ("rank", True, HitFilter(), [8, 7, 6, 5, 4, 3, 2, 1]),
        ("effect_size", True, HitFilter(), [3, 5, 6, 1, 7, 8, 2, 4]),
        ("effect_size", False, HitFilter(), [8, 7, 1, 5, 6, 3, 2, 4]),
        ("rank", False, HitFilter(text="AB"), [1, 2]),
        ("rank", False, HitFilter(text="(a"), [5]),
        ("rank", False, HitFilter(text="drug-6"), [7]),
        ("rank", False, HitFilter(cell_iname="HT29", max_fdr=0.1), [6, 7]),
        ("rank", False, HitFilter(only_hits=True), [1, 2, 3, 6, 7]),
        ("fdr", True, HitFilter(only_hits=True, max_fdr=0.05), [6, 2, 1]),
        ("rank", False, HitFilter(pert_type="trt_sh"), []),
    ],
)
def test_hits_are_sorted_and_filtered_with_missing_values_last(
    tmp_path: Path, sort: Any, descending: bool, filters: HitFilter, ranks: list[int]
) -> None:
    path = hits_file(tmp_path)
    count, rows = hit_page(path, 0, 100, sort, descending, filters)
    assert [row.rank for row in rows] == ranks
    assert count == len(ranks)
    assert all(row.pert_id == ("B+A" if row.rank == 8 else f"drug-{row.rank - 1}") for row in rows)
    count, rows = hit_page(path, 1, 2, sort, descending, filters)
    assert ([row.rank for row in rows], count) == (ranks[1:3], len(ranks))
    assert hit_page(path, 10**9, 5, sort, descending, filters) == (len(ranks), [])


def test_a_process_gets_the_words_of_its_job_whatever_a_shell_would_make_of_them(tmp_path: Path) -> None:
    words = [
        "--a=$(touch x)`touch x`",
        "'; touch x; '",
        "-n",
        "a\nb & touch x\n",
        '"$HOME"',
        "--b=\\",
        "*",
        "",
    ]
    prints = (sys.executable, "-S", "-c", "import json, sys; print(json.dumps(sys.argv[1:]))")
    jobs = ProcessJobs(tmp_path, prints)
    jobs.submit("job", words)
    until = time.monotonic() + 20
    while jobs.status("job") != "succeeded" and time.monotonic() < until:
        time.sleep(0.02)
    assert json.loads(jobs.log_tail("job")) == words
    assert not [path for path in tmp_path.rglob("*") if path.name == "x"]


def test_a_local_job_runs_this_interpreter_and_a_remote_one_the_images_program() -> None:
    words = ["screen", "genes", "--cells=A B;rm -rf /"]
    quoted = "screen genes '--cells=A B;rm -rf /'"
    assert entrypoint(words, "http://127.0.0.1:8265").endswith(f" -m pertcast_jobs {quoted}")
    assert entrypoint(words, "http://head:8265") == f"exec pertcast {quoted}"


class Client:
    """A Jobs API that knows one job."""

    def __init__(self, **details: Any) -> None:
        found = {"driver_exit_code": None, "error_type": None, "message": "", **details}
        self.details = SimpleNamespace(**{**found, "status": SimpleNamespace(value=found["status"])})

    def get_job_info(self, job: str) -> Any:
        if self.details.status.value == "NONE":
            raise RuntimeError("Request failed with status code 404: no such job")
        if self.details.status.value == "AWAY":
            raise ConnectionError("refused")
        return self.details


@pytest.mark.parametrize(
    ("details", "state"),
    [
        ({"status": "NONE"}, "unknown"),
        ({"status": "PENDING"}, "queued"),
        ({"status": "RUNNING"}, "running"),
        ({"status": "STOPPED"}, "stopped"),
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, "succeeded"),
        ({"status": "FAILED", "driver_exit_code": 1}, "failed"),
        ({"status": "FAILED", "driver_exit_code": -9}, "lost"),
        ({"status": "FAILED", "driver_exit_code": 137}, "lost"),
        ({"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_DIED"}, "lost"),
        ({"status": "FAILED", "error_type": "RUNTIME_ENV_SETUP_FAILURE"}, "failed"),
    ],
)
def test_what_ray_tells_of_a_job_is_told_apart_by_who_ended_it(details: dict[str, Any], state: str) -> None:
    jobs = RayJobs("http://127.0.0.1:1")
    jobs._client = Client(**details)
    assert jobs.status("x-1") == state


def test_a_jobs_api_that_is_away_is_told_as_such() -> None:
    jobs = RayJobs("http://127.0.0.1:1")
    jobs._client = Client(status="AWAY")
    with pytest.raises(JobsUnavailable, match=r"127\.0\.0\.1:1.*refused"):
        jobs.status("x-1")


def test_profiles_are_counted_once_by_one_process_and_another_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setattr(watching, "add_screen_profiles", counted.append)
    screens = {"a": screen_of("running", 5)}
    folders = [SimpleNamespace(id="a")]
    states = SimpleNamespace(of=lambda folder: screens[folder.id])
    starter = SimpleNamespace(start=lambda folder: False)

    def made() -> watching.Watch:
        store = ScreenStore(tmp_path)
        monkeypatch.setattr(store, "all", lambda: folders)
        return watching.Watch(store, states, starter)  # type: ignore[arg-type]

    first, second = made(), made()
    first.look()
    screens["a"] = screen_of("running", 7)
    folders.append(SimpleNamespace(id="b"))
    screens["b"] = screen_of("finished", 3)
    for watch in (first, second, first, second):
        watch.look()
    assert sum(counted) == 2 + 3
    assert first._lease is not None
    first._lease.close()
    second.look()
    screens["a"] = screen_of("finished", 10)
    second.look()
    assert sum(counted) == 5 + 3
    assert SCREEN_PROFILES.kind == "counter"
