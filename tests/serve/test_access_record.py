"""What every answer carries and leaves behind: ids, constant headers, audit lines, compression."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from pertcast.errors import ConfigError
from pertcast_serve.access.audit import AuditLog
from pertcast_serve.access.install import install_access, require_usable
from pertcast_serve.access.keys import DamagedKeys, change_keys, new_key
from pertcast_serve.access.record import Record
from pertcast_serve.config import AccessSettings, ServeConfig
from pertcast_serve.endpoints import predict
from pertcast_serve.negotiation import ARROW, PARQUET
from pertcast_serve.problems import install_handlers
from pertcast_serve.schemas.predict import PredictRequest
from pertcast_serve.services import Services

Call = Callable[..., httpx.Response]
CONDITION = {"cell_iname": "A375", "pert_id": "drug-1"}
LARGE = b"0.125," * 1000
ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class OneAnswer:
    """A predictor with one answer to all."""

    async def predict(self, request: PredictRequest, media_type: str) -> bytes:
        return b"[" + LARGE + b"0]"


async def events() -> AsyncIterator[bytes]:
    for number in range(3):
        yield f"data: {number} {'x' * 2000}\n\n".encode()


def guarded(access: dict[str, Any]) -> FastAPI:
    config = ServeConfig.model_validate({"models": {"default": "bundle"}, "access": access})
    api = FastAPI()
    services = Services(predictor=OneAnswer(), analysis=None, screens=None, page=None)  # type: ignore[arg-type]
    predict.add_routes(api, services, config)
    install_handlers(api)

    async def fails() -> None:
        raise RuntimeError("insides")

    async def table(kind: str) -> Response:
        return Response(LARGE, media_type={"arrow": ARROW, "parquet": PARQUET, "csv": "text/csv"}[kind])

    async def html() -> Response:
        return HTMLResponse("<p>x</p>")

    async def stream() -> Response:
        return StreamingResponse(events(), media_type="text/event-stream")

    async def long(request: Request, name: str) -> Response:
        request.scope["audit"]["rows"] = 7
        return Response(LARGE, media_type="text/csv")

    api.get("/fails")(fails)
    api.get("/table/{kind}")(table)
    api.get("/v1/screens/{id}/artifacts/report.html")(html)
    api.get("/v1/screens/{id}/artifacts/hits.csv", name="file")(
        lambda: Response(LARGE, media_type="text/csv")
    )
    api.get("/ui/page")(html)
    api.get("/events")(stream)
    api.get("/long/{name}")(long)
    install_access(api, config)
    return api


def caller(api: FastAPI) -> Call:
    def call(method: str, path: str, **options: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(api, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, **options)

        return anyio.run(once)

    return call


@pytest.fixture(scope="module")
def call() -> Call:
    return caller(guarded({}))


def lines_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


EVERY_KIND = {
    200: ("GET", "/ui/page", {}),
    404: ("GET", "/nothing", {}),
    405: ("DELETE", "/fails", {}),
    403: ("GET", "/ui/page", {"headers": {"host": "evil.example"}}),
    422: ("POST", "/v1/predict", {"json": {}}),
    406: ("POST", "/v1/predict", {"json": {"conditions": [CONDITION]}, "headers": {"accept": "image/png"}}),
    413: ("POST", "/v1/predict", {"content": b" " * (5 << 20)}),
    500: ("GET", "/fails", {}),
}


@pytest.mark.parametrize("status", EVERY_KIND)
def test_every_answer_carries_its_id_and_the_constant_headers(call: Call, status: int) -> None:
    method, path, options = EVERY_KIND[status]
    answer = call(method, path, **options)
    assert answer.status_code == status
    assert ID.fullmatch(answer.headers["x-request-id"])
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert ("content-security-policy" in answer.headers) == path.startswith("/ui")
    assert "insides" not in answer.text


def test_the_page_loads_nothing_from_elsewhere_and_a_report_may_not_act_for_its_reader(call: Call) -> None:
    assert call("GET", "/ui/page").headers["content-security-policy"] == (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    )
    report = call("GET", "/v1/screens/1/artifacts/report.html").headers["content-security-policy"]
    assert report.startswith("sandbox ")
    assert "allow-same-origin" not in report


def test_a_plain_id_is_kept_and_any_other_replaced(call: Call) -> None:
    for plain in ("a", "run-7.2_B", "x" * 128):
        assert call("GET", "/nothing", headers={"x-request-id": plain}).headers["x-request-id"] == plain
    for odd in ("x" * 129, "a b", "a;b", "é".encode(), "", "<script>"):
        given = call("GET", "/nothing", headers={"x-request-id": odd}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", given)
    assert len({call("GET", "/nothing").headers["x-request-id"] for _ in range(20)}) == 20


def test_behind_ray_serve_which_adds_the_requests_own_id_it_does_not_stand_there_twice() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    record = Record(app, None, is_behind_serve=True)

    async def headers_of(brought: bytes) -> list[bytes]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"x-request-id", brought)]}
        await record(scope, None, send)  # type: ignore[arg-type]
        return [value for name, value in sent[0]["headers"] if name == b"x-request-id"]

    assert asyncio.run(headers_of(b"plain-1")) == []
    assert len(asyncio.run(headers_of(b"not plain"))) == 1


def test_every_call_leaves_one_line_without_its_key_and_its_body(tmp_path: Path) -> None:
    keys, audit = tmp_path / "keys.json", tmp_path / "audit.jsonl"
    key, record = new_key("Ada", ["predict"])
    change_keys(keys, lambda before: (*before, record), may_create=True)
    call = caller(guarded({"keys": keys, "audit": audit}))
    headers = {"authorization": f"Bearer {key}", "x-request-id": "mine"}
    body = {"conditions": [CONDITION] * 3}
    answer = call("POST", "/v1/predict?secret=1", json=body, headers=headers)
    assert answer.status_code == 200
    call("GET", "/long/" + "n" * 5000, headers=headers)
    call("GET", "/fails", headers={"x-api-key": key})
    call("GET", "/nothing?key=" + key)
    call("GET", "/%0d%0ax%e2%80%a8%ff", headers=headers)
    lines = lines_of(audit)
    assert len(lines) == 5
    assert lines[0].pop("seconds") > 0
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]+\+00:00", lines[0].pop("time"))
    assert lines[0] == {
        "request_id": "mine",
        "key": record.id,
        "caller": "Ada",
        "method": "POST",
        "route": "/v1/predict",
        "path": "/v1/predict",
        "model": "default",
        "rows": 3,
        "status": 200,
        "bytes": int(answer.headers["content-length"]),
    }
    assert (lines[1]["route"], lines[1]["rows"], len(lines[1]["path"])) == ("/long/{name}", 7, 500)
    assert (lines[2]["route"], lines[2]["status"]) == ("/fails", 500)
    assert (lines[3]["status"], lines[3]["key"], lines[3]["route"]) == (401, "anonymous", "unmatched")
    text = audit.read_text()
    for hidden in (key, key.split("_")[2], "A375", "secret=1"):
        assert hidden not in text


def test_lines_of_many_processes_and_calls_stay_whole_and_a_renamed_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    logs = [AuditLog(path) for _ in range(4)]

    def fill(number: int) -> None:
        async def many() -> None:
            await asyncio.gather(*(logs[number].write({"n": number, "x": "y" * 400}) for _ in range(50)))

        asyncio.run(many())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(4)))
    assert sorted(line["n"] for line in lines_of(path)) == [n for n in range(4) for _ in range(50)]
    old = path.rename(tmp_path / "audit.1")
    fill(0)
    assert (len(lines_of(old)), len(lines_of(path))) == (200, 50)
    for log in logs:
        log.close()


def test_an_unwritable_audit_file_or_damaged_keys_stop_the_start(tmp_path: Path) -> None:
    for audit in (tmp_path, tmp_path / "none" / "audit.jsonl"):
        for start in (
            lambda audit=audit: guarded({"audit": audit}),
            lambda audit=audit: require_usable(AccessSettings(audit=audit)),
        ):
            with pytest.raises(ConfigError, match=r"audit log cannot be written.*Choose a file"):
                start()
    with pytest.raises(DamagedKeys):
        require_usable(AccessSettings(keys=tmp_path / "none.json"))
    require_usable(AccessSettings(audit=tmp_path / "audit.jsonl"))


def test_a_full_disk_loses_the_line_and_not_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    api = guarded({"audit": Path("/dev/full")})
    assert caller(api)("GET", "/ui/page").status_code == 200
    assert any("an audit line was lost" in line for line in caplog.messages)


def raw(api_call: Call, path: str, accept: str = "gzip", **options: Any) -> httpx.Response:
    return api_call("GET", path, headers={"accept-encoding": accept}, **options)


def test_large_answers_are_compressed_for_those_who_accept_it(call: Call) -> None:
    answer = raw(call, "/table/csv")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == LARGE
    assert int(answer.headers["content-length"]) < len(LARGE) / 4
    assert "accept-encoding" in answer.headers["vary"].lower()
    assert "content-encoding" not in raw(call, "/table/csv", "identity").headers
    assert "content-encoding" not in raw(call, "/ui/page").headers
    posted = call(
        "POST", "/v1/predict", json={"conditions": [CONDITION]}, headers={"accept-encoding": "gzip"}
    )
    assert posted.headers["content-encoding"] == "gzip"
    assert gzip.compress(posted.content) and posted.content == b"[" + LARGE + b"0]"


@pytest.mark.parametrize("path", ["/table/arrow", "/table/parquet", "/v1/screens/1/artifacts/hits.csv"])
def test_tables_and_downloads_that_can_be_resumed_are_sent_as_they_are(call: Call, path: str) -> None:
    answer = raw(call, path)
    assert "content-encoding" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.content) == len(LARGE)


def test_events_arrive_one_by_one_through_everything() -> None:
    api = guarded({})

    async def pieces() -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            await asyncio.sleep(60)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "path": "/events",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), (b"accept-encoding", b"gzip")],
        }
        await api(scope, receive, send)
        return sent

    sent = asyncio.run(pieces())
    bodies = [message["body"] for message in sent if message["type"] == "http.response.body"]
    assert [body[:7] for body in bodies] == [b"data: 0", b"data: 1", b"data: 2", b""]
    assert b"content-encoding" not in dict(sent[0]["headers"])
