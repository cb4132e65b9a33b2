"""Where shards are computed never shows in what they are; workers that die and errors that they meet."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import pytest
from pertcast.screens.manifest import read_manifest
from pertcast_data.errors import ConfigError, CorruptBundle, SchemaError
from pertcast_jobs.ray_session import RaySession
from pertcast_jobs.screen.executors import Resources, get_executor
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.prepare import ScreenRequest, prepare_screen
from pertcast_jobs.screen.run import ScreenOutcome, run_screen
from pertcast_jobs.screen.shards import ShardTask

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def screen(tiny_bundle: Path) -> ScreenRequest:
    settings = ScreenSettings(kind="compounds", shard_rows=64, permutations=20)
    doses = tuple(0.1 * 2**power for power in range(12))
    return ScreenRequest(kind="compounds", model=tiny_bundle, doses=doses, settings=settings)


@pytest.fixture(scope="module")
def in_this_process(screen: ScreenRequest, tmp_path_factory: pytest.TempPathFactory) -> ScreenOutcome:
    return run_screen(screen, tmp_path_factory.mktemp("screens") / "here", "in-process")


@pytest.fixture
def task(screen: ScreenRequest, tmp_path: Path) -> ShardTask:
    return prepare_screen(screen).task(tmp_path / "screen")


def hashes(out: Path) -> Mapping[str, str]:
    """The SHA-256 of every file that the manifest lists, taken from the bytes on disk."""
    return {name: sha256((out / name).read_bytes()).hexdigest() for name in read_manifest(out)["files"]}


@pytest.mark.parametrize("name", ["ray-data", "serve"])
def test_on_ray_a_screen_has_the_bytes_of_one_in_this_process(
    ray_cluster: Any, screen: ScreenRequest, in_this_process: ScreenOutcome, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "screen"
    outcome = run_screen(screen, out, name, resources=Resources(most_workers=1))
    assert outcome.n_computed == in_this_process.n_profiles == 12 * 2 * 12
    assert hashes(out) == hashes(in_this_process.out)


def test_a_worker_without_its_bundle_answers_with_the_error_that_the_driver_then_raises(
    task: ShardTask,
) -> None:
    from pertcast_jobs.screen.ray_workers import Worker, shard_done

    worker = Worker(replace(task, bundle=f"{task.out}-none"))
    with pytest.raises(CorruptBundle, match="is not a bundle"):
        worker.prepare()
    answer = worker.compute(3)
    assert (answer["shard"], answer["rows"], answer["failure"]) == (3, 0, "CorruptBundle")
    with pytest.raises(CorruptBundle, match="is not a bundle"):
        shard_done(answer)


def test_in_this_process_a_shard_is_computed_when_it_is_asked_for(
    screen: ScreenRequest, monkeypatch: pytest.MonkeyPatch, task: ShardTask
) -> None:
    computed: list[int] = []

    class Engine:
        def __init__(self, task: ShardTask, predictor: Any) -> None:
            assert predictor == "the caller's bundle"

        def run(self, shard: int) -> int:
            computed.append(shard)
            return shard

    monkeypatch.setattr("pertcast_jobs.screen.executors.ShardEngine", Engine)
    predictor: Any = "the caller's bundle"
    with get_executor("in-process")(task, predictor, Resources()) as compute:
        shards = compute([4, 2])
        assert next(shards) == 4
        assert computed == [4]
        assert list(shards) == [2]


@pytest.mark.parametrize("wrong", [{"least_workers": 0}, {"most_workers": 2, "least_workers": 3}])
def test_impossible_numbers_of_workers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="cannot have"):
        Resources(**wrong)


@pytest.mark.parametrize(
    ("resources", "is_own", "expected"),
    [
        (Resources(), True, (1, 4)),
        (Resources(most_workers=3), True, (1, 3)),
        (Resources(most_workers=9, least_workers=6), True, (4, 4)),
        (Resources(most_workers=9, least_workers=6), False, (6, 9)),
        (Resources(gpus_per_worker=0.5), True, (1, 2)),
        (Resources(gpus_per_worker=1.0, most_workers=8), False, (1, 8)),
    ],
)
def test_workers_are_as_many_as_fit_unless_the_ray_in_use_may_grow(
    monkeypatch: pytest.MonkeyPatch, resources: Resources, is_own: bool, expected: tuple[int, int]
) -> None:
    from pertcast_jobs.screen import ray_workers

    monkeypatch.setattr(ray_workers.ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": 1.0})
    session = RaySession(address="", is_own=is_own, num_cpus=4.0, dashboard_url=None)
    assert ray_workers.worker_limits(resources, session) == expected


def test_workers_with_gpus_reserve_them_and_are_refused_where_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pertcast_jobs.screen import ray_workers

    assert ray_workers.worker_options(Resources()) == {"num_cpus": 1}
    on_gpu = Resources(gpus_per_worker=0.5)
    assert ray_workers.worker_options(on_gpu) == {"num_cpus": 1, "num_gpus": 0.5}
    monkeypatch.setattr(ray_workers.ray, "cluster_resources", lambda: {"CPU": 4.0})
    session = RaySession(address="", is_own=True, num_cpus=4.0, dashboard_url=None)
    with pytest.raises(ConfigError, match="no GPU here"):
        ray_workers.worker_limits(on_gpu, session)


@dataclass
class Response:
    """The answer of a replica that takes a moment."""

    answer: Callable[[], dict[str, Any]]
    over: Callable[[], None]

    def result(self, timeout_s: float) -> dict[str, Any]:
        time.sleep(0.01)
        self.over()
        return self.answer()

    def cancel(self) -> None:
        raise AssertionError("nothing was given up")


class Replicas:
    """Stands for a handle: counts what it is asked for, and what it is asked for at once."""

    def __init__(self, compute: Callable[[int, int], dict[str, Any]]) -> None:
        self._compute, self._lock = compute, threading.Lock()
        self.asked: Counter[int] = Counter()
        self.open = self.most_open = 0
        self.is_shut_down = False

    def options(self, method_name: str) -> Self:
        assert method_name == "compute"
        return self

    def remote(self, shard: int) -> Response:
        with self._lock:
            self.asked[shard] += 1
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            times = self.asked[shard]
        return Response(lambda: self._compute(shard, times), self._close)

    def _close(self) -> None:
        with self._lock:
            self.open -= 1

    def shutdown(self) -> None:
        self.is_shut_down = True


class TwoReplicas:
    def note(self) -> str:
        return "2 replicas"


def served(handle: Replicas, most_asked: int = 4) -> Any:
    from pertcast_jobs.screen.served_shards import ServedShards

    anything: Any = handle
    replicas: Any = TwoReplicas()
    return ServedShards(anything, most_asked, replicas)


def row(shard: int, failure: str = "", message: str = "") -> dict[str, Any]:
    return {"shard": shard, "rows": 64, "failure": failure, "message": message}


def test_of_many_shards_a_bounded_number_is_asked_for_at_once_and_each_comes_once() -> None:
    handle = Replicas(lambda shard, times: row(shard))
    with served(handle) as compute:
        done = list(compute(range(40)))
    assert sorted(found.shard for found in done) == list(range(40))
    assert {(found.rows, found.note) for found in done} == {(64, "2 replicas")}
    assert handle.most_open == 4
    assert handle.is_shut_down


def test_a_shard_whose_replica_died_is_asked_for_again() -> None:
    from ray.exceptions import RayActorError

    def compute(shard: int, times: int) -> dict[str, Any]:
        if shard == 3 and times < 3:
            raise RayActorError
        return row(shard)

    handle = Replicas(compute)
    with served(handle) as run:
        assert sorted(done.shard for done in run(range(6))) == list(range(6))
    assert handle.asked == Counter({**dict.fromkeys(range(6), 1), 3: 3})


def test_a_shard_that_kills_every_replica_ends_the_screen_with_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pertcast_jobs.screen.ray_workers import TRIES_A_SHARD, WorkersDied
    from ray.exceptions import RayActorError

    def compute(shard: int, times: int) -> dict[str, Any]:
        raise RayActorError

    monkeypatch.setattr("pertcast_jobs.screen.served_shards._FIRST_PAUSE_S", 0.001)
    handle = Replicas(compute)
    with served(handle) as run, pytest.raises(WorkersDied, match=r"shard 7 died 5 times.*same command again"):
        list(run([7]))
    assert handle.asked[7] == TRIES_A_SHARD


def test_an_error_in_a_replica_is_the_same_error_here() -> None:
    handle = Replicas(lambda shard, times: row(shard, "SchemaError", "row 3 has no dose"))
    with served(handle) as run, pytest.raises(SchemaError, match="row 3 has no dose"):
        list(run([0]))


def test_a_time_out_that_a_replica_met_is_not_taken_for_one_of_waiting() -> None:
    from ray.exceptions import RayTaskError

    class OfStorage(RayTaskError, TimeoutError):
        def __init__(self) -> None:
            Exception.__init__(self)

    def compute(shard: int, times: int) -> dict[str, Any]:
        raise OfStorage

    with served(Replicas(compute)) as run, pytest.raises(OfStorage):
        list(run([0]))


def test_the_application_of_a_screen_is_found_again_by_its_folder(task: ShardTask) -> None:
    from pertcast_jobs.screen.ray_serve import application_name

    assert application_name(task) == application_name(replace(task, bundle="elsewhere"))
    assert application_name(task) != application_name(replace(task, out=f"{task.out}-2"))
