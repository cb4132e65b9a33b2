"""What the page lets one copy: Python that runs against the server and finds what is shown, curl alike."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import analysis_toys
import httpx
import live_toys as live
import pytest
from pertcast_serve.client import Client
from pertcast_serve.page.copied import ORIGIN, client_text, curl_text
from pertcast_serve.page.views.copies import connectivity_python, submit_python

CONDITION = {"pert": "drug-1", "type": "trt_cp", "cell": "HT29", "dose": "10", "time": "24"}
SCREEN = {"kind": "table", "title": 'it\'s "quoted" \\ ü', "rows": [live.CONDITION]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[Any]:
    config = live.config_of(tiny_bundle, tmp_path_factory.mktemp("copies"))
    jobs = live.screen_toys.JobsHere()
    with live.served(live.whole_api(config, tiny_bundle, jobs)[0]) as served:
        yield served


def shown(server: Any, view: str, **parameters: str) -> str:
    answer = httpx.get(f"{server.url}/ui/{view}?{urlencode(parameters)}")
    assert answer.status_code == 200, answer.text
    return answer.text


def copied(html: str, attribute: str = "data-copy") -> dict[str, str]:
    """Return what buttons copy: their words -> text."""
    found = re.findall(rf'<button[^>]* {attribute}="([^"]*)"[^>]*>([^<]*)<', html)
    return {words: unescape(text) for text, words in found}


def ran(server: Any, text: str) -> dict[str, Any]:
    """Run copied Python as a browser at this server would have copied it; return its names."""
    names: dict[str, Any] = {}
    exec(compile(text.replace(ORIGIN, server.url), "copied", "exec"), names)
    return names


def sent(server: Any, text: str) -> httpx.Response:
    """Send what a copied curl command says."""
    words = shlex.split(text.replace(ORIGIN, server.url))
    assert words[:2] == ["curl", "-s"]
    headers = dict(words[place + 1].split(": ", 1) for place, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1] if "-d" in words else None
    return httpx.request("GET" if body is None else "POST", words[2], content=body, headers=headers)


def test_a_copied_prediction_runs_and_is_that_of_the_command(server: Any) -> None:
    texts = copied(shown(server, "perturbation", **CONDITION))
    found = ran(server, texts["Copy as Python"])["found"]
    answer = sent(server, texts["Copy as curl"]).json()
    assert found.errors.is_empty()
    assert found.table["sig_id"].to_list() == [answer["items"][0]["sig_id"]]
    assert found.mean[0].tolist() == pytest.approx(answer["mean"], rel=1e-6)


def test_a_copied_search_runs_and_finds_the_rows_of_the_command(server: Any) -> None:
    sides = {name: " ".join(genes) for name, genes in analysis_toys.SETS.items()}
    texts = copied(shown(server, "part/signature/answer", **sides, library="first"))
    found = ran(server, texts["Copy as Python"])["found"]
    answer = sent(server, texts["Copy as curl"]).json()
    assert found.library == answer["library"] == "first"
    assert found.table["sig_id"].to_list() == [row["sig_id"] for row in answer["rows"]]


@pytest.mark.parametrize(
    "given",
    [
        {
            "signature": {"genes": ["G1", "G9", "G3", "G4", "G7"], "values": [1.5, -2.0, 1.0, 0.1, -1]},
            "score": "cosine",
        },
        {"stored": {"library": "first", "sig_id": "S20"}, "per_tail": 3, "by_perturbation": True},
    ],
)
def test_a_search_with_values_or_a_stored_profile_is_copied_as_one(
    server: Any, given: dict[str, Any]
) -> None:
    body = {"library": "first", "cell_iname": ["A549"], **given}
    found = ran(server, connectivity_python(body, is_open=True))["found"]
    answer = httpx.post(f"{server.url}/v1/connectivity", json=body).json()
    assert found.table["pert_id"].to_list() == [row["pert_id"] for row in answer["rows"]]


def test_a_copied_form_begins_the_screen_and_its_hits_are_copied_from_its_view(server: Any) -> None:
    texts = copied(shown(server, "screens/new"), "data-text")
    assert texts["Copy as Python"] == submit_python(is_open=True)
    body = json.dumps(SCREEN)
    screen = ran(server, texts["Copy as Python"].replace("{body}", json.dumps(body)))["screen"]
    assert screen.state().title == SCREEN["title"]
    again = sent(server, texts["Copy as curl"].replace("{body}", shlex.quote(body)))
    assert again.is_success and again.json()["title"] == SCREEN["title"]
    texts = copied(shown(server, "screens/one", id=screen.id))
    hits = ran(server, texts["Python"])["hits"]
    table = sent(server, texts["curl"]).text.splitlines()
    assert len(table) == hits.height + 1 == 2
    assert hits["sig_id"][0] in table[1]


def test_a_copied_model_is_the_one_that_is_shown(server: Any) -> None:
    answer = sent(server, copied(shown(server, "model"))["Copy as curl"])
    assert answer.json()["id"] == "default"


def test_a_key_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    text = client_text("", needs_key=True, origin="http://127.0.0.1:1")
    monkeypatch.delenv("PERTCAST_KEY", raising=False)
    with pytest.raises(KeyError, match="PERTCAST_KEY"):
        exec(text, {})
    monkeypatch.setenv("PERTCAST_KEY", "pc_1")
    names: dict[str, Any] = {}
    exec(text, names)
    assert isinstance(names["client"], Client)
    assert '-H "Authorization: Bearer $PERTCAST_KEY"' in curl_text("http://x", needs_key=True)


def test_addresses_and_bodies_survive_a_shell() -> None:
    body = {"title": "it's $(x) `y` \\"}
    words = shlex.split(curl_text(f"{ORIGIN}/v1/x?a=1&b=2", needs_key=False, body=body))
    assert words[2] == f"{ORIGIN}/v1/x?a=1&b=2"
    assert json.loads(words[-1]) == body
