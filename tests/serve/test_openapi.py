"""Hostile requests to every documented path: a documented 4xx with a remedy, quickly, and never a failure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import httpx
import live_toys as live
import pytest
from fastapi import FastAPI
from pertcast_serve.reference.document import operations_of
from pertcast_serve.reference.examples import ExampleNames, example_body
from pertcast_serve.schemas.base import Problem

JSON = {"content-type": "application/json"}
NAMES = ExampleNames(
    cell_iname="HT29",
    pert_id="drug-1",
    pert_type="trt_cp",
    pert_dose=10.0,
    genes=tuple(f"GENE{number}" for number in range(20)),
)
SEGMENTS = [
    "..",
    "%2e%2e",
    "..%2f..%2fetc%2fpasswd",
    "..%5c..%5cx",
    "%2fetc%2fpasswd",
    "%00",
    "a%00b",
    "a%0d%0aX-Evil:%201",
    "%ff%fe",
    "%25",
    "%",
    "%zz",
    "'%22%3E%3Cscript%3E",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "default@",
    "@",
    "a" * 5_000,
    "%f0%9d%94%9b" * 60,
    "-1",
    "0",
    "null",
    "%20",
    "*",
    "~",
    ".",
    "manifest.json",
    "profiles.zarr%2f..%2f..%2frequest.json",
]
VALUES: dict[str, Any] = {
    "nothing": None,
    "true": True,
    "a number": 1e308,
    "an infinity": float("inf"),
    "not a number": float("nan"),
    "a huge number": 10**400,
    "a negative number": -1,
    "an empty text": "",
    "a long text": "x" * 100_000,
    "half a character": "\ud800",
    "a zero byte": "\x00",
    "a line end": "a\r\nb",
    "a path": "../../etc/passwd",
    "an object": {"a": 1},
    "a list": [1, "a", None],
    "a long list": ["x"] * 40_000,
    "a deep list": json.loads("[" * 60 + "]" * 60),
    "an unknown name": "NO_SUCH_NAME",
}
BODIES = {
    "nothing": b"",
    "a word": b"null",
    "half of it": b'{"a": ',
    "no UTF-8": b'{"a": "\xc3\x28"}',
    "another coding": '{"model": "default"}'.encode("utf-16"),
    "deep": b"[" * 50_000,
    "deep and closed": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "many keys": json.dumps({f"k{number}": number for number in range(20_000)}).encode(),
    "a key twice": b'{"kind": "genes", "kind": 1, "conditions": [], "conditions": 1}',
    "a constructor": b'{"__proto__": {"a": 1}, "__class__": "x"}',
    "a form": b"conditions=1&kind=genes",
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> FastAPI:
    folder = tmp_path_factory.mktemp("openapi")
    config = live.config_of(tiny_bundle, folder).model_copy(update={"libraries": {}})
    return live.whole_api(config, tiny_bundle, live.StillJobs())[0]


@pytest.fixture(scope="module")
def document(api: FastAPI) -> dict[str, Any]:
    return api.openapi()


Requests = Iterator[tuple[str, str, dict[str, Any]]]


def send_all(api: FastAPI, requests: Requests) -> list[tuple[str, str, httpx.Response]]:
    """Send requests one after the other, without a socket; a failure of ours is an answer of 500."""
    answers = []

    async def run() -> None:
        transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=30) as client:
            for method, path, options in requests:
                request = client.build_request(method, "/", **options)
                # As it stands: httpx would take dots out of a path, and mend what is no encoding.
                request.url = RawUrl(path)
                answers.append((method, path[:200], await client.send(request)))

    anyio.run(run)
    return answers


class RawUrl(httpx.URL):
    """An address of the test's server whose path is sent as it is written."""

    def __init__(self, target: str) -> None:
        super().__init__("http://127.0.0.1/")
        self._target = target.encode()

    @property
    def raw_path(self) -> bytes:
        return self._target

    @property
    def path(self) -> str:
        return unquote(self._target.decode().split("?")[0])

    @property
    def query(self) -> bytes:
        return self._target.partition(b"?")[2]


def described(document: Mapping[str, Any], path: str, method: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][path][method.lower()]["responses"]
    return found


