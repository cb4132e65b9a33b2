"""A screen over three machines, one of which the network loses and finds again: the bytes of one process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import net_cluster as net
import pytest
from compound_screens import contents, screen_words
from thorough import only_thorough
from waiting import wait_for

pytestmark = net.MARKS

N_DOSES, SHARD_ROWS, N_SHARDS = 96, 64, 96


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with net.net_cluster(tmp_path_factory.mktemp("net"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the screen as words of the command line."""
    return screen_words(tmp_path_factory.mktemp("screen"), N_DOSES, SHARD_ROWS)


@pytest.fixture(scope="module")
def in_process(cluster: Any, words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return the files of the same screen in one process on the client."""
    out = tmp_path_factory.mktemp("screens") / "whole"
    done = cluster.pertcast(*words, "--out", str(out), "--executor", "in-process")
    assert done.returncode == 0, done.stderr
    return contents(out)


def shard_times(out: Path) -> list[float]:
    """Return when the record of each finished shard was written, in rising order."""
    records = (out / ".parts" / "records").glob("[0-9]*.json")
    return sorted(record.stat().st_mtime for record in records)


@dataclass
class Screen:
    """A screen that was submitted as a job, and what became of its shards."""

    driver: Any
    out: Path
    said: Path
    times: list[float] = field(default_factory=list)

    def look(self) -> int:
        """Return how many shards are done; their times are kept, for the records go with the end."""
        with suppress(OSError):
            self.times = max(self.times, shard_times(self.out), key=len)
        return len(self.times)

    def await_end(self, seconds: float) -> int:
        """Return the exit code, or fail where it takes longer."""
        deadline = time.monotonic() + seconds
        while self.driver.poll() is None:
            assert time.monotonic() < deadline, f"{self.look()} shards done: {self.said.read_text()[-3000:]}"
            self.look()
            time.sleep(0.2)
        return int(self.driver.returncode)


def submitted(cluster: Any, words: list[str], folder: Path, executor: str) -> Screen:
    out, said = folder / "screen", folder / "said"
    screen = [*words, "--out", str(out), "--executor", executor, "--workers", "3"]
    return Screen(cluster.submitted(screen, said), out, said)


@pytest.mark.parametrize("executor", ["ray-data", pytest.param("serve", marks=only_thorough)])
def test_a_screen_over_three_machines_comes_through_a_cut_to_the_bytes_of_one_process(
    cluster: Any, words: list[str], in_process: Mapping[str, str], tmp_path: Path, executor: str
) -> None:
    screen = submitted(cluster, words, tmp_path, executor)
    node3 = cluster.boxes["node3"]

    def is_at_work() -> bool:
        return screen.look() > 5 and bool(node3.processes("ray::.*(MapWorker|ShardActor|ShardReplica)"))

    assert wait_for(is_at_work, 400), screen.said.read_text()[-3000:]
    cluster.cut("node3")
    cut, before = time.time(), screen.look()
    code = screen.await_end(400)
    ended = time.time() - cut
    gone = cluster.come_back("node3")
    assert code == 0, screen.said.read_text()[-3000:]
    assert contents(screen.out) == in_process
    after = [cut, *(moment for moment in screen.times if moment > cut)]
    pause = max((later - earlier for earlier, later in pairwise(after)), default=0.0)
    print(
        f"screen {executor}: cut after {before} of {N_SHARDS} shards, ended {ended:.0f} s later, longest "
        f"pause between shards {pause:.1f} s; old Ray gone {gone:.0f} s after the heal"
    )
