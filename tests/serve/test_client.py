"""The Python client: equal to the interface, in order, patient, and plain about what goes wrong."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import live_toys as live
import numpy as np
import pandas as pd
import polars as pl
import pytest
from pertcast.errors import ConfigError, SchemaError, UnknownGene
from pertcast_serve.access.keys import change_keys, new_key
from pertcast_serve.client import (
    Client,
    Conflict,
    DownloadDamaged,
    NotFound,
    NotPermitted,
    NotPredicted,
    NoValidKey,
    Overloaded,
    RequestRefused,
    ScreenFailed,
    ServerError,
    ServerFailed,
    ServerUnreachable,
    StillRunning,
)
from pertcast_serve.client.events import Event, parsed_events
from pertcast_serve.client.transport import segment
from pertcast_serve.config import AccessSettings, Limits
from pertcast_serve.schemas.screens import Screen
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

TABLE = pl.DataFrame(
    {
        "cell_iname": ["A375", "HT29", "A375", "HT29", "A375"],
        "pert_id": ["drug-1", "GENE3", "drog-1", "drug-2", "drug-3"],
        "pert_type": ["trt_cp", "trt_xpr", "trt_cp", "trt_cp", "trt_cp"],
        "pert_dose": [10.0, None, 1.0, 1.0, float("nan")],
        "pert_time": [24.0] * 5,
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("client")


@pytest.fixture(scope="module")
def screen_id(folder: Path, tiny_bundle: Path) -> str:
    config = live.config_of(tiny_bundle, folder)
    rows = [{"pert_id": "drug-1"}, {"pert_id": "drug-2"}]
    return live.finish_screen(
        config, tiny_bundle, rows=rows, pert_dose=[10.0], pert_time=[24.0], title="done"
    )


@pytest.fixture(scope="module")
def server(folder: Path, screen_id: str, tiny_bundle: Path) -> Iterator[Any]:
    """A server that takes two conditions and three genes a request."""
    config = live.config_of(tiny_bundle, folder, limits=Limits(conditions=2, genes=3))
    with live.served(live.whole_api(config, tiny_bundle, live.StillJobs())[0]) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[Client]:
    with Client(server.url, patience_s=5) as found:
        yield found


@pytest.fixture
def scripted() -> Iterator[Callable[..., Client]]:
    """Return what serves functions by their paths, and a client of them."""
    opened: list[Any] = []

    def serve(patience_s: float = 5, **routes: Any) -> Client:
        paths = [
            Route(path, answer, methods=["GET", "POST", "DELETE"])
            for path, answer in ((f"/{name.replace('__', '/')}", each) for name, each in routes.items())
        ]
        served = live.Served(Starlette(routes=paths))
        served.start()
        found = Client(served.url, patience_s=patience_s)
        opened.extend((found, served))
        return found

    yield serve
    for each in opened:
        each.close() if isinstance(each, Client) else each.stop()


# --- Predictions ---


def test_parts_give_what_one_request_gives_in_the_order_of_the_conditions(
    client: Client, folder: Path, tiny_bundle: Path
) -> None:
    found = client.predict(TABLE)
    assert found.table["index"].to_list() == [0, 1, 3, 4]
    assert found.table["pert_id"].to_list() == ["drug-1", "GENE3", "drug-2", "drug-3"]
    assert found.errors.select("index", "field").rows() == [(2, "pert_id")]
    assert "drug-1" in found.errors["suggestions"][0]
    assert found.mean.shape == (4, 24) and found.mean.dtype == np.float32
    for place, index in enumerate(found.table["index"]):
        alone = client.predict(TABLE[index])
        assert alone.bundle == found.bundle
        np.testing.assert_allclose(found.mean[place], alone.mean[0], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found.sd[place], alone.sd[0], rtol=1e-5)
    with pytest.raises(NotPredicted, match=r"Condition 2, pert_id 'drog-1'.*Nearest known: drug-1"):
        found.raise_for_errors()
    assert client.predict(TABLE[:2]).raise_for_errors().table.height == 2


def test_dicts_polars_and_pandas_are_the_same_conditions(client: Client) -> None:
    found = client.predict(TABLE)
    dicts = [{name: value for name, value in row.items() if value == value} for row in TABLE.to_dicts()]
    dicts[0]["pert_dose"] = np.float64(10.0)
    for same in (dicts, TABLE.to_pandas(), pd.DataFrame(TABLE.to_dicts())):
        again = client.predict(same)
        assert again.table.equals(found.table)
        assert np.array_equal(again.mean, found.mean)


def test_chosen_genes_come_in_their_order_also_where_they_are_too_many_for_a_request(client: Client) -> None:
    whole = client.predict(TABLE[:2])
    for genes in (["GENE9", "GENE2"], ["GENE9", "GENE2", "GENE0", "GENE7", "GENE1"]):
        some = client.predict(TABLE[:2], genes=genes)
        assert some.genes == genes
        columns = [whole.genes.index(gene) for gene in genes]
        np.testing.assert_allclose(some.mean, whole.mean[:, columns], rtol=1e-5, atol=1e-7)
    with pytest.raises(RequestRefused, match="Nearest known: GENE11"):
        client.predict(TABLE[:2], genes=["GENE111"])
    with pytest.raises(UnknownGene, match="Nearest known: GENE11"):
        client.predict(TABLE[:2], genes=["GENE111", "GENE1", "GENE2", "GENE3"])


def test_an_anndata_has_all_of_it(client: Client) -> None:
    found = client.predict(TABLE)
    adata = found.to_anndata()
    assert np.array_equal(adata.X, found.mean) and np.array_equal(adata.layers["sd"], found.sd)
    assert list(adata.var_names) == found.genes
    assert list(adata.obs_names) == found.table["sig_id"].to_list()
    assert adata.uns["model"] == found.model


def test_nothing_but_refused_conditions_is_an_answer_too(client: Client) -> None:
    wrong = [{"cell_iname": "A375", "pert_id": f"drog-{number}"} for number in range(3)]
    found = client.predict(wrong)
    assert len(found) == 0 and found.mean.shape == (0, 24)
    assert found.errors["index"].to_list() == [0, 1, 2]


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([], "no condition"),
        ({"cell_iname": "A375"}, "not dict"),
        (["drug-1"], "Row 0"),
        ([{"cell_iname": "A375", "pert_id": "x", "dose": 1}], "Nearest known: pert_dose"),
        (TABLE.rename({"pert_time": "time"}), "The table has a column 'time'"),
        ([{"cell_iname": "A375", "pert_id": "x", "pert_dose": float("nan")}], "must be finite"),
        ([{"cell_iname": "A375", "pert_id": object()}], "names must be text"),
    ],
)
def test_what_is_no_condition_is_refused_here(client: Client, conditions: Any, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        client.predict(conditions)


def test_a_refusal_of_a_part_says_which_conditions_it_had(client: Client) -> None:
    rows: list[dict[str, Any]] = TABLE.select("cell_iname", "pert_id").to_dicts()
    with pytest.raises(RequestRefused, match="conditions 2 to 3") as refused:
        client.predict([*rows[:3], {**rows[3], "pert_dose": -1.0}])
    assert refused.value.status == 422
    assert refused.value.errors[0]["field"] == "body.conditions.1.pert_dose"
    with pytest.raises(NotFound, match="Nearest known: default"):
        client.predict(rows[:2], model="defualt")


# --- What there is, and questions ---


def test_models_names_sets_and_libraries_are_tables(client: Client) -> None:
    assert client.is_ready()
    assert client.version().api == "v1"
    assert client.models()["id"].to_list() == ["default"]
    assert client.model("default").bundle == client.models()["bundle"][0]
    assert client.metadata().limits["conditions"] == 2
    assert client.genes("gene23")["name"].to_list() == ["GENE23"]
    assert client.compounds("drug-1", limit=2)["name"].to_list() == ["drug-1", "drug-10"]
    assert client.cell_lines()["name"].to_list() == ["A375", "HT29"]
    assert client.gene_sets()["name"].to_list() == ["own"]
    libraries = client.libraries()
    assert {"first", "l1000"} <= set(libraries["name"])
    assert libraries.schema["cell_lines"] == pl.List(pl.String)
    nothing = client.genes("zzzzzzzz")
    assert nothing.is_empty() and nothing.schema["is_measured"] == pl.Boolean


def test_questions_are_tables_with_their_facts(client: Client) -> None:
    stored = ("first", "S20")
    enriched = client.enrichment(stored=stored, gene_sets="own", curves=["UP"])
    assert {"UP", "DOWN"} <= set(enriched.table["term"][:3])
    assert enriched.dropped["term"].to_list() == ["TINY"]
    assert enriched.curves["UP"].table["running_sum"].max() == pytest.approx(0.98, abs=0.01)
    assert enriched.n_genes == 60 and enriched.remarks
    genes = live.analysis_toys.GENES
    connected = client.connectivity(genes[:6], [*genes[6:12], "G999"], library="first", per_tail=3)
    assert connected.table["word"].to_list() == ["mimics"] * 3 + ["reverses"] * 3
    assert connected.table["sig_id"][0] in ("S20", "S21")
    assert (connected.library_kind, connected.score) == ("predicted", "wtcs")
    assert connected.mapping["not_measured"].to_list() == [[], ["G999"]]
    values = dict(zip(genes, live.analysis_toys.profiles()[20].astype(float), strict=True))
    assert client.connectivity(signature=values, score="cosine").table["sig_id"][0] == "S20"
    near = client.neighbors(profile=values, library="first", per_tail=2, everywhere=True)
    assert near.table["tail"].to_list() == ["nearest"] * 2 + ["opposite"] * 2
    assert near.table["sig_id"][0] == "S20" and near.table["cosine"][0] == pytest.approx(1, abs=1e-4)
    own = client.enrichment(
        TABLE.drop_nulls().row(0, named=True), sets={"MINE": ["GENE1", "GENE2"]}, min_size=1
    )
    assert own.table["term"].to_list() == ["MINE"]
    with pytest.raises(SchemaError, match="Name one profile"):
        client.neighbors()
    with pytest.raises(ServerError, match="S20"):
        client.neighbors(stored=("first", "S2000"))


# --- Screens ---


def test_a_finished_screen_is_read_and_downloaded(client: Client, screen_id: str, tmp_path: Path) -> None:
    seen: list[Screen] = []
    screen = client.screen(screen_id)
    assert screen.wait(seen.append).n_done == 4
    assert [state.state for state in seen] == ["finished"]
    hits = screen.hits()
    assert hits["rank"].to_list() == [1, 2, 3, 4]
    assert screen.hits(3)["sig_id"].to_list() == hits["sig_id"][:3].to_list()
    assert screen.hits(offset=3).height == 1 and screen.hits(cell_iname="HT29").height == 2
    assert screen.hits(2, sort="rank", descending=True)["rank"].to_list() == [4, 3]
    profile = screen.profile(hits["sig_id"][0])
    assert profile["gene"].to_list() == [f"GENE{number}" for number in range(24)]
    assert profile.schema["mean"] == pl.Float32
    files = screen.artifacts()
    for name in ("hits.csv", "profiles.zarr/zarr.json"):
        path = screen.download(name, tmp_path)
        listed = files.filter(pl.col("name") == name).row(0, named=True)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed["sha256"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hits.csv", "zarr.json"]
    with pytest.raises(NotFound, match="artifacts"):
        screen.download("../../keys.json", tmp_path)
    with pytest.raises(Conflict):
        screen.cancel()
    assert screen_id in client.screens()["id"].to_list()
    for name in ("1m8zzzzzzzzzzzzzz", "..", "../../x"):
        with pytest.raises((NotFound, RequestRefused)):
            client.screen(name)


def test_a_screen_is_begun_once_a_key_and_cancelled(client: Client) -> None:
    asked: dict[str, Any] = {"rows": TABLE.select("pert_id", "pert_type")[:1], "title": "mine"}
    assert client.estimate("compounds", cell_iname=["A375"]).n_profiles == 48
    first = client.submit("compounds", idempotency_key="one", **asked)
    assert client.submit("compounds", idempotency_key="one", **asked).id == first.id
    with pytest.raises(Conflict):
        client.submit("compounds", idempotency_key="one", **{**asked, "title": "other"})
    second = client.submit("compounds", **asked)
    assert second.id != first.id
    assert second.cancel().state == "cancelled"
    with pytest.raises(ScreenFailed, match="was cancelled"):
        second.wait()
    with pytest.raises(StillRunning, match="goes on"):
        first.wait(timeout_s=0)
    first.cancel()
    with pytest.raises(SchemaError, match=r"write \['A375'\]"):
        client.submit("compounds", cell_iname="A375")
    with pytest.raises(RequestRefused, match="both, up and down"):
        client.submit("compounds", up=["GENE1"])


def state(name: str, n_done: int) -> dict[str, Any]:
    return {
        "id": "s",
        "title": "",
        "kind": "genes",
        "model": "m@1",
        "state": name,
        "submitted_at": "",
        "submitted_by": "",
        "n_done": n_done,
        "n_profiles": 9,
        "profiles_per_s": None,
        "eta_s": None,
        "message": "out of memory" if name == "failed" else "",
        "of_a_newer_server": 1,
    }


def event(name: str, n_done: int) -> str:
    kind = "progress" if name == "running" else name
    return f"id: {name}-{n_done}\nevent: {kind}\ndata: {json.dumps(state(name, n_done))}\n\n"


def test_events_that_break_off_are_taken_up_again(scripted: Callable[..., Client]) -> None:
    asked: list[str | None] = []

    async def events(request: Request) -> Response:
        asked.append(request.headers.get("last-event-id"))

        async def lines() -> Any:
            yield "retry: 2000\n\n: still here\n\n"
            if len(asked) == 1:
                yield event("running", 1)
                yield event("finished", 9)[:-20]
                raise ConnectionError
            yield event("running", 5)
            yield event("finished", 9)

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def one(request: Request) -> Response:
        return JSONResponse(state("running", 0))

    client = scripted(v1__screens__s=one, v1__screens__s__events=events)
    seen: list[int] = []
    assert client.screen("s").wait(lambda screen: seen.append(screen.n_done), poll_s=0.01).state == "finished"
    assert seen == [1, 5, 9]
    assert asked == [None, "running-1"]


def test_where_events_do_not_come_the_screen_is_asked_for(scripted: Callable[..., Client]) -> None:
    states = [state("running", 1), state("running", 1), state("running", 4), state("failed", 4)]

    async def none(request: Request) -> Response:
        return Response(status_code=502)

    async def one(request: Request) -> Response:
        return JSONResponse(states.pop(0) if len(states) > 1 else states[0])

    client = scripted(v1__screens__s=one, v1__screens__s__events=none)
    seen: list[int] = []
    with pytest.raises(ScreenFailed, match="out of memory"):
        client.screen("s").wait(lambda screen: seen.append(screen.n_done), poll_s=0.01)
    assert seen == [1, 4, 4]


def test_events_are_read_as_the_standard_says() -> None:
    lines = ["retry: 1", "", ": x", "event: a", "id: 1", "data: {", "data:  }", "", "data: cut off"]
    assert list(parsed_events(lines)) == [None, Event("a", "1", "{\n }")]


CONTENT = bytes(range(256)) * 400


def files_of(sha256: str) -> Any:
    async def listed(request: Request) -> Response:
        found = {"name": "x.bin", "bytes": len(CONTENT), "sha256": sha256, "media_type": "x/y"}
        return JSONResponse({"artifacts": [found]})

    return listed


async def one_state(request: Request) -> Response:
    return JSONResponse(state("finished", 9))


def test_a_download_that_breaks_off_goes_on_where_it_was(
    scripted: Callable[..., Client], tmp_path: Path
) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    asked: list[str | None] = []

    async def file(request: Request) -> Response:
        wanted = request.headers.get("range")
        asked.append(wanted)
        assert request.headers["accept-encoding"] == "identity"
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        assert not start or request.headers["if-range"] == f'"{sha256}"'

        async def part() -> Any:
            yield CONTENT[start : start + 40_000]
            if start + 40_000 < len(CONTENT):
                raise ConnectionError

        headers = {"Content-Length": str(len(CONTENT) - start), "ETag": f'"{sha256}"'}
        return StreamingResponse(part(), 206 if start else 200, headers=headers)

    routes = {"v1__screens__s": one_state, "v1__screens__s__artifacts": files_of(sha256)}
    client = scripted(**routes, **{"v1__screens__s__artifacts__x.bin": file})
    (tmp_path / "y.part").write_bytes(CONTENT[:1000])
    path = client.screen("s").download("x.bin", tmp_path / "y")
    assert path.read_bytes() == CONTENT
    assert asked[0] == "bytes=1000-"
    assert len(asked) == 3
    assert [each.name for each in tmp_path.iterdir()] == ["y"]


def test_a_download_with_other_bytes_is_refused_and_leaves_nothing(
    scripted: Callable[..., Client], tmp_path: Path
) -> None:
    async def file(request: Request) -> Response:
        return Response(CONTENT[::-1])

    routes = {"v1__screens__s": one_state, "v1__screens__s__artifacts": files_of("0" * 64)}
    client = scripted(**routes, **{"v1__screens__s__artifacts__x.bin": file})
    with pytest.raises(DownloadDamaged, match="other bytes"):
        client.screen("s").download("x.bin", tmp_path / "y")
    assert list(tmp_path.iterdir()) == []


# --- Keys, overload, and servers that are not there ---


def test_keys_are_sent_and_their_lack_is_told(folder: Path, screen_id: str, tiny_bundle: Path) -> None:
    secret, key = new_key("Ada", ["predict"])
    change_keys(folder / "keys.json", lambda before: (*before, key), may_create=True)
    config = live.config_of(tiny_bundle, folder, access=AccessSettings(keys=folder / "keys.json"))
    with live.served(live.whole_api(config, tiny_bundle, live.StillJobs())[0]) as server:
        with Client(server.url, secret) as client:
            assert len(client.predict(TABLE[:1])) == 1
            with pytest.raises(NotPermitted, match="screen"):
                client.submit("compounds")
        with Client(server.url) as client, pytest.raises(NoValidKey, match="pertcast key create"):
            client.predict(TABLE[:1])


def test_an_overloaded_server_is_asked_again_after_the_time_that_it_names(
    scripted: Callable[..., Client],
) -> None:
    came: list[int] = []

    async def models(request: Request) -> Response:
        came.append(1)
        if len(came) < 3:
            problem = {"title": "Busy", "status": 503, "detail": "All replicas are busy."}
            return JSONResponse(problem, 429 if len(came) == 1 else 503, headers={"Retry-After": "0.3"})
        return JSONResponse([])

    assert scripted(v1__models=models).models().is_empty()
    assert len(came) == 3

    async def for_ever(request: Request) -> Response:
        came.append(1)
        problem = {"title": "Busy", "status": 503, "detail": "All replicas are busy."}
        return JSONResponse(problem, 503, headers={"Retry-After": "2"})

    came.clear()
    with pytest.raises(Overloaded, match="All replicas are busy"):
        scripted(patience_s=1, v1__models=for_ever).models()
    assert len(came) == 1


def test_failures_and_strangers_are_told_apart(scripted: Callable[..., Client]) -> None:
    async def failure(request: Request) -> Response:
        problem = {"title": "Server failure", "status": 500, "detail": "See the log."}
        return JSONResponse(problem, 500, headers={"X-Request-Id": "r-7"})

    async def stranger(request: Request) -> Response:
        return Response("<html>Welcome to nginx", 404)

    client = scripted(v1__models=failure, v1__libraries=stranger)
    with pytest.raises(ServerFailed, match="request id r-7"):
        client.models()
    with pytest.raises(NotFound, match="Is this a Pertcast server"):
        client.libraries()


def test_a_server_that_is_not_there_is_told_with_what_to_check() -> None:
    server = live.Served(None)
    with Client(server.url) as client:
        for ask in (client.models, client.is_ready, lambda: client.predict(TABLE)):
            with pytest.raises(ServerUnreachable, match="pertcast serve --model RUN") as failure:
                ask()
            assert server.url in str(failure.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        Client(url)
    with pytest.raises(ConfigError, match="is no key"):
        Client("http://x", key="a\nb")


def test_names_stay_in_their_segment_of_a_path() -> None:
    assert [segment(name) for name in ("a/b", "..", ".", "a|b 1", "%2e")] == [
        "a%2Fb",
        "%2E%2E",
        "%2E",
        "a%7Cb%201",
        "%252e",
    ]


def test_importing_the_client_loads_no_framework_and_is_quick() -> None:
    program = (
        "import sys, time; began = time.process_time(); import pertcast_serve.client; "
        "took = time.process_time() - began; "
        "heavy = {'ray', 'torch', 'fastapi', 'starlette', 'anndata', 'pandas', 'zarr', 'plotly'}; "
        "print(sorted(heavy & set(sys.modules))); print(took)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded, seconds = ran.stdout.splitlines()
    assert loaded == "[]"
    assert float(seconds) < 3
