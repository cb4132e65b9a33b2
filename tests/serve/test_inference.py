"""The Open Inference Protocol: answers are those of /v1/predict, errors are as the protocol writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from pertcast_serve.access.keys import change_keys, new_key
from pertcast_serve.api import make_api
from pertcast_serve.config import AccessSettings, Limits, ServeConfig
from pertcast_serve.problems import Unavailable
from pertcast_serve.schemas.inference import InferResponse
from pertcast_serve.services import Services

Call = Callable[..., httpx.Response]
JSON = {"content-type": "application/json"}
INFER = "/v2/models/default/infer"
CONDITIONS = [
    {"cell_iname": "A375", "pert_id": "drug-1", "pert_type": "trt_cp", "pert_dose": 10.0, "pert_time": 24.0},
    {"cell_iname": "HT29", "pert_id": "GENE3", "pert_type": "trt_xpr", "pert_time": 24.0},
]


def tensor(name: str, data: list[Any], datatype: str = "BYTES", **fields: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data, **fields}


def body(**changes: Any) -> dict[str, Any]:
    """Return two conditions as tensors; the second has no dose."""
    inputs = {
        "cell_iname": tensor("cell_iname", ["A375", "HT29"]),
        "pert_id": tensor("pert_id", ["drug-1", "GENE3"]),
        "pert_type": tensor("pert_type", ["trt_cp", "trt_xpr"]),
        "pert_dose": tensor("pert_dose", [10.0, None], "FP64"),
        "pert_time": tensor("pert_time", [24, 24.0], "FP64"),
    }
    changed = {name: changes.pop(name) for name in list(changes) if name in inputs}
    kept = {name: value for name, value in {**inputs, **changed}.items() if value is not None}
    return {"id": "7", "inputs": list(kept.values()), **changes}


def error_of(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    return str(answer.json()["error"])


def outputs_of(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    InferResponse.model_validate_json(answer.content)
    found = {each["name"]: each for each in answer.json()["outputs"]}
    for each in found.values():
        assert int(np.prod(each["shape"])) == len(each["data"])
    return found


def test_probes_need_no_model_and_metadata_offers_no_extension(call: Call) -> None:
    assert call("GET", "/v2/health/live").json() == {"live": True}
    assert call("GET", "/v2/health/ready").json() == {"ready": True}
    server = call("GET", "/v2").json()
    assert (server["name"], server["extensions"]) == ("pertcast", [])


def test_a_model_tells_its_tensors_and_that_it_is_ready_also_by_version(call: Call, client: Any) -> None:
    version = client.service.bundle[:12]
    metadata = call("GET", "/v2/models/default").json()
    assert (metadata["name"], metadata["versions"]) == ("default", [version])
    assert {each["name"]: each["datatype"] for each in metadata["inputs"]}["pert_dose"] == "FP64"
    assert {each["name"]: each["shape"] for each in metadata["outputs"]}["mean"] == [-1, 24]
    assert call("GET", f"/v2/models/default/versions/{version}").json() == metadata
    for path in ("/v2/models/default/ready", f"/v2/models/default/versions/{version}/ready"):
        assert call("GET", path).json() == {"name": "default", "ready": True}


def test_an_inference_has_the_numbers_of_predict(call: Call, client: Any) -> None:
    plain = call("POST", "/v1/predict", json={"conditions": CONDITIONS}).json()
    answer = call("POST", INFER, json=body())
    outputs = outputs_of(answer)
    assert list(outputs) == ["mean", "sd", "sig_id", "is_in_domain"]
    assert outputs["mean"]["shape"] == [2, 24]
    for name in ("mean", "sd"):
        assert np.array_equal(np.float32(outputs[name]["data"]), np.float32(plain[name]))
    for name in ("sig_id", "is_in_domain"):
        assert outputs[name]["data"] == [item[name] for item in plain["items"]]
    found = answer.json()
    assert (found["id"], found["model_name"]) == ("7", "default")
    assert found["model_version"] == client.service.bundle[:12]
    assert found["parameters"]["bundle"] == plain["bundle"]


def test_columns_rows_and_the_versioned_path_say_the_same(call: Call, client: Any) -> None:
    first = call("POST", INFER, json=body()).json()
    rows = body(pert_id=tensor("pert_id", [["drug-1"], ["GENE3"]], shape=[2, 1]))
    assert call("POST", INFER, json=rows).json() == first
    flat = body(pert_id=tensor("pert_id", ["drug-1", "GENE3"], shape=[2, 1]))
    path = f"/v2/models/default/versions/{client.service.bundle[:12]}/infer"
    assert call("POST", path, json=flat).json() == first
    nan = json.dumps(body(pert_dose=tensor("pert_dose", [10.0, float("nan")], "FP32"), ours=1))
    assert call("POST", INFER, content=nan.encode(), headers=JSON).json() == first


def test_chosen_outputs_and_genes_are_all_that_is_sent(call: Call) -> None:
    asked = body(outputs=[{"name": "genes"}, {"name": "mean"}], parameters={"genes": "GENE5, GENE2"})
    outputs = outputs_of(call("POST", INFER, json=asked))
    whole = outputs_of(call("POST", INFER, json=body()))["mean"]["data"]
    assert list(outputs) == ["genes", "mean"]
    assert outputs["genes"]["data"] == ["GENE5", "GENE2"]
    assert outputs["mean"]["data"] == [whole[5], whole[2], whole[24 + 5], whole[24 + 2]]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown compound": (
        body(pert_id=tensor("pert_id", ["drog-1", "GENE3"])),
        "Condition 0, pert_id 'drog-1'",
    ),
    "an unknown cell line": (
        body(cell_iname=tensor("cell_iname", ["A375", "HT2"])),
        "Condition 1, cell_iname",
    ),
    "a negative dose": (body(pert_dose=tensor("pert_dose", [1.0, -1.0], "FP64")), "Condition 1: pert_dose"),
    "an infinite dose": (
        body(pert_dose=tensor("pert_dose", [1e308 * 10, 1.0], "FP64")),
        "Condition 0: pert_dose",
    ),
    "a huge dose": (body(pert_dose=tensor("pert_dose", [10**400, 1.0], "FP64")), "Condition 0: pert_dose"),
    "a dose in words": (body(pert_dose=tensor("pert_dose", ["ten", 1.0], "FP64")), "row 0: give a number"),
    "a dose that is true": (body(pert_dose=tensor("pert_dose", [True, 1.0], "FP64")), "row 0: give a number"),
    "a name that is a number": (body(pert_id=tensor("pert_id", ["drug-1", 3])), "row 1: give text"),
    "a nested value": (body(pert_id=tensor("pert_id", ["drug-1", [["x"]]])), "row 1: give text"),
    "the wrong datatype": (body(pert_dose=tensor("pert_dose", [1, 2], "INT64")), "send FP64 or FP32"),
    "a missing input": (body(pert_id=None), "Input 'pert_id' is missing"),
    "an empty name": (
        body(pert_id=tensor("pert_id", ["drug-1", ""])),
        "Condition 1: pert_id: Field required",
    ),
    "an unknown input": (body(inputs=[tensor("dose", [1], "FP64")]), "There is no input 'dose'"),
    "an input twice": (body(inputs=[tensor("pert_id", ["a"])] * 2), "given twice"),
    "different lengths": (body(pert_time=tensor("pert_time", [24.0], "FP64")), "the same number"),
    "a shape that does not fit": (body(pert_time=tensor("pert_time", [1, 2], "FP64", shape=[3])), "2 values"),
    "two columns": (body(pert_time=tensor("pert_time", [1, 2], "FP64", shape=[1, 2])), "send [N] or [N, 1]"),
    "nothing": (body(inputs=[tensor("pert_id", []), tensor("cell_iname", [])]), "no condition"),
    "no inputs": ({"inputs": []}, "body.inputs"),
    "no body": ({}, "body.inputs"),
    "too many conditions": (body(pert_id=tensor("pert_id", ["drug-1"] * 257)), "256"),
    "an unknown output": (body(outputs=[{"name": "median"}]), "There is no output 'median'"),
    "binary data": (body(parameters={"binary_data_output": True}), "Binary tensors are not offered"),
    "a binary output": (body(outputs=[{"name": "mean", "parameters": {"binary_data": True}}]), "not offered"),
    "an unknown parameter": (body(parameters={"temperature": 1}), "'genes' is the only one"),
    "genes that are a list": (body(parameters={"genes": ["GENE1"]}), "is a text"),
    "an unknown gene": (body(parameters={"genes": "GENE111"}), "Nearest known: GENE11"),
    "a gene twice": (body(parameters={"genes": "GENE1,GENE1"}), "named twice"),
    "half a character": (body(pert_id=tensor("pert_id", ["drug\ud800", "x"])), "Condition 0: pert_id"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_predicted_fails_the_request_with_its_place_and_the_remedy(
    call: Call, name: str
) -> None:
    asked, words = BAD[name]
    answer = call("POST", INFER, content=json.dumps(asked).encode(), headers=JSON)
    assert words in error_of(answer)
    assert len(answer.content) < 3000


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"inputs":' + b"[" * 50_000])
def test_bytes_that_are_no_request_are_an_error(call: Call, content: bytes) -> None:
    error_of(call("POST", INFER, content=content, headers=JSON))


def test_unknown_models_and_versions_are_404_with_the_nearest(call: Call) -> None:
    assert "Nearest known: default" in error_of(call("GET", "/v2/models/defualt"), 404)
    for path in (
        "/v2/models/default/versions/9",
        "/v2/models/default@9/versions/9/ready",
    ):
        assert error_of(call("GET", path), 404)


class Busy:
    """A predictor that cannot take requests."""

    async def check(self) -> None:
        raise Unavailable("All replicas are busy.")


def test_a_server_that_is_not_ready_says_503_and_when_to_come_again(
    call_api: Callable[[FastAPI], Call], serve_config: ServeConfig
) -> None:
    services = Services(Busy(), analysis=None, screens=None, page=None)  # type: ignore[arg-type]
    answer = call_api(make_api(services, serve_config))("GET", "/v2/health/ready")
    assert "busy" in error_of(answer, 503)
    assert answer.headers["retry-after"] == "1"


def test_a_server_may_take_fewer_conditions_and_wants_a_key_where_it_has_keys(
    call_api: Callable[[FastAPI], Call], client: Any, serve_config: ServeConfig, tmp_path: Any
) -> None:
    services = Services(client, analysis=None, screens=None, page=None)  # type: ignore[arg-type]
    config = serve_config.model_copy(update={"limits": Limits(conditions=1)})
    assert "Send it in parts" in error_of(call_api(make_api(services, config))("POST", INFER, json=body()))
    keys = tmp_path / "keys.json"
    secret, key = new_key("Ada", ["screen"])
    change_keys(keys, lambda before: (*before, key), may_create=True)
    config = serve_config.model_copy(update={"access": AccessSettings(keys=keys)})
    guarded = call_api(make_api(services, config))
    assert guarded("POST", INFER, json=body()).status_code == 401
    assert guarded("GET", "/v2/health/live").status_code == 200
    refused = guarded("POST", INFER, json=body(), headers={"Authorization": f"Bearer {secret}"})
    assert "predict" in error_of(refused, 403)
