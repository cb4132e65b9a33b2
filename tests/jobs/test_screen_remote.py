"""Screens in a bucket: the bytes of a local screen, whatever died and on whichever machine it goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pertcast
import polars as pl
import pytest
import storage_places as places
from pertcast.training.files import write_json
from pertcast_data.errors import ConfigError, CorruptStore, FormatError, StorageError
from pertcast_data.storage import ObjectFolder
from pertcast_jobs.cli import run as command
from pertcast_jobs.screen import run as screen_run
from pertcast_jobs.screen.fetched import local_screen
from pertcast_jobs.screen.finishing.tables import write_sig_info
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.prepare import PreparedScreen, ScreenRequest, prepare_screen
from pertcast_jobs.screen.remote import workspace_of
from pertcast_jobs.screen.run import ScreenOutcome, compute_screen
from pertcast_jobs.screen.shards import ShardEngine
from pertcast_jobs.screen.workspace import Workspace

server, bucket, uploads, fetches = places.server, places.bucket, places.uploads, places.fetches

PROFILES, SHARDS = 144, 3
DOSES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@pytest.fixture(scope="module")
def prepared(tiny_bundle: Path) -> PreparedScreen:
    settings = ScreenSettings(kind="compounds", shard_rows=64)
    return prepare_screen(ScreenRequest(kind="compounds", model=tiny_bundle, doses=DOSES, settings=settings))


def finish_quickly(workspace: Workspace, prepared: PreparedScreen, tell: Callable[[str], None]) -> None:
    """Write the conditions as hits, and the manifest: what takes longest of a small screen is left out."""
    tell("writing: checksums")
    workspace.require_all(prepared.plan)
    info = pl.read_parquet(write_sig_info(workspace, prepared.plan).path).with_columns(
        p_value=pl.lit(0.001), fdr=pl.lit(0.01), calibration=pl.lit("unseen")
    )
    workspace.publish(workspace.path / "hits.parquet", info.write_parquet)
    facts = {"format": "pertcast-screen", "plan_hash": prepared.plan.hash}
    files = {
        name: {"bytes": len(content), "sha256": sha256(content).hexdigest()}
        for name, content in files_of(workspace.path).items()
        if not name.startswith(".parts/")
    }
    workspace.publish(workspace.manifest, lambda path: write_json(path, {**facts, "files": files}))
    workspace.clean_up()


@pytest.fixture(scope="module")
def local(prepared: PreparedScreen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole screen."""
    out = tmp_path_factory.mktemp("screens") / "local"
    outcome = compute(prepared, out)
    assert (outcome.n_profiles, prepared.plan.n_shards) == (PROFILES, SHARDS)
    return out


@pytest.fixture(scope="module")
def quick_local(prepared: PreparedScreen, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    out = tmp_path_factory.mktemp("screens") / "quick"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen_run, "finish", finish_quickly)
        compute(prepared, out)
    return of_local(out)


