"""The reference at /docs: every path is there, and what it shows can be sent and run as it stands."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import live_toys as live
import page_toys
import pytest
from fastapi import FastAPI
from pertcast_serve.access.keys import change_keys, new_key
from pertcast_serve.client import Client, ScreenHandle
from pertcast_serve.config import AccessSettings
from pertcast_serve.reference.document import TAGS, operations_of
from pertcast_serve.reference.fields import kind_of
from pertcast_serve.reference.page import anchor_of
from pydantic import BaseModel

Seen = page_toys.Seen

Call = Callable[..., httpx.Response]
SCHEMAS = ("predict", "analysis", "screens", "session", "inference")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> FastAPI:
    folder = tmp_path_factory.mktemp("reference")
    config = live.config_of(tiny_bundle, folder)
    # The examples' genes are those of the model: sets and a library that know them.
    sets = page_toys.write_sets(folder / "own.gmt")
    config = config.model_copy(update={"libraries": {}, "gene_sets": {"own": sets}})
    return live.whole_api(config, tiny_bundle, live.StillJobs())[0]


@pytest.fixture(scope="module")
def call(call_api: Any, api: FastAPI) -> Call:
    return call_api(api)


@pytest.fixture(scope="module")
def document(call: Call) -> dict[str, Any]:
    return call("GET", "/openapi.json").json()


@pytest.fixture(scope="module")
def html(call: Call) -> str:
    answer = call("GET", "/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def blocks(html: str, name: str) -> dict[str, str]:
    """Return what stands in the blocks of a kind: anchor of the operation -> text."""
    return {
        anchor: unescape(text)
        for anchor, text in re.findall(f'<pre {name}="([^"]+)">(.*?)</pre>', html, re.S)
    }


def body_models(document: dict[str, Any]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield (anchor, model of the body) of all operations that take one."""
    rooms = [importlib.import_module(f"pertcast_serve.schemas.{name}") for name in SCHEMAS]
    for path, method, operation in operations_of(document):
        if "requestBody" in operation:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            name = reference.rsplit("/", 1)[1]
            yield anchor_of(method, path), next(getattr(room, name) for room in rooms if hasattr(room, name))


def test_every_path_and_method_is_described_once_and_linked(html: str, document: dict[str, Any]) -> None:
    anchors = [anchor_of(method, path) for path, method, _ in operations_of(document)]
    assert len(anchors) == sum(len(methods) for methods in document["paths"].values()) > 30
    for anchor in anchors:
        assert html.count(f'<section class="card" id="{anchor}">') == 1
    assert set(blocks(html, "data-python")) == set(anchors)
    body = html.partition('id="post-v1-enrichment"')[2].partition("</section>")[0]
    for name in document["components"]["schemas"]["EnrichmentRequest"]["properties"]:
        assert f"<code>{name}</code>" in body
    assert 'href="#type-Condition"' in body
    for name in document["components"]["schemas"]:
        assert f'id="type-{name}"' in html


def test_links_lead_somewhere_and_nothing_comes_from_elsewhere(html: str) -> None:
    seen = Seen.of(html)
    ids = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {link["href"] for link in seen.attributes("a") if link["href"].startswith("#")}
    assert {target[1:] for target in targets} <= set(ids)
    assert all(re.match(r"/(ui|openapi\.json|docs)", address) for address in seen.addresses())


def test_each_example_body_is_accepted_by_its_own_model(html: str, document: dict[str, Any]) -> None:
    examples, models = blocks(html, "data-example"), dict(body_models(document))
    assert examples.keys() == models.keys()
    assert len(models) >= 9
    for anchor, model in models.items():
        model.model_validate_json(examples[anchor])


def test_examples_are_answered_by_the_server_that_shows_them(
    html: str, call: Call, document: dict[str, Any], client: Any
) -> None:
    examples = blocks(html, "data-example")
    del examples["post-v1-session"]
    for path, method, _ in operations_of(document):
        if (anchor := anchor_of(method, path)) in examples:
            filled = path.format(model="default", version=client.service.bundle[:12])
            answer = call("POST", filled, json=json.loads(examples[anchor]))
            assert answer.is_success, (path, answer.text)


