"""Screens of the server from their request to their files, run as real processes beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pertcast
import polars as pl
import psutil
import pytest
import screen_page_toys as toys
from fastapi import FastAPI
from pertcast_serve.access.caller import LOCAL, Caller
from pertcast_serve.access.install import install_access
from pertcast_serve.access.keys import change_keys, new_key
from pertcast_serve.config import AccessSettings, Limits, ScreenSettings, ServeConfig
from pertcast_serve.endpoints import screens as endpoints
from pertcast_serve.problems import Unavailable, install_handlers
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.screens import Screen, ScreenRequest
from pertcast_serve.screens import states
from pertcast_serve.screens.process_jobs import ProcessJobs
from pertcast_serve.screens.service import ScreenService
from pertcast_serve.services import Services

ESTIMATES = toys.ESTIMATES

PERTCAST = (sys.executable, "-m", "pertcast_jobs")
BODY: dict[str, Any] = {"kind": "compounds", "title": "first"}


def script(text: str) -> tuple[str, ...]:
    """Return a program that takes the place of `pertcast`, and starts at once."""
    return (sys.executable, "-S", "-c", text)


SLEEPS = script("import time; time.sleep(60)")
ANNE = Caller("anne", "Anne", frozenset(("predict", "screen")))
BERT = Caller("bert", "Bert", frozenset(("predict", "screen")))


class WatchedJobs(ProcessJobs):
    """Processes whose starts are told, and that can be killed."""

    def __init__(self, folder: Path, program: Sequence[str]) -> None:
        super().__init__(folder, program)
        self.folder = folder
        self.started: list[str] = []

    def start(self, place: Path, argv: Sequence[str]) -> None:
        super().start(place, argv)
        self.started.append(place.name)

    def pid(self, job: str) -> int:
        return int((self.folder / job / "pid").read_text())

    def is_alive(self, job: str) -> bool:
        return self.process(job) is not None

    def kill(self, job: str) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid(job), signal.SIGKILL)


@dataclass(frozen=True)
class Bundle:
    id: str
    path: str


class Models:
    """One model."""

    def __init__(self, path: Path) -> None:
        self.bundle = Bundle("default@1", str(path))

    def resolve(self, asked: str | None) -> Bundle | Problem:
        if asked in (None, "default"):
            return self.bundle
        return Problem(title="Unknown model", status=404, detail=f"No model {asked}.")


@dataclass
class Server:
    """Screens of one folder with their interface."""

    config: ServeConfig
    jobs: WatchedJobs
    service: ScreenService
    call: Callable[..., httpx.Response]

    def submit(self, caller: Caller = LOCAL, key: str | None = None, **body: Any) -> Screen | Problem:
        request = ScreenRequest.model_validate({**BODY, **body})
        return anyio.run(partial(self.service.submit, request, caller, key))

    def get(self, identifier: str, caller: Caller = LOCAL) -> Screen | Problem:
        return anyio.run(partial(self.service.get, identifier, caller))

    def begun(self, **options: Any) -> Screen:
        screen = self.submit(**options)
        assert isinstance(screen, Screen), screen
        return screen

    def folder(self, screen: Screen) -> Path:
        assert self.config.screens.folder is not None
        return self.config.screens.folder / screen.id


Make = Callable[..., Server]


def served(
    config: ServeConfig, jobs: WatchedJobs, bundle: Path, estimates: Sequence[str], call_api: Any
) -> Server:
    service = ScreenService(config, jobs, Models(bundle), estimates)
    api = FastAPI()
    services = Services(predictor=None, analysis=None, screens=service, page=None)  # type: ignore[arg-type]
    endpoints.add_routes(api, services, config)
    install_handlers(api)
    install_access(api, config)
    return Server(config, jobs, service, call_api(api))


@pytest.fixture
def make(tmp_path: Path, tiny_bundle: Path, call_api: Any) -> Any:
    """Return what starts a server over one folder of screens; a second one is the first after a restart."""
    jobs: list[WatchedJobs] = []

    def start(
        program: Sequence[str] = SLEEPS,
        estimates: Sequence[str] = ESTIMATES,
        limits: Limits | None = None,
        access: AccessSettings | None = None,
    ) -> Server:
        config = ServeConfig(
            models={"default": tiny_bundle},
            screens=ScreenSettings(folder=tmp_path / "screens"),
            limits=limits or Limits(),
            access=access or AccessSettings(),
        )
        jobs.append(WatchedJobs(tmp_path / "jobs", program))
        return served(config, jobs[-1], tiny_bundle, estimates, call_api)

    yield start
    for each in jobs:
        for job in each.started:
            each.kill(job)


def wait_for(condition: Callable[[], bool], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


# --- The whole life, with real commands: one undisturbed screen, and one whose job is killed. ---

DOSES = [float(dose) for dose in range(1, 31)]
LARGE = {"pert_dose": DOSES, "pert_time": [6.0, 24.0]}
"""1,440 profiles: two shards."""


@dataclass(frozen=True)
class Lived:
    """A screen that ran to its end, and what was seen on the way."""

    server: Server
    screen: Screen
    events: str
    after: dict[str, Any]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, call_api: Any) -> Lived:
    folder = tmp_path_factory.mktemp("lived")
    config = ServeConfig(models={"default": tiny_bundle}, screens=ScreenSettings(folder=folder / "screens"))
    jobs = WatchedJobs(folder / "jobs", ("env", "OMP_NUM_THREADS=1", *PERTCAST))
    server = served(config, jobs, tiny_bundle, ESTIMATES, call_api)
    answer = server.call("POST", "/v1/screens", json={**BODY, **LARGE})
    assert answer.status_code == 202, answer.text
    location = answer.headers["Location"]
    events = server.call("GET", f"{location}/events", timeout=100).text
    after = server.call("GET", location).json()
    return Lived(server, Screen.model_validate(after), events, after)


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_events_tell_a_screen_from_its_start_to_its_end_and_then_stop(lived: Lived) -> None:
    events = events_of(lived.events)
    assert [name for name, _ in events[:-1]] == ["progress"] * (len(events) - 1)
    assert events[0][1]["state"] in ("queued", "running")
    assert events[-1] == ("finished", lived.after)
    assert lived.after["n_done"] == lived.after["n_profiles"] == 1440
    done = [screen["n_done"] for _, screen in events]
    assert done == sorted(done)


def test_a_client_that_saw_the_last_event_is_told_to_stay_away(lived: Lived) -> None:
    path = f"/v1/screens/{lived.screen.id}/events"
    answer = lived.server.call("GET", path, headers={"Last-Event-ID": "finished-1440"})
    assert answer.status_code == 204
    assert "event: finished" in lived.server.call("GET", path, headers={"Last-Event-ID": "running-0"}).text


def test_hits_are_pages_of_the_screens_table_in_any_order(lived: Lived) -> None:
    call, path = lived.server.call, f"/v1/screens/{lived.screen.id}/hits"
    folder = lived.server.folder(lived.screen) / "screen"
    named = pl.read_parquet(folder / "sig_info.parquet").select("sig_id", "pert_id")
    table = pl.read_parquet(folder / "hits.parquet").join(named, on="sig_id", maintain_order="left")
    page = call("GET", path, params={"offset": 1435, "limit": 100}).json()
    assert page["n_hits"] == 1440
    assert [row["rank"] for row in page["rows"]] == [1436, 1437, 1438, 1439, 1440]
    for name, value in page["rows"][0].items():
        assert value == table.row(1435, named=True)[name]
    asked = {"sort": "pert_dose", "descending": True, "cell_iname": "HT29", "text": "DRUG-1", "limit": 7}
    fitting = table.filter(
        (pl.col("cell_iname") == "HT29") & pl.col("pert_id").is_in(["drug-1", "drug-10", "drug-11"])
    ).sort("pert_dose", "rank", descending=[True, False])
    found = call("GET", path, params=asked).json()
    assert found["n_hits"] == fitting.height == 180
    assert [row["sig_id"] for row in found["rows"]] == fitting["sig_id"][:7].to_list()


def test_hits_come_as_tables_too(lived: Lived) -> None:
    call, path = lived.server.call, f"/v1/screens/{lived.screen.id}/hits"
    rows = call("GET", path, params={"limit": 3}).json()["rows"]
    answer = call("GET", path, params={"limit": 3}, headers={"Accept": "text/csv"})
    assert answer.headers["X-Total-Count"] == "1440"
    assert pl.read_csv(answer.content)["sig_id"].to_list() == [row["sig_id"] for row in rows]
    for media_type, read in (
        ("application/vnd.apache.parquet", pl.read_parquet),
        ("application/vnd.apache.arrow.stream", pl.read_ipc_stream),
    ):
        answer = call("GET", path, params={"limit": 3}, headers={"Accept": media_type})
        assert read(answer.content).to_dicts() == rows
    assert call("GET", path, headers={"Accept": "image/png"}).status_code == 406


def test_a_profile_is_the_row_that_load_screen_reads(lived: Lived) -> None:
    screen = pertcast.load_screen(lived.server.folder(lived.screen) / "screen")
    name = str(screen.obs_names[1234])
    found = lived.server.call("GET", f"/v1/screens/{lived.screen.id}/profiles/{name}").json()
    assert found["genes"] == list(screen.var_names)
    assert np.array_equal(np.float32(found["mean"]), np.float32(screen.X[1234]))
    if "sd" in screen.layers:
        assert np.array_equal(np.float32(found["sd"]), np.float32(screen.layers["sd"][1234]))
    else:
        assert found["sd"] is None
    missing = lived.server.call("GET", f"/v1/screens/{lived.screen.id}/profiles/nothing/such")
    assert missing.status_code == 404
    assert "/hits" in missing.json()["detail"]


def test_ranges_of_a_file_put_together_are_the_file(lived: Lived) -> None:
    call, base = lived.server.call, f"/v1/screens/{lived.screen.id}/artifacts"
    listed = {item["name"]: item for item in call("GET", base).json()["artifacts"]}
    manifest = json.loads((lived.server.folder(lived.screen) / "screen/manifest.json").read_text())
    assert listed.keys() == {*manifest["files"], "manifest.json"}
    path, item = f"{base}/hits.csv", listed["hits.csv"]
    head = call("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) == item["bytes"]
    assert head.headers["ETag"] == f'"{item["sha256"]}"'
    third = item["bytes"] // 3
    parts = []
    for asked in (f"0-{third}", f"{third + 1}-{2 * third}", f"{2 * third + 1}-"):
        answer = call("GET", path, headers={"Range": f"bytes={asked}"})
        assert answer.status_code == 206
        assert answer.headers["Content-Range"].endswith(f"/{item['bytes']}")
        parts.append(answer.content)
    whole = (lived.server.folder(lived.screen) / "screen/hits.csv").read_bytes()
    assert b"".join(parts) == whole == call("GET", path).content
    assert call("GET", path, headers={"Range": "bytes=-10"}).content == whole[-10:]


def test_a_file_that_is_known_is_not_sent_again_and_one_that_changed_is_sent_whole(lived: Lived) -> None:
    call, path = lived.server.call, f"/v1/screens/{lived.screen.id}/artifacts/report.html"
    first = call("GET", path)
    assert first.headers["Content-Disposition"] == 'inline; filename="report.html"'
    tag = first.headers["ETag"]
    assert call("GET", path, headers={"If-None-Match": f'"other", {tag}'}).status_code == 304
    resumed = call("GET", path, headers={"Range": "bytes=5-", "If-Range": tag})
    assert (resumed.status_code, resumed.content) == (206, first.content[5:])
    changed = call("GET", path, headers={"Range": "bytes=5-", "If-Range": '"older"'})
    assert (changed.status_code, changed.content) == (200, first.content)
    outside = call("GET", path, headers={"Range": "bytes=999999999-"})
    assert outside.status_code == 416
    assert outside.headers["Content-Range"] == f"bytes */{len(first.content)}"
    assert outside.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "name",
    ["../request.json", "..%2frequest.json", "%2fetc%2fpasswd", ".parts/plan.json", "x/%2e%2e/hits.csv"],
)
def test_only_files_that_the_manifest_records_can_be_read(lived: Lived, name: str) -> None:
    answer = lived.server.call("GET", f"/v1/screens/{lived.screen.id}/artifacts/{name}")
    assert answer.status_code == 404


def test_a_finished_screen_cannot_be_cancelled_and_the_answer_says_what_to_do(lived: Lived) -> None:
    answer = lived.server.call("DELETE", f"/v1/screens/{lived.screen.id}")
    assert answer.status_code == 409
    assert lived.screen.id in answer.json()["detail"]
    assert lived.server.get(lived.screen.id) == lived.screen


def test_a_job_killed_with_kill_9_is_resumed_and_ends_with_the_same_bytes(lived: Lived) -> None:
    server, jobs = lived.server, lived.server.jobs
    screen = server.begun(**LARGE)
    records = server.folder(screen) / "screen/.parts/records"
    wait_for(lambda: any(records.glob("[0-9]*.json")))
    jobs.kill(f"{screen.id}-1")
    wait_for(lambda: jobs.status(f"{screen.id}-1") == "lost")
    lost = server.get(screen.id)
    assert isinstance(lost, Screen)
    assert (lost.state, lost.n_profiles) == ("queued", 1440)
    assert lost.n_done >= 1024

    assert anyio.run(server.service.resume_all) == [screen.id]
    assert anyio.run(server.service.resume_all) == []
    wait_for(lambda: jobs.status(f"{screen.id}-2") != "running")
    resumed = server.get(screen.id)
    assert isinstance(resumed, Screen)
    assert resumed.state == "finished", resumed
    files = [
        json.loads((server.folder(each) / "screen/manifest.json").read_text())["files"]
        for each in (lived.screen, screen)
    ]
    assert files[0] == files[1]


# --- What needs no real command: a program that sleeps or fails at once takes its place. ---


def test_the_command_says_what_the_request_says(make: Make) -> None:
    server = make()
    screen = server.begun(
        kind="table",
        rows=[{"pert_id": "drug-1", "pert_dose": 2.5}, {"pert_id": "GENE1", "pert_type": "trt_xpr"}],
        cell_iname=["A375", "HT29"],
        pert_time=[6.0, 24.0],
        up=["GENE1"],
        down=["GENE2", "GENE3"],
        objective="mimic",
        skip_unknown=True,
        seed=7,
    )
    folder = server.folder(screen)
    argv = json.loads((folder / "request.json").read_text())["argv"]
    assert argv == [
        "screen",
        "table",
        f"{folder}/library.parquet",
        f"--model={server.config.models['default']}",
        "--cells=A375,HT29",
        "--times=6.0,24.0",
        f"--up={folder}/up.parquet",
        f"--down={folder}/down.parquet",
        "--objective=mimic",
        "--seed=7",
        "--skip-unknown",
        f"--out={folder}/screen",
        "--executor=in-process",
    ]
    rows = pl.read_parquet(folder / "library.parquet")
    assert rows.to_dict(as_series=False) == {
        "pert_id": ["drug-1", "GENE1"],
        "pert_type": [None, "trt_xpr"],
        "pert_dose": [2.5, None],
    }
    assert pl.read_parquet(folder / "down.parquet")["gene"].to_list() == ["GENE2", "GENE3"]


def test_a_cancelled_screen_has_no_process_and_is_not_resumed(make: Make) -> None:
    server = make()
    screen = server.begun()
    job = f"{screen.id}-1"
    below = psutil.Process(server.jobs.pid(job)).children(recursive=True)
    assert server.call("DELETE", f"/v1/screens/{screen.id}").json()["state"] == "cancelled"
    wait_for(lambda: not server.jobs.is_alive(job))
    assert psutil.wait_procs(below, timeout=10)[1] == []
    assert anyio.run(server.service.resume_all) == []
    assert server.call("DELETE", f"/v1/screens/{screen.id}").json()["state"] == "cancelled"
    assert events_of(server.call("GET", f"/v1/screens/{screen.id}/events").text)[-1][0] == "cancelled"


def test_a_failed_screen_says_what_its_command_said_without_paths(make: Make) -> None:
    says = "import sys; sys.exit('1/2\\nerror: ' + ' in '.join(sys.argv[3:5]) + ': row 2. Add --seed.')"
    server = make(script(says))
    screen = server.begun(kind="table", rows=[{"pert_id": "drug-1"}])
    wait_for(lambda: server.jobs.status(f"{screen.id}-1") == "failed")
    told = server.get(screen.id)
    assert isinstance(told, Screen)
    assert told.state == "failed"
    assert told.message == "rows in model=model default@1: row 2. Add seed."
    assert server.call("DELETE", f"/v1/screens/{screen.id}").status_code == 409
    hits = server.call("GET", f"/v1/screens/{screen.id}/hits")
    assert hits.status_code == 409
    assert "failed" in hits.json()["detail"]


def test_why_a_screen_failed_outlives_the_log_of_its_job(make: Make) -> None:
    server = make(script("import sys; sys.exit('error: no luck')"))
    screen = server.begun()
    wait_for(lambda: server.jobs.status(f"{screen.id}-1") == "failed")
    told = server.get(screen.id)
    (server.jobs.folder / f"{screen.id}-1/log").unlink()
    assert make().get(screen.id) == told


def test_a_job_that_is_killed_again_and_again_fails_with_a_guess_at_the_reason(make: Make) -> None:
    server = make(script("import os; os.kill(os.getpid(), 9)"))
    screen = server.begun()
    for attempt in (1, 2, 3):
        wait_for(lambda job=f"{screen.id}-{attempt}": server.jobs.status(job) == "lost")
        anyio.run(server.service.resume_all)
    told = server.get(screen.id)
    assert isinstance(told, Screen)
    assert told.state == "failed"
    assert "memory" in told.message
    assert server.jobs.started == [f"{screen.id}-{attempt}" for attempt in (1, 2, 3)]


def test_a_job_that_finds_the_screen_held_by_an_earlier_one_is_tried_again(make: Make) -> None:
    says = "import sys; sys.exit('error: ' + sys.argv[-2] + ' is being computed by another process. Wait.')"
    server = make(script(says))
    screen = server.begun()
    wait_for(lambda: server.jobs.status(f"{screen.id}-1") == "failed")
    told = server.get(screen.id)
    assert isinstance(told, Screen)
    assert told.state == "queued"
    assert anyio.run(server.service.resume_all) == [screen.id]
    assert server.jobs.started == [f"{screen.id}-1", f"{screen.id}-2"]


def test_a_restarted_server_finds_its_screens_and_leaves_running_jobs_alone(make: Make) -> None:
    server = make()
    screen = server.begun(key="k")
    again = make()
    assert again.get(screen.id) == server.get(screen.id)
    assert anyio.run(again.service.resume_all) == []
    assert again.submit(key="k") == server.get(screen.id)
    assert again.jobs.started == []


def test_a_screen_whose_job_was_forgotten_is_submitted_once_by_two_servers(make: Make) -> None:
    first, second = make(), make()
    screen = first.begun()
    first.jobs.kill(f"{screen.id}-1")
    for file in sorted((first.jobs.folder / f"{screen.id}-1").iterdir()):
        file.unlink()
    (first.jobs.folder / f"{screen.id}-1").rmdir()
    first.jobs.started.clear()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda server: anyio.run(server.service.resume_all), (first, second)))
    assert [*first.jobs.started, *second.jobs.started] == [f"{screen.id}-1"]


def test_a_screen_that_nobody_takes_is_kept_says_that_it_waits_and_goes_on(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make()
    with monkeypatch.context() as broken:
        broken.setenv("PATH", "/nowhere")
        screen = server.begun()
        assert (screen.state, screen.message) == ("queued", "")
        assert not list(server.jobs.folder.iterdir())
        broken.setattr(states, "SUBMITTED_WITHIN_S", -1.0)
        told = server.get(screen.id)
        assert isinstance(told, Screen)
        assert told.state == "queued"
        assert "offered again" in told.message
    assert anyio.run(server.service.resume_all) == [screen.id]
    told = server.get(screen.id)
    assert isinstance(told, Screen)
    assert (told.state, told.message) == ("running", "")


def test_one_key_begins_one_screen_even_when_sent_twice_at_once(make: Make) -> None:
    servers = [make(), make()]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: servers[n % 2].submit(key="same"), range(4)))
    assert len({screen.id for screen in found if isinstance(screen, Screen)}) == 1
    assert len([*servers[0].jobs.started, *servers[1].jobs.started]) == 1
    answer = servers[0].call("POST", "/v1/screens", json=BODY, headers={"Idempotency-Key": "same"})
    assert (answer.status_code, answer.json()["id"]) == (202, found[0].id)  # type: ignore[union-attr]


def test_one_key_with_another_request_is_refused_and_keys_are_each_callers_own(make: Make) -> None:
    server = make()
    first = server.begun(caller=ANNE, key="k")
    other = server.submit(caller=ANNE, key="k", seed=1)
    assert isinstance(other, Problem)
    assert other.status == 409
    assert first.id in other.detail
    assert server.begun(caller=BERT, key="k", seed=1).id != first.id


def test_a_caller_may_have_so_many_screens_at_once_and_no_more(make: Make) -> None:
    server = make(limits=Limits(running_screens=1))
    first = server.begun(caller=ANNE)
    refused = server.submit(caller=ANNE)
    assert isinstance(refused, Problem)
    assert refused.status == 429
    server.begun(caller=BERT)
    anyio.run(server.service.cancel, first.id, ANNE)
    server.begun(caller=ANNE)


def test_too_many_screens_are_answered_with_when_to_come_back(make: Make) -> None:
    server = make(limits=Limits(running_screens=1))
    server.begun()
    answer = server.call("POST", "/v1/screens", json=BODY)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_screen_of_more_profiles_than_allowed_is_refused_before_it_begins(make: Make) -> None:
    server = make(limits=Limits(screen_profiles=47))
    answer = server.call("POST", "/v1/screens", json=BODY)
    assert answer.status_code == 422
    assert "48" in answer.json()["detail"]
    assert server.call("GET", "/v1/screens").json() == {"screens": [], "n_screens": 0}


def test_screens_of_others_are_as_if_they_were_not_there(make: Make) -> None:
    server = make()
    screen = server.begun(caller=ANNE)
    seen = server.get(screen.id, BERT)
    assert isinstance(seen, Problem)
    assert seen.model_dump() == {
        **server.get("0" * 17, BERT).model_dump(),
        "detail": f"There is no screen '{screen.id}' of yours. /v1/screens lists all.",
    }
    for ask in (server.service.cancel, server.service.events, server.service.artifacts, server.service.hits):
        found = anyio.run(ask, screen.id, BERT)
        assert isinstance(found, Problem)
        assert found.status == 404
    assert anyio.run(server.service.list, BERT).n_screens == 0
    assert server.get(screen.id, ANNE) == server.get(screen.id, LOCAL)


def test_lists_begin_with_the_newest_and_are_pages(make: Make) -> None:
    server = make()
    made = []
    for title in ("a", "b", "c"):
        made.append(server.begun(title=title).id)
        time.sleep(0.002)
    listed = server.call("GET", "/v1/screens", params={"offset": 1, "limit": 1}).json()
    assert listed["n_screens"] == 3
    assert [screen["id"] for screen in listed["screens"]] == [made[1]]


@pytest.mark.parametrize("name", ["..", ".keys", "..%2f..%2fetc", "%00", "0" * 16, "0" * 18, "é" * 17])
def test_ids_from_outside_never_become_paths(make: Make, name: str) -> None:
    server = make()
    server.begun(key="k")
    assert server.call("GET", f"/v1/screens/{name}/events").status_code == 404


def test_what_the_dry_run_refuses_is_refused_in_the_words_of_the_interface(make: Make) -> None:
    says = "import sys; sys.exit('Usage: x\\n\\nError: Invalid value for --cells: A549 is not known')"
    answer = make(estimates=script(says)).call("POST", "/v1/screens/estimate", json=BODY)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "Invalid value for cell_iname: A549 is not known"


def test_an_estimate_that_takes_too_long_is_ended_and_answered_with_503(make: Make) -> None:
    server = make(estimates=SLEEPS)
    server.service._estimator._seconds = 0.2
    before = psutil.Process().children()
    answer = server.call("POST", "/v1/screens/estimate", json=BODY)
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert psutil.Process().children() == before


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"cell_iname": ["A,B"]}, "commas"),
        ({"cell_iname": ["A\x00B"]}, "control"),
        ({"cell_iname": ["x" * 200] * 1000}, "too long"),
        ({"pert_type": ["trt_sh"]}, "trt_cp"),
        ({"kind": "genes", "pert_dose": [1.0]}, "no dose"),
        ({"gene_sets": "hallmark"}, "no collection"),
    ],
)
def test_what_no_command_can_say_is_refused(make: Make, body: dict[str, Any], word: str) -> None:
    answer = make().call("POST", "/v1/screens/estimate", json={**BODY, **body})
    assert answer.status_code == 422
    assert word in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind": "genes", "title": "\\ud800"}',
        b'{"kind": "genes", "rows": [{"pert_id": "\\udfff"}]}',
        b'{"kind": "genes", "pert_time": [NaN]}',
        b'{"kind": "genes", "pert_time": [1e999]}',
        b'{"kind": "genes", "seed": true}',
        b'{"kind": "genes", "up": ["A"]}',
        b'{"kind": "genes", "out": "/etc"}',
        b'{"kind": "export"}',
    ],
)
def test_bodies_that_do_not_fit_the_schema_are_refused(make: Make, body: bytes) -> None:
    answer = make().call("POST", "/v1/screens", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_unknown_model_is_a_404(make: Make) -> None:
    assert make().call("POST", "/v1/screens", json={**BODY, "model": "other"}).status_code == 404


def test_beginning_and_cancelling_need_the_scope_screen(make: Make, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    secret, key = new_key("reader", ["predict"])
    change_keys(keys, lambda known: (*known, key), may_create=True)
    server = make(access=AccessSettings(keys=keys))
    headers = {"X-API-Key": secret}
    for method, path in (
        ("POST", "/v1/screens"),
        ("POST", "/v1/screens/estimate"),
        ("DELETE", "/v1/screens/x"),
    ):
        assert server.call(method, path, json=BODY, headers=headers).status_code == 403
    assert server.call("GET", "/v1/screens", headers=headers).json()["n_screens"] == 0
    assert server.call("GET", "/v1/screens").status_code == 401


def test_a_server_without_a_folder_says_that_it_keeps_no_screens(
    tiny_bundle: Path, tmp_path: Path, call_api: Any
) -> None:
    config = ServeConfig(models={"default": tiny_bundle})
    server = served(config, WatchedJobs(tmp_path, SLEEPS), tiny_bundle, ESTIMATES, call_api)
    for method, path in (("POST", "/v1/screens"), ("GET", "/v1/screens"), ("GET", "/v1/screens/x")):
        answer = server.call(method, path, json=BODY)
        assert answer.status_code == 404
        assert "screens.folder" in answer.json()["detail"]


def test_a_damaged_screen_is_a_503_that_names_the_file(lived: Lived, make: Make) -> None:
    server = make()
    screen = server.begun()
    server.jobs.kill(f"{screen.id}-1")
    out = server.folder(screen) / "screen"
    subprocess.run(["cp", "-r", str(lived.server.folder(lived.screen) / "screen"), str(out)], check=True)
    (out / "hits.csv").write_bytes(b"short")
    with pytest.raises(Unavailable, match=r"hits\.csv"):
        anyio.run(server.service.artifact_path, screen.id, LOCAL, "hits.csv")
    answer = server.call("GET", f"/v1/screens/{screen.id}/artifacts/hits.csv")
    (out / "hits.parquet").unlink()
    assert str(out.parent) not in server.call("GET", f"/v1/screens/{screen.id}/hits").json()["detail"]
    assert answer.status_code == 503