@pytest.fixture
def quick(quick_local: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Let screens be finished quickly; what files such a screen has on a local disk, and their SHA-256."""
    monkeypatch.setattr(screen_run, "finish", finish_quickly)
    return quick_local


@pytest.fixture
def out(bucket: str) -> str:
    return f"{bucket}/screens/first"


class Killed(BaseException):
    """Stands for a process that died."""


def die_when(is_now: Callable[[int, str], bool]) -> Callable[..., None]:
    def progress(done: int, total: int, note: str = "") -> None:
        if is_now(done, note):
            raise Killed

    return progress


def compute(prepared: PreparedScreen, out: Any, *rest: Any) -> ScreenOutcome:
    return compute_screen(prepared, out, "in-process", *rest)


def objects_of(out: str) -> dict[str, bytes]:
    folder = ObjectFolder(out)
    return {entry.name: folder.get(entry.name) for entry in folder.list()}


def hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of every file; of the manifest without the code's revision, which others may move on."""
    manifest = {**json.loads(files["manifest.json"]), "git_revision": None}
    plain = {**files, "manifest.json": json.dumps(manifest, sort_keys=True).encode()}
    return {name: sha256(content).hexdigest() for name, content in sorted(plain.items())}


def of_local(root: Path) -> dict[str, str]:
    return hashes(files_of(root))


def files_of(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def put_files(root: Path, out: str) -> None:
    for name, content in files_of(root).items():
        ObjectFolder(out).put(name, content)


def work_folder(prepared: PreparedScreen, out: str) -> Path:
    return workspace_of(out, prepared.plan).path


def test_a_screen_in_a_bucket_has_the_bytes_of_a_local_one_and_leaves_nothing_else(
    prepared: PreparedScreen, local: Path, out: str
) -> None:
    notes: list[str] = []
    outcome = compute(prepared, Path(out), lambda done, total, note="": notes.append(note))
    found = objects_of(out)
    assert hashes(found) == of_local(local)
    for name, record in json.loads(found["manifest.json"])["files"].items():
        assert record == {"bytes": len(found[name]), "sha256": sha256(found[name]).hexdigest()}
    assert str(outcome.out) == out
    assert outcome.n_computed == PROFILES
    assert outcome.hits.equals(pl.read_parquet(local / "hits.parquet"))
    assert not work_folder(prepared, out).exists()
    assert notes[-1].startswith(f"uploading: {len(found) - 1} of {len(found) - 1} files, ")


@pytest.mark.parametrize(
    ("profiles", "is_same_machine"), [(0, False), (64, True), (64, False), (PROFILES, False)]
)
def test_a_screen_that_died_goes_on_here_or_elsewhere_with_the_shards_in_the_bucket(
    prepared: PreparedScreen, quick: Mapping[str, str], out: str, profiles: int, is_same_machine: bool
) -> None:
    with pytest.raises(Killed):
        compute(prepared, out, die_when(lambda done, note: done >= profiles))
    assert "manifest.json" not in objects_of(out)
    if not is_same_machine:
        shutil.rmtree(work_folder(prepared, out))
    assert compute(prepared, out).n_computed == PROFILES - profiles
    assert hashes(objects_of(out)) == quick


@pytest.mark.parametrize(
    ("last", "is_same_machine"),
    [("hits.parquet", True), ("hits.parquet", False), ("manifest.json", True), (".parts", True)],
)
def test_a_screen_that_died_while_it_was_uploaded_is_uploaded_to_its_end(
    prepared: PreparedScreen, quick: Mapping[str, str], out: str, last: str, is_same_machine: bool
) -> None:
    def dying(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: ObjectFolder, name: str, *rest: Any, **named: Any) -> Any:
            if name == last:
                raise Killed
            return method(self, name, *rest, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("put", "put_if_absent", "delete"):
            patch.setattr(ObjectFolder, name, dying(getattr(ObjectFolder, name)))
        with pytest.raises(Killed):
            compute(prepared, out)
    assert any(name.startswith(".parts/records/") for name in objects_of(out))
    with pytest.MonkeyPatch.context() as patch:
        if is_same_machine:
            patch.setattr(screen_run, "finish", None)  # What was written here is not written again.
        else:
            shutil.rmtree(work_folder(prepared, out))
        assert compute(prepared, out).n_computed == 0
    assert hashes(objects_of(out)) == quick
    assert not work_folder(prepared, out).exists()


def test_shards_of_another_machine_are_published_by_it_and_brought_by_the_driver(
    prepared: PreparedScreen,
    quick: Mapping[str, str],
    out: str,
    tmp_path: Path,
    fetches: list[str],
) -> None:
    with pytest.raises(Killed):
        compute(prepared, out, die_when(lambda done, note: True))
    elsewhere = tmp_path / "elsewhere"
    task = replace(prepared.task(work_folder(prepared, out), out), out=str(elsewhere))
    engine = ShardEngine(task, prepared.predictor)
    assert sorted(fetches) == [
        ".parts/conditions.parquet",
        *(f"profiles.zarr/{name}/zarr.json" for name in ("X", "layers/expression", "layers/sd")),
        "ranks.zarr/rank/zarr.json",
    ]
    for shard in (2, 0, 1):
        engine.run(shard)
    left = [path.name for path in elsewhere.rglob("*") if path.is_file()]
    assert sorted(left) == ["conditions.parquet", *["zarr.json"] * 4]
    assert compute(prepared, out).n_computed == 0
    assert hashes(objects_of(out)) == quick


def test_a_machine_that_computed_shards_for_another_can_go_on_as_the_driver(
    prepared: PreparedScreen, quick: Mapping[str, str], out: str
) -> None:
    with pytest.raises(Killed):
        compute(prepared, out, die_when(lambda done, note: True))
    shutil.rmtree(work_folder(prepared, out))
    ShardEngine(prepared.task(work_folder(prepared, out), out), prepared.predictor).run(1)
    assert compute(prepared, out).n_computed == PROFILES - 64
    assert hashes(objects_of(out)) == quick


def test_only_shards_that_are_not_as_recorded_in_the_bucket_are_computed_again(
    prepared: PreparedScreen, quick: Mapping[str, str], out: str
) -> None:
    with pytest.raises(Killed):
        compute(prepared, out, die_when(lambda done, note: done >= PROFILES))
    shutil.rmtree(work_folder(prepared, out))
    folder = ObjectFolder(out)
    folder.delete("profiles.zarr/X/c/0/0")
    folder.put(".parts/records/000002.json", b"half a rec")
    assert compute(prepared, out).n_computed == 64 + 16
    assert hashes(objects_of(out)) == quick


def test_a_shard_damaged_in_the_bucket_stops_the_screen_and_is_then_computed_again(
    prepared: PreparedScreen, quick: Mapping[str, str], out: str
) -> None:
    with pytest.raises(Killed):
        compute(prepared, out, die_when(lambda done, note: done >= PROFILES))
    shutil.rmtree(work_folder(prepared, out))
    folder = ObjectFolder(out)
    name = "ranks.zarr/rank/c/1/0"
    content = folder.get(name)
    folder.put(name, content[:-1] + bytes([content[-1] ^ 1]), folder.stated_checksum(name))
    with pytest.raises(CorruptStore, match=rf"{out}: shard 1 is missing or damaged .*same command again"):
        compute(prepared, out)
    assert compute(prepared, out).n_computed == 64
    assert hashes(objects_of(out)) == quick


def test_a_finished_file_damaged_before_its_upload_is_made_again_and_never_published(
    prepared: PreparedScreen, quick: Mapping[str, str], out: str
) -> None:
    with pytest.raises(Killed):
        compute(prepared, out, die_when(lambda done, note: note.startswith("uploading")))
    (work_folder(prepared, out) / "hits.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorruptStore, match=r"hits\.parquet is not as the manifest says"):
        compute(prepared, out)
    assert "manifest.json" not in objects_of(out)
    assert compute(prepared, out).n_computed == 0
    assert hashes(objects_of(out)) == quick


@pytest.mark.parametrize("server", ["small"], indirect=True)  # moto accepts every key
def test_a_bucket_that_goes_away_is_a_storage_error_and_loses_no_shard(
    prepared: PreparedScreen, quick: Mapping[str, str], out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ObjectFolder.put

    def refused(self: ObjectFolder, name: str, *rest: Any, **named: Any) -> None:
        if name.startswith("ranks.zarr/rank/c/1"):
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "expired")
            return put(ObjectFolder(self.location), name, *rest, **named)
        return put(self, name, *rest, **named)

    monkeypatch.setattr(ObjectFolder, "put", refused)
    with pytest.raises(StorageError, match="credentials are not accepted"):
        compute(prepared, out)
    monkeypatch.setattr(ObjectFolder, "put", put)
    with pytest.raises(StorageError, match="credentials are not accepted"):
        compute(prepared, out)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", places.object_server.ACCESS_KEY)
    # The shard that was computed here and could not be put is not computed again either.
    assert compute(prepared, out).n_computed == 16
    assert hashes(objects_of(out)) == quick


def test_a_finished_screen_in_a_bucket_is_left_as_it_is(
    prepared: PreparedScreen, quick: Mapping[str, str], out: str, uploads: list[str]
) -> None:
    first = compute(prepared, out)
    before = objects_of(out)
    uploads.clear()
    again = compute(prepared, out)
    assert again.n_computed == 0
    assert again.hits.equals(first.hits)
    assert objects_of(out) == before
    assert not uploads


def test_another_screen_or_anything_else_in_the_bucket_is_refused_and_left_intact(
    prepared: PreparedScreen, quick: Mapping[str, str], tiny_bundle: Path, bucket: str, out: str
) -> None:
    settings = prepared.plan.settings
    other = prepare_screen(
        ScreenRequest(kind="compounds", model=tiny_bundle, doses=(7.0,), settings=settings)
    )
    with pytest.raises(Killed):
        compute(prepared, out, die_when(lambda done, note: done >= 64))
    before = objects_of(out)
    with pytest.raises(ConfigError, match=f"{out} holds another screen"):
        compute(other, out)
    assert objects_of(out) == before
    compute(prepared, out)
    before = objects_of(out)
    with pytest.raises(ConfigError, match=f"{out} holds another screen"):
        compute(other, out)
    assert objects_of(out) == before
    ObjectFolder(bucket).put("theses/mine/thesis.txt", b"years of work")
    for place, said in (("theses", r"is not empty \(mine\)"), ("theses/mine/thesis.txt", "is an object")):
        with pytest.raises(ConfigError, match=f"{bucket}/{place} {said}"):
            compute(prepared, f"{bucket}/{place}")
    assert set(objects_of(f"{bucket}/theses")) == {"mine/thesis.txt"}


def test_two_processes_of_a_machine_cannot_compute_one_screen(
    prepared: PreparedScreen, quick: Mapping[str, str], out: str
) -> None:
    with pytest.raises(Killed):
        compute(prepared, out, die_when(lambda done, note: True))
    with workspace_of(out, prepared.plan).alone(), pytest.raises(ConfigError, match=f"{out} is being comp"):
        compute(prepared, out)


@pytest.mark.parametrize("has_same_bytes", [True, False])
def test_a_screen_that_another_machine_finished_meanwhile_is_accepted_if_it_has_the_same_files(
    prepared: PreparedScreen, quick: Mapping[str, str], out: str, has_same_bytes: bool
) -> None:
    def finish_elsewhere(done: int, total: int, note: str = "") -> None:
        if note.startswith("uploading"):
            manifest = json.loads((work_folder(prepared, out) / "manifest.json").read_text())
            if not has_same_bytes:
                manifest["files"]["hits.parquet"]["sha256"] = "0" * 64
            ObjectFolder(out).put("manifest.json", json.dumps(manifest).encode())

    if has_same_bytes:
        assert compute(prepared, out, finish_elsewhere).n_computed == PROFILES
        assert hashes(objects_of(out)) == quick
    else:
        with pytest.raises(CorruptStore, match="another process finished this screen meanwhile"):
            compute(prepared, out, finish_elsewhere)


def test_a_screen_in_a_bucket_is_read_and_searched_as_a_local_one(
    local: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FormatError, match=f"{out} holds no finished screen"):
        pertcast.load_screen(out)
    name = pl.read_parquet(local / "hits.parquet")["sig_id"][0]
    words = ["query", "--sig-id", name, "--json", "--screen"]
    assert command([*words, out]) == 1
    assert f"{out} holds no finished screen" in " ".join(capsys.readouterr().err.split())
    put_files(local, out)
    near, far = pertcast.load_screen(local), pertcast.load_screen(out)
    np.testing.assert_array_equal(near.X, far.X)
    assert near.obs.equals(far.obs)
    answers = []
    for place in (str(local), out):
        assert command([*words, place]) == 0
        answers.append(capsys.readouterr().out.replace(place, "PLACE"))
    assert answers[0] == answers[1]
    ObjectFolder(out).delete("profiles.zarr/X/c/1/0")
    with pytest.raises(CorruptStore, match=r"X/c/1/0: the file is missing"):
        pertcast.load_screen(out)
    with pytest.raises(CorruptStore, match=r"profiles\.zarr/X/c/1/0 is missing"):
        local_screen(out)


def test_a_screen_in_a_bucket_is_exported_and_enriched_but_its_report_is_not_made_anew(
    local: Path, out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_files(local, out)
    gmt = tmp_path / "sets.gmt"
    genes = pertcast.load_screen(local).var_names.to_list()
    gmt.write_text("\t".join(["first", "", *genes[:8]]) + "\n")
    for number, place in enumerate((str(local), out)):
        to = ["--to", "csv", "--out", str(tmp_path / f"{number}.csv")]
        assert command(["screen", "export", place, *to]) == 0
        enriched = ["--gmt", str(gmt), "--out", str(tmp_path / f"{number}.parquet")]
        assert command(["enrich", "--screen", place, *enriched]) == 0
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes()
    assert (tmp_path / "0.parquet").read_bytes() == (tmp_path / "1.parquet").read_bytes()
    capsys.readouterr()
    assert command(["report", out]) != 0
    assert "Copy its folder here first" in " ".join(capsys.readouterr().err.split())


def test_the_command_line_takes_and_prints_a_place_in_a_bucket(
    tiny_bundle: Path, local: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put_files(local, out)
    doses = ",".join(map(str, DOSES))
    words = ["screen", "compounds", "--model", str(tiny_bundle), "--doses", doses, "--shard-rows", "64"]
    words += ["--executor", "in-process", "--out"]
    assert command([*words, out]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1] == f"report {out}/report.html"
    assert command([*words, out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["out"], found["computed"]) == (out, 0)
    assert command([*words, "azure://lab/screen"]) == 1
    assert "'azure' is not supported" in " ".join(capsys.readouterr().err.split())
