"""Libraries by name: found on disk, read once, again when they change; names never become paths."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import analysis_toys as toys
import anyio
import httpx
import numpy as np
import polars as pl
import pytest
from fastapi import FastAPI
from pertcast_data.store.zarr_layout import (
    write_dense_shard,
)
from pertcast_serve.analysis import shelf
from pertcast_serve.analysis.held import in_memory
from pertcast_serve.analysis.service import AnalysisService
from pertcast_serve.config import ScreenSettings, ServeConfig
from pertcast_serve.schemas.base import Problem
from pertcast_serve.services import StoredProfiles

N = toys.N
G = toys.G
PLANTED = toys.PLANTED
SETS = toys.SETS
profiles = toys.profiles
table = toys.table
write_screen = toys.write_screen
asked = toys.asked
refused = toys.refused
folder, call, bare = toys.folder, toys.call, toys.bare
called_with = toys.called_with

Call = Callable[..., httpx.Response]


def test_libraries_are_what_is_configured_by_what_the_folders_hold(call: Call) -> None:
    found = call("GET", "/v1/libraries").json()
    assert [(each["name"], each["kind"], each["model"]) for each in found] == [
        ("first", "predicted", "mlp"),
        ("l1000", "measured", None),
    ]
    assert found[0]["n_profiles"] == N and found[0]["n_genes"] == G
    assert found[1]["cell_lines"] == ["A549", "MCF7"] and found[1]["pert_types"] == ["trt_cp"]
    assert call("GET", "/v1/gene_sets").json()[0]["terms"][:3] == ["UP", "DOWN", "TINY"]


def test_names_never_become_paths(call: Call, folder: Path) -> None:
    for name in (f"{folder / 'screen'}", "../screen", "first/../l1000", "first\x00", ".", "ﬁrst"):
        refused(call, "connectivity", 404, library=name, **SETS)
        refused(call, "enrichment", 404, stored={"library": name, "sig_id": "S1"})
        stored = {"library": "first", "sig_id": "S1"}
        refused(call, "enrichment", 404, stored=stored, gene_sets=name)
        refused(call, "neighbors", 404, stored={"library": "first", "sig_id": name})


@pytest.mark.parametrize("subject", ["enrichment", "neighbors", "connectivity"])
def test_rows_come_as_tables_too(call: Call, subject: str) -> None:
    body = {"stored": {"library": "first", "sig_id": f"S{PLANTED}"}}
    rows = asked(call, subject, **body)["rows"]
    for media_type, read in (
        ("text/csv", pl.read_csv),
        ("application/vnd.apache.parquet", pl.read_parquet),
        ("application/vnd.apache.arrow.stream", pl.read_ipc_stream),
    ):
        answer = call("POST", f"/v1/{subject}", json=body, headers={"accept": media_type})
        assert answer.headers["content-type"].startswith(media_type)
        found = read(io.BytesIO(answer.content))
        assert found.height == len(rows) and found.columns == list(rows[0])
        name = "term" if subject == "enrichment" else "sig_id"
        assert found[name].to_list() == [row[name] for row in rows]
    assert call("POST", f"/v1/{subject}", json=body, headers={"accept": "image/png"}).status_code == 406


def test_finished_screens_are_libraries_the_newest_first_and_unfinished_ones_are_not(
    call_api: Callable[[FastAPI], Call], tiny_bundle: Path, client: Any, tmp_path: Path
) -> None:
    settings = ScreenSettings(folder=tmp_path / "screens")
    config = ServeConfig(models={"default": tiny_bundle}, screens=settings)
    call = called_with(call_api, config, client)
    assert [each["name"] for each in call("GET", "/v1/libraries").json()] == ["trained"]
    for age, name in enumerate(("old", "new", "unfinished")):
        place = write_screen(tmp_path / "screens" / name / "screen", profiles())
        os.utime(place / "manifest.json", (1e9 + age, 1e9 + age))
    (tmp_path / "screens" / "unfinished" / "screen" / "manifest.json").unlink()
    (tmp_path / "screens" / "stray.txt").write_text("")
    assert [each["name"] for each in call("GET", "/v1/libraries").json()] == ["new", "old"]
    assert asked(call, "connectivity", score="cosine", **SETS)["library"] == "new"
    assert "Nearest known: old" in refused(call, "connectivity", 404, library="odl", **SETS)["detail"]


def test_a_library_is_read_once_and_again_only_when_its_manifest_changes(
    call_api: Callable[[FastAPI], Call],
    tiny_bundle: Path,
    client: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = write_screen(tmp_path / "s", profiles())
    config = ServeConfig(models={"default": tiny_bundle}, libraries={"s": place})
    call = called_with(call_api, config, client)
    reads = []

    def counting(*given: Any) -> Any:
        reads.append(1)
        return in_memory(*given)

    monkeypatch.setattr(shelf, "in_memory", counting)
    body = {"score": "cosine", **SETS}
    first = asked(call, "connectivity", **body)
    assert asked(call, "connectivity", **body) == first and len(reads) == 1
    write_dense_shard(place / "profiles.zarr", 0, -profiles()[:64].astype(np.float16))
    os.utime(place / "manifest.json", (2e9, 2e9))
    changed = asked(call, "connectivity", **body)
    assert len(reads) == 2 and first["rows"][0]["sig_id"] != changed["rows"][0]["sig_id"]


@pytest.mark.parametrize("most_bytes", [N * G * 4, 0])
def test_a_library_that_does_not_fit_gives_the_same_answer(
    call: Call,
    call_api: Callable[[FastAPI], Call],
    folder: Path,
    tiny_bundle: Path,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    most_bytes: int,
) -> None:
    monkeypatch.setattr(shelf, "HELD_BYTES", most_bytes)
    other = called_with(call_api, toys.config_of(folder, tiny_bundle), client)
    for library, score in (("first", "wtcs"), ("l1000", "cosine")):
        body = {"library": library, "score": score, **SETS}
        assert asked(other, "connectivity", **body) == asked(call, "connectivity", **body)


def test_stored_profiles_come_in_the_order_that_was_asked_for(
    folder: Path, tiny_bundle: Path, client: Any
) -> None:
    service = AnalysisService(toys.config_of(folder, tiny_bundle), client)
    asked_for = ["S100", "S3", "S100", "S7"]
    for library in ("first", "l1000"):
        found = anyio.run(service.stored_profiles, library, asked_for)
        assert isinstance(found, StoredProfiles) and found.genes == tuple(toys.GENES)
        np.testing.assert_array_equal(found.values, profiles()[[100, 3, 100, 7]])
    for library, names in (("first", ["S3", "S999"]), ("frist", ["S3"])):
        problem = anyio.run(service.stored_profiles, library, names)
        assert isinstance(problem, Problem) and problem.status == 404 and "Nearest known" in problem.detail
    for names in ([], ["S1"] * 1001):
        problem = anyio.run(service.stored_profiles, "first", names)
        assert isinstance(problem, Problem) and "Ask for 1 to 1,000" in problem.detail


def test_a_damaged_library_is_refused_without_telling_where_it_lies(
    call_api: Callable[[FastAPI], Call], tiny_bundle: Path, client: Any, tmp_path: Path
) -> None:
    place = write_screen(tmp_path / "s", profiles())
    (place / "sig_info.parquet").write_bytes(b"no table")
    libraries = {"s": place, "gone": tmp_path / "gone"}
    config = ServeConfig(models={"default": tiny_bundle}, libraries=libraries)
    call = called_with(call_api, config, client)
    assert call("GET", "/v1/libraries").json() == []
    for name in libraries:
        problem = refused(call, "connectivity", library=name, **SETS)
        assert f"{tmp_path}" not in json.dumps(problem) and "/v1/libraries" in problem["detail"]
