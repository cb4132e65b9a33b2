"""The interface's promises: probes, metadata, predictions, and problem+json with a remedy for all else."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from fastapi import FastAPI
from pertcast import __version__
from pertcast_serve.api import make_api
from pertcast_serve.config import Limits, ServeConfig
from pertcast_serve.negotiation import CSV, PARQUET, TABLES
from pertcast_serve.problems import Unavailable
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.models import Metadata, ModelCard, NameMatches
from pertcast_serve.schemas.predict import (
    MAX_CONDITIONS,
    MAX_GENES,
    MAX_SMILES_PARTS,
    PredictRequest,
    PredictResponse,
)
from pertcast_serve.services import Services

Call = Callable[..., httpx.Response]
LIMITS = Limits()
GOOD = {"cell_iname": "A375", "pert_id": "drug-1", "pert_dose": 10, "pert_time": 24}


def problem_of(answer: httpx.Response, status: int) -> Problem:
    """Return the problem of an answer that must be one, for people to act on."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(answer.content)
    assert problem.status == status
    assert problem.title and problem.detail
    return problem


def test_probes_and_version_answer(call: Call) -> None:
    assert call("GET", "/v1/health/live").json() == {"status": "live"}
    assert call("GET", "/v1/health/ready").json() == {"status": "ready"}
    assert call("GET", "/v1/version").json() == {"pertcast": __version__, "api": "v1"}


def test_metadata_publishes_genes_and_limits(call: Call) -> None:
    metadata = Metadata.model_validate_json(call("GET", "/v1/metadata").content)
    assert len(metadata.genes) == 24
    assert metadata.limits == LIMITS.model_dump()


def test_a_prediction_is_what_the_openapi_document_says(call: Call, client: Any) -> None:
    answer = call("POST", "/v1/predict", json={"conditions": [GOOD]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = PredictResponse.model_validate_json(answer.content)
    table = pl.DataFrame([{**GOOD, "pert_type": "trt_cp"}])
    assert np.array_equal(
        np.float32(body.mean), client.service.predictor.predict(table, batch_size=1).mean[0]
    )
    document = call("GET", "/openapi.json").json()
    described = document["paths"]["/v1/predict"]["post"]["responses"]["200"]["content"]["application/json"]
    assert described["schema"]["$ref"].endswith("/PredictResponse")
    assert set(document["components"]["schemas"]["PredictResponse"]["properties"]) == set(answer.json())


def test_the_most_conditions_allowed_are_answered(call: Call) -> None:
    answer = call("POST", "/v1/predict", json={"conditions": [GOOD] * MAX_CONDITIONS})
    assert len(answer.json()["items"]) == MAX_CONDITIONS


def body(**changes: Any) -> str:
    return json.dumps({"conditions": [{**GOOD, **changes}]})


def test_models_are_listed_with_their_cards(call: Call, client: Any) -> None:
    (model,) = call("GET", "/v1/models").json()
    assert model["id"] == "default"
    assert model["is_default"] is True
    assert model["bundle"] == client.service.bundle
    for name in ("default", f"default@{model['version']}"):
        card = ModelCard.model_validate_json(call("GET", f"/v1/models/{name}").content)
        assert (card.id, card.licence, card.held_out_metrics["pearson_delta"]) == ("default", "CC0-1.0", 0.25)


def test_unknown_models_are_404_with_the_nearest(call: Call) -> None:
    for path in ("/v1/models/defualt", "/v1/metadata?model=defualt", "/v1/genes?model=defualt"):
        assert "Nearest known: default" in problem_of(call("GET", path), 404).detail
    problem_of(call("GET", "/v1/models/..%2f..%2fetc"), 404)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/genes?q=gene23", ["GENE23"]),
        ("/v1/genes?q=GNEE23&limit=1", ["GENE23"]),
        ("/v1/compounds?q=drug-1&limit=2", ["drug-1", "drug-10"]),
        ("/v1/cell_lines", ["A375", "HT29"]),
        ("/v1/cell_lines?q=ht", ["HT29"]),
        ("/v1/compounds?q=%00", []),
    ],
)
def test_names_are_found(call: Call, path: str, names: list[str]) -> None:
    found = NameMatches.model_validate_json(call("GET", path).content)
    assert [match.name for match in found.matches] == names
    assert found.n_matches >= len(names)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", f"q={'x' * 201}"])
def test_searches_out_of_bounds_are_refused(call: Call, query: str) -> None:
    problem_of(call("GET", f"/v1/genes?{query}"), 422)