def test_each_python_example_is_a_call_that_the_client_has(html: str) -> None:
    classes = {"client": Client, "screen": ScreenHandle}
    n_calls = 0
    for anchor, text in blocks(html, "data-python").items():
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            if owner in classes:
                method = getattr(classes[owner], node.func.attr)
                given = {word.arg: None for word in node.keywords}
                inspect.signature(method).bind(None, *node.args, **given)
                n_calls += 1
            else:
                assert owner in ("httpx",) or "state" in owner, (anchor, owner)
    assert n_calls > 20


def test_each_curl_example_is_one_command_to_its_path(html: str, document: dict[str, Any]) -> None:
    commands = [unescape(text) for text in re.findall(r"<pre>(curl .*?)</pre>", html, re.S)]
    operations = list(operations_of(document))
    assert len(commands) == len(operations)
    shown = set()
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "))
        (address,) = (word for word in words if word.startswith("http://127.0.0.1/"))
        shown.add(address.split("?")[0].removeprefix("http://127.0.0.1"))
        if "-d" in words:
            json.loads(words[words.index("-d") + 1])
    for path, _, _ in operations:
        pattern = re.sub(r"\{\w+\}", "[^/]+", path)
        assert any(re.fullmatch(pattern, each) for each in shown), path


def test_the_document_is_tidy(document: dict[str, Any]) -> None:
    operations = list(operations_of(document))
    identifiers = [operation["operationId"] for _, _, operation in operations]
    assert len(identifiers) == len(set(identifiers))
    assert {"post_predict", "get_screens_id_hits", "post_v2_models_model_infer"} <= set(identifiers)
    assert [tag["name"] for tag in document["tags"]] == list(TAGS)
    for path, _, operation in operations:
        assert operation["tags"][0] in TAGS
        assert len(operation["summary"].split()) > 2, path
        for status, answer in operation["responses"].items():
            if status >= "400" and not path.startswith("/v2"):
                (content,) = answer["content"].values()
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert "HTTPValidationError" not in document["components"]["schemas"]
    answers = document["paths"]["/v1/screens/{id}/events"]["get"]["responses"]
    assert list(answers["200"]["content"]) == ["text/event-stream"]
    for path in ("/v1/predict", "/v1/enrichment", "/v1/connectivity", "/v1/neighbors"):
        assert "text/csv" in document["paths"][path]["post"]["responses"]["200"]["content"]


def test_a_reader_without_a_key_is_sent_to_the_login_and_keys_are_explained(
    tmp_path: Path, tiny_bundle: Path, call_api: Any
) -> None:
    secret, key = new_key("Ada", ["predict"])
    change_keys(tmp_path / "keys.json", lambda before: (*before, key), may_create=True)
    config = live.config_of(tiny_bundle, tmp_path, access=AccessSettings(keys=tmp_path / "keys.json"))
    config = config.model_copy(update={"root_path": "/pertcast"})
    call = call_api(live.whole_api(config, tiny_bundle, live.StillJobs())[0])
    sent = call("GET", "/docs", headers={"Accept": "text/html"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/pertcast/ui/login?next=/pertcast/docs")
    html = call("GET", "/docs", headers={"Authorization": f"Bearer {secret}"}).text
    assert "pertcast key create" in html
    assert 'href="/pertcast/openapi.json"' in html
    assert "http://127.0.0.1/pertcast/v1/predict" in html
    assert secret not in html


def test_a_hostile_host_is_not_written_into_commands(call: Call) -> None:
    answer = call("GET", "/docs", headers={"Host": "127.0.0.1:80;rm -rf"})
    assert "rm -rf" not in answer.text


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "minLength": 1, "maxLength": 200}, "text, 1 to 200 letters"),
        ({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]}, "number, over 0 or null"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/A"}}, 'list of <a href="#type-A">A</a>'),
        ({"enum": ["a", "<b>"]}, "one of a, &lt;b&gt;"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "object: name to whole number"),
        ({"type": "integer", "minimum": 1, "maximum": 1000}, "whole number, 1 to 1,000"),
        ({}, "any value"),
    ],
)
def test_types_are_written_in_words(schema: dict[str, Any], words: str) -> None:
    assert str(kind_of(schema)) == words