def require_remedy(answer: httpx.Response, responses: Mapping[str, Any] | None = None) -> None:
    """Fail where an answer is no documented refusal that says what to do."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    assert len(answer.content) < 60_000
    if responses is not None:
        assert str(answer.status_code) in responses, (answer.status_code, sorted(responses))
    if answer.headers["content-type"] == "application/json":
        assert len(answer.json()["error"]) > 10
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = Problem.model_validate_json(answer.content)
        assert problem.status == answer.status_code
        assert len(problem.detail) > 10


def filled(path: str, segment: str) -> str:
    """Return a path with every parameter replaced by a segment, as it stands."""
    return re.sub(r"\{\w+\}", lambda _: segment, path)


def test_no_segment_of_a_path_leads_anywhere_else(api: FastAPI, document: dict[str, Any]) -> None:
    def requests() -> Requests:
        for path, method, _ in operations_of(document):
            if "{" in path:
                body = example_body(path, NAMES)
                for segment in SEGMENTS:
                    yield method.upper(), filled(path, segment), {} if body is None else {"json": body}

    answers = send_all(api, requests())
    assert len(answers) > 400
    for method, path, answer in answers:
        if method == "HEAD":
            assert 400 <= answer.status_code < 500, path
            continue
        # Dots that a segment is made of lead to the path above, as in every server.
        if answer.is_success:
            assert path.rsplit("/", 1)[1] in (".", "..", "%2e%2e"), (path, answer.text[:200])
        else:
            require_remedy(answer)
        assert "root:" not in answer.text
        assert "x-evil" not in answer.headers


def test_no_value_of_a_field_fails_the_server(api: FastAPI, document: dict[str, Any]) -> None:
    def requests() -> Requests:
        for path, _, operation in operations_of(document):
            if "requestBody" not in operation:
                continue
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            fields = document["components"]["schemas"][reference.rsplit("/", 1)[1]]["properties"]
            example = example_body(path, NAMES)
            assert example is not None
            target = path.format(model="default", version="1")
            for name in (*fields, "no_such_field"):
                for value in VALUES.values():
                    text = json.dumps({**example, name: value})
                    yield "POST", target, {"content": text.encode(), "headers": JSON}

    answers = send_all(api, requests())
    assert len(answers) > 1000
    refused = 0
    for _, path, answer in answers:
        if not answer.is_success:
            template = path.replace("/models/default", "/models/{model}").replace(
                "/versions/1/", "/versions/{version}/"
            )
            require_remedy(answer, described(document, template, "POST"))
            refused += 1
    assert refused > 800


@pytest.mark.parametrize("name", BODIES)
def test_no_body_fails_the_server(api: FastAPI, document: dict[str, Any], name: str) -> None:
    def requests() -> Requests:
        for path, _, operation in operations_of(document):
            if "requestBody" in operation:
                target = path.format(model="default", version="1")
                for media_type in (
                    "application/json",
                    "text/plain",
                    "application/x-www-form-urlencoded",
                    "a",
                    "",
                ):
                    yield "POST", target, {"content": BODIES[name], "headers": {"content-type": media_type}}

    for _, path, answer in send_all(api, requests()):
        template = path.replace("/models/default", "/models/{model}").replace(
            "/versions/1/", "/versions/{version}/"
        )
        require_remedy(answer, described(document, template, "POST"))


QUERIES = [
    "limit=0",
    "limit=-1",
    "limit=1e3",
    "limit=99999999999999999999",
    "limit=1&limit=2&limit=x",
    "offset=-1",
    "offset=9999999999999",
    "q=" + "x" * 100_000,
    "q=%ff%fe&limit=5",
    "q[]=1&q={a}",
    "q=a%0d%0aSet-Cookie:x",
    "model=..%2f..%2fetc",
    "model=" + "m" * 300,
    "sort=rank;drop",
    "sort=__class__&descending=maybe",
    "max_fdr=nan",
    "max_fdr=2",
    "&&&=&=&",
    "%",
    "a" * 60_000 + "=1",
]


def test_no_query_fails_the_server(api: FastAPI, document: dict[str, Any]) -> None:
    gets = [path for path, method, _ in operations_of(document) if method == "get" and path != "/metrics"]

    def requests() -> Requests:
        for path in gets:
            for query in QUERIES:
                yield "GET", f"{filled(path, 'default')}?{query}", {}

    for _, path, answer in send_all(api, requests()):
        if not answer.is_success:
            require_remedy(answer)
        assert "set-cookie" not in answer.headers, path


def test_every_other_method_is_refused_with_those_that_there_are(
    api: FastAPI, document: dict[str, Any]
) -> None:
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW")

    def requests() -> Requests:
        for path, known in document["paths"].items():
            for method in methods:
                if method.lower() not in known:
                    yield method, filled(path, "x"), {}

    for method, path, answer in send_all(api, requests()):
        assert answer.status_code in (404, 405), (method, path, answer.status_code)
        if answer.status_code == 405:
            assert answer.headers["allow"]
        if method != "HEAD":
            require_remedy(answer)


HEADERS: list[dict[str, str]] = [
    {"accept": "image/png"},
    {"accept": ";;;,,q=1"},
    {"accept": "*/*;q=nan"},
    {"accept": "application/json;q=-1"},
    {"accept": "a" * 50_000},
    {"accept-encoding": "gzip;q=x, br, *"},
    {"content-encoding": "gzip"},
    {"x-request-id": "a b" * 1000},
    {"x-forwarded-for": "1.2.3.4, ::1, x" * 100},
    {"x-forwarded-proto": "javascript:"},
    {"authorization": "Bearer"},
    {"authorization": "Basic " + "A" * 10_000},
    {"cookie": "pertcast_key=\x7f; a; =b;" * 50},
    {"range": "bytes=0-0,5-9999999999999999999999"},
    {"if-none-match": '"' * 1000},
    {"idempotency-key": "k" * 256},
    {"last-event-id": "l" * 101},
    {"expect": "100-continue"},
    {"transfer-encoding": "chunked", "content-length": "5"},
    {"content-length": "-5"},
    {"content-length": "99999999999999999999"},
]


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: "+".join(headers)[:40])
def test_no_header_fails_the_server(api: FastAPI, document: dict[str, Any], headers: dict[str, str]) -> None:
    def requests() -> Requests:
        for path, method, operation in operations_of(document):
            target = path.format(id="default", sig_id="s", name="n", model="default", version="1")
            options: dict[str, Any] = {"headers": headers}
            if "requestBody" in operation and path != "/v1/screens":
                options = {
                    "content": json.dumps(example_body(path, NAMES)).encode(),
                    "headers": JSON | headers,
                }
            yield method.upper(), target, options

    for method, path, answer in send_all(api, requests()):
        assert answer.status_code < 500, (path, answer.text[:300])
        if not answer.is_success and method != "HEAD":
            require_remedy(answer)
        assert len(answer.headers["x-request-id"]) < 130