@pytest.mark.parametrize("media_type", TABLES)
def test_a_table_is_answered_where_it_is_asked_for_and_counts_what_it_lacks(
    call: Call, media_type: str
) -> None:
    wrong = {**GOOD, "pert_id": "drog-1"}
    asked = {"conditions": [GOOD, wrong], "genes": ["GENE3", "GENE1"]}
    answer = call("POST", "/v1/predict", json=asked, headers={"accept": media_type})
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == media_type
    assert answer.headers["x-pertcast-errors"] == "1"
    plain = call("POST", "/v1/predict", json=asked).json()
    if media_type == CSV:
        table = pl.read_csv(answer.content)
        values = table.select("GENE3", "GENE1").to_numpy().ravel()
    else:
        read = pl.read_parquet if media_type == PARQUET else pl.read_ipc_stream
        table = read(io.BytesIO(answer.content))
        values = np.float32(table["mean"].to_list()).ravel()
    assert table["index"].to_list() == [0]
    assert np.array_equal(np.float32(values), np.float32(plain["mean"]))


def test_a_media_type_that_no_answer_has_is_406(call: Call) -> None:
    answer = call("POST", "/v1/predict", json={"conditions": [GOOD]}, headers={"accept": "image/png"})
    assert "text/csv" in problem_of(answer, 406).detail


def test_a_server_may_take_fewer_conditions_and_genes_than_the_interface(
    call_api: Callable[[FastAPI], Call], client: Any, serve_config: ServeConfig
) -> None:
    config = serve_config.model_copy(update={"limits": Limits(conditions=2, genes=1)})
    services = Services(client, analysis=None, screens=None, page=None)  # type: ignore[arg-type]
    call = call_api(make_api(services, config))
    assert call("POST", "/v1/predict", json={"conditions": [GOOD] * 2}).status_code == 200
    for body in ({"conditions": [GOOD] * 3}, {"conditions": [GOOD], "genes": ["GENE1", "GENE2"]}):
        assert "Send it in parts" in problem_of(call("POST", "/v1/predict", json=body), 422).detail


