"""A finished screen is a library for those who may see the screen, and for no one else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import analysis_toys as toys
import httpx
import pytest
from pertcast_serve.access.caller import Scope
from pertcast_serve.access.keys import change_keys, new_key
from pertcast_serve.analysis.service import AnalysisService
from pertcast_serve.api import make_api
from pertcast_serve.config import AccessSettings, ScreenSettings, ServeConfig
from pertcast_serve.page.pages import Pages
from pertcast_serve.screens.folder import ScreenRecord
from pertcast_serve.screens.identifiers import new_identifier
from pertcast_serve.services import Services

Call = Callable[..., httpx.Response]
QUESTION = {"score": "cosine", **toys.SETS}


def record_of(identifier: str, caller_id: str) -> ScreenRecord:
    """Return what a screen's folder holds of who asked for it."""
    words = dict.fromkeys(("title", "kind", "model", "bundle", "submitted_at", "request_hash"), "x")
    return ScreenRecord(
        id=identifier, caller_id=caller_id, caller_name="x", request={}, argv=[], words={}, **words
    )


class Lab:
    """A server with one screen each of Ann and of Bea, Bea's the newer one, and one that nobody asked for."""

    def __init__(
        self, folder: Path, bundle: Path, client: Any, libraries: dict[str, Path], call_api: Any
    ) -> None:
        scopes: dict[str, tuple[Scope, ...]] = {
            **dict.fromkeys(("ann", "bea", "eve"), ("predict",)),
            "root": ("predict", "admin"),
        }
        made = {name: new_key(name, each) for name, each in scopes.items()}
        change_keys(folder / "keys.json", lambda _: tuple(key for _, key in made.values()), may_create=True)
        self.keys = {name: text for name, (text, _) in made.items()}
        self.screens = {name: new_identifier() for name in ("ann", "bea", "nobody")}
        for age, (name, identifier) in enumerate(self.screens.items()):
            place = toys.write_screen(folder / "screens" / identifier / "screen", toys.profiles())
            os.utime(place / "manifest.json", (1e9 + age, 1e9 + age))
            if name in made:
                text = record_of(identifier, made[name][1].id).model_dump_json()
                (place.parent / "request.json").write_text(text)
        config = ServeConfig(
            models={"default": bundle},
            libraries=libraries,
            screens=ScreenSettings(folder=folder / "screens"),
            access=AccessSettings(keys=folder / "keys.json"),
        )
        analysis = AnalysisService(config, client)
        page = Pages(client, analysis, None, config)
        services = Services(client, analysis, None, page)  # type: ignore[arg-type]
        self._call: Call = call_api(make_api(services, config))

    def ask(self, name: str, path: str, **body: Any) -> httpx.Response:
        """Ask as someone."""
        headers = {"authorization": f"Bearer {self.keys[name]}"}
        method = "POST" if body else "GET"
        return self._call(method, path, headers=headers, **({"json": body} if body else {}))

    def listed(self, name: str) -> list[str]:
        """Return the names of the libraries that someone sees."""
        return [each["name"] for each in self.ask(name, "/v1/libraries").json()]


@pytest.fixture
def lab(tmp_path: Path, tiny_bundle: Path, client: Any, call_api: Any) -> Lab:
    return Lab(tmp_path, tiny_bundle, client, {}, call_api)


def test_libraries_lists_the_callers_own_screens_and_all_to_administrators(lab: Lab) -> None:
    for _ in range(2):
        # What one was told is not remembered for another.
        assert lab.listed("ann") == [lab.screens["ann"]]
        assert lab.listed("bea") == [lab.screens["bea"]]
        assert lab.listed("eve") == ["trained"]
        assert sorted(lab.listed("root")) == sorted(lab.screens.values())


def test_a_question_about_anothers_screen_is_answered_as_if_there_were_none(lab: Lab) -> None:
    of_bea, of_ann = lab.screens["bea"], lab.screens["ann"]
    assert lab.ask("bea", "/v1/connectivity", library=of_bea, **QUESTION).json()["library"] == of_bea
    stored = {"library": of_bea, "sig_id": "S20"}
    for path, body in (
        ("/v1/connectivity", {"library": of_bea, **QUESTION}),
        ("/v1/connectivity", {"library": of_ann, "stored": stored, "score": "cosine"}),
        ("/v1/neighbors", {"condition": toys.CONDITION, "library": of_bea}),
        ("/v1/neighbors", {"stored": stored}),
        ("/v1/enrichment", {"stored": stored, "sets": {"A": toys.SETS["up"]}, "min_size": 1}),
    ):
        answer = lab.ask("ann", path, **body)
        assert answer.status_code == 404, (path, body, answer.text)
        assert f"no library {of_bea!r}" in answer.json()["detail"]
    # Nor does a near name tell that it exists.
    near = lab.ask("ann", "/v1/connectivity", library=f"{of_bea[:-1]}~", **QUESTION)
    assert near.status_code == 404 and of_bea not in near.text
    unowned = lab.ask("ann", "/v1/connectivity", library=lab.screens["nobody"], **QUESTION)
    assert unowned.status_code == 404


def test_a_question_that_names_no_library_searches_none_of_anothers(lab: Lab) -> None:
    assert lab.ask("ann", "/v1/connectivity", **QUESTION).json()["library"] == lab.screens["ann"]
    assert lab.ask("eve", "/v1/neighbors", condition=toys.CONDITION).json()["library"] == "trained"


def test_the_page_shows_libraries_as_the_interface_does(lab: Lab) -> None:
    html = {name: lab.ask(name, "/ui/signature").text for name in ("ann", "bea", "eve")}
    assert lab.screens["ann"] in html["ann"] and lab.screens["bea"] in html["bea"]
    assert lab.screens["bea"] not in html["ann"] + html["eve"]
    neighbors = f"/ui/part/perturbation/neighbors?library={lab.screens['bea']}"
    assert "There is no library" in lab.ask("ann", neighbors).text
    assert "trained" in lab.ask("eve", "/ui/part/perturbation/neighbors").text
    stored = f"/ui/part/signature/answer?sig=S20&of={lab.screens['bea']}&score=cosine&library="
    assert "S20" in lab.ask("bea", stored + lab.screens["bea"]).text
    refused = lab.ask("ann", stored + lab.screens["ann"])
    assert "There is no library" in refused.text


def test_a_screen_that_the_settings_name_as_a_library_is_everyones(
    tmp_path: Path, tiny_bundle: Path, client: Any, call_api: Any
) -> None:
    shared = toys.write_screen(tmp_path / "shared", toys.profiles())
    lab = Lab(tmp_path, tiny_bundle, client, {"shared": shared}, call_api)
    assert lab.listed("eve") == ["shared"]
    assert lab.listed("ann") == ["shared", lab.screens["ann"]]