BAD_BODIES = {
    "nothing": "",
    "not JSON": "{",
    "not an object": "[1, 2]",
    "only a number": "3",
    "null": "null",
    "no conditions": "{}",
    "empty conditions": '{"conditions": []}',
    "conditions that are no list": '{"conditions": {"cell_iname": "A375"}}',
    "a condition that is no object": '{"conditions": ["drug-1"]}',
    "too many conditions": json.dumps({"conditions": [GOOD] * (MAX_CONDITIONS + 1)}),
    "an unknown field": body(dose=3),
    "an unknown field of the request": json.dumps({"conditions": [GOOD], "gene": ["GENE1"]}),
    "no cell line": json.dumps({"conditions": [{"pert_id": "drug-1"}]}),
    "a dose in words": body(pert_dose="ten"),
    "a dose in quotes": body(pert_dose="10"),
    "a dose that is true": body(pert_dose=True),
    "a dose that is not a number": body(pert_dose=float("nan")),
    "an infinite dose": body(pert_dose=float("inf")),
    "an overflowing dose": body().replace("10,", "1e999,"),
    "a dose of ten thousand digits": body().replace("10,", "1" * 10_000 + ","),
    "a negative dose": body(pert_dose=-1),
    "no time at all": body(pert_time=0),
    "a name that is a number": body(pert_id=7),
    "a name that is a list": body(pert_id=["drug-1"]),
    "an empty name": body(pert_id=""),
    "a very long name": body(pert_id="x" * 100_000),
    "half a character in a name": body(pert_id="drug\ud800"),
    "half a character in a cell line": body(cell_iname="\udfff"),
    "half a character in a field's name": body(**{"\ud800": 1}),
    "half a character in a gene": json.dumps({"conditions": [GOOD], "genes": ["\ud800"]}),
    "a structure with a zero byte": body(canonical_smiles="CC\x00CC"),
    "a structure with a line end": body(canonical_smiles="CCO\n"),
    "a library as one structure": body(canonical_smiles=".".join("C" * (MAX_SMILES_PARTS + 1))),
    "no genes": json.dumps({"conditions": [GOOD], "genes": []}),
    "a gene twice": json.dumps({"conditions": [GOOD], "genes": ["GENE1", "GENE2", "GENE1"]}),
    "too many genes": json.dumps({"conditions": [GOOD], "genes": [f"G{i}" for i in range(MAX_GENES + 1)]}),
    "genes that are a word": json.dumps({"conditions": [GOOD], "genes": "GENE1"}),
    "deep nesting": "[" * 100_000,
    "deep nesting that is closed": '{"conditions":' + "[" * 50_000 + "]" * 50_000 + "}",
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_a_problem_with_a_remedy_and_no_failure(call: Call, name: str) -> None:
    headers = {"content-type": "application/json"}
    answer = call("POST", "/v1/predict", content=BAD_BODIES[name].encode(), headers=headers)
    assert answer.status_code in (400, 422)
    problem = problem_of(answer, answer.status_code)
    assert len(answer.content) < 20_000
    assert "JSON object" in problem.detail or "/openapi.json" in problem.detail


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'{"conditions": "\xc3\x28"}', bytes(range(256))])
def test_bytes_that_are_no_text_are_a_problem(call: Call, content: bytes) -> None:
    answer = call("POST", "/v1/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    problem_of(answer, answer.status_code)


def test_the_problem_names_the_field_and_what_is_wrong_with_it(call: Call) -> None:
    answer = call("POST", "/v1/predict", json={"conditions": [GOOD, {**GOOD, "pert_dose": "ten"}]})
    problem = problem_of(answer, 422)
    assert problem.errors == [
        {"field": "body.conditions.1.pert_dose", "message": "Input should be a valid number"}
    ]
    twice = call("POST", "/v1/predict", json={"conditions": [GOOD], "genes": ["GENE1", "GENE1"]})
    assert "'GENE1' is named twice" in problem_of(twice, 422).detail


def test_an_unknown_gene_is_a_problem_that_names_the_nearest(call: Call) -> None:
    answer = call("POST", "/v1/predict", json={"conditions": [GOOD], "genes": ["GENE111"]})
    assert "Nearest known: GENE11" in problem_of(answer, 422).detail


def test_strange_but_lawful_names_are_answered_as_unknown(call: Call) -> None:
    names = ["\x00", "a+b", "+", "++", "DROP TABLE", "𝔛" * 100, "-666", "nan", "\u202e", "drug-1+drug-2"]
    conditions = [{**GOOD, "pert_id": name} for name in names]
    answer = call("POST", "/v1/predict", json={"conditions": conditions})
    assert answer.status_code == 200
    assert [item["index"] for item in answer.json()["items"]] == [len(names) - 1]
    assert len(answer.json()["errors"]) == len(names) - 1


def test_a_large_body_is_refused_by_its_announced_length(call: Call) -> None:
    answer = call("POST", "/v1/predict", content=b"x" * (LIMITS.body_bytes + 1))
    assert str(LIMITS.body_bytes) in problem_of(answer, 413).detail


def test_a_large_body_is_refused_while_it_arrives_when_no_length_is_announced(call: Call) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1 << 20
            yield b" " * (1 << 20)

    answer = call("POST", "/v1/predict", content=endless(), headers={"content-type": "application/json"})
    problem_of(answer, 413)
    assert sent <= LIMITS.body_bytes + (2 << 20)


def test_unknown_paths_and_methods_are_problems(call: Call) -> None:
    assert "/openapi.json" in problem_of(call("GET", "/v1/predictions"), 404).detail
    wrong = call("GET", "/v1/predict")
    problem_of(wrong, 405)
    assert wrong.headers["allow"] == "POST"


def faulty_api(error: Exception, config: ServeConfig) -> FastAPI:
    """Return the interface over a predictor that fails with `error`."""
    return make_api(Services(Faulty(error), analysis=None, screens=None, page=None), config)  # type: ignore[arg-type]


class Faulty:
    """A predictor that fails with `error`."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def predict(self, request: PredictRequest, media_type: str) -> bytes | Problem:
        raise self.error

    async def metadata(self, model: str | None) -> Metadata:
        raise self.error

    async def check(self) -> None:
        raise self.error


def test_overload_is_503_with_the_time_to_wait(
    call_api: Callable[[FastAPI], Call], serve_config: ServeConfig
) -> None:
    call = call_api(faulty_api(Unavailable("All replicas are busy."), serve_config))
    for method, path, options in (
        ("POST", "/v1/predict", {"json": {"conditions": [GOOD]}}),
        ("GET", "/v1/health/ready", {}),
        ("GET", "/v1/metadata", {}),
    ):
        answer = call(method, path, **options)
        assert "busy" in problem_of(answer, 503).detail
        assert answer.headers["retry-after"] == "1"
    assert call("GET", "/v1/health/live").status_code == 200


def test_a_failure_of_ours_says_so_without_its_insides(
    call_api: Callable[[FastAPI], Call], serve_config: ServeConfig
) -> None:
    call = call_api(faulty_api(RuntimeError("secret"), serve_config))
    answer = call("POST", "/v1/predict", json={"conditions": [GOOD]})
    problem_of(answer, 500)
    assert "secret" not in answer.text
