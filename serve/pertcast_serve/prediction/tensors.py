"""Conditions out of tensors, and predictions as tensors, as the Open Inference Protocol sends them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pertcast_data.errors import nearest_sentence
from pydantic import ValidationError

from pertcast_serve.prediction.answers import json_numbers
from pertcast_serve.schemas.inference import Datatype, InferInput, InferRequest, TensorMetadata
from pertcast_serve.schemas.predict import Condition, ItemError, PredictRequest
from pertcast_serve.services import PredictedProfiles

TEXTS: Final = (
    "cell_iname",
    "pert_id",
    "pert_type",
    "canonical_smiles",
    "pert_dose_unit",
    "pert_time_unit",
)
NUMBERS: Final = ("pert_dose", "pert_time")
NEEDED: Final = ("cell_iname", "pert_id")
OUTPUTS: Final[dict[str, Datatype]] = {
    "mean": "FP32",
    "sd": "FP32",
    "sig_id": "BYTES",
    "is_in_domain": "BOOL",
    "genes": "BYTES",
}
USUAL: Final = ("mean", "sd", "sig_id", "is_in_domain")
_BINARY: Final = ("binary_data", "binary_data_size", "binary_data_output")


class BadTensors(Exception):
    """A request that is lawful JSON, but does not say conditions; the text says what to change."""


def input_tensors() -> list[TensorMetadata]:
    """Return the inputs that a model takes."""
    named: list[tuple[str, Datatype]] = [(name, "BYTES") for name in TEXTS]
    named += [(name, "FP64") for name in NUMBERS]
    return [TensorMetadata(name=name, datatype=datatype, shape=[-1]) for name, datatype in named]


def output_tensors(n_genes: int) -> list[TensorMetadata]:
    """Return the outputs that a model of `n_genes` gives; `sd` is left out where it has none."""
    shapes = {"mean": [-1, n_genes], "sd": [-1, n_genes], "genes": [n_genes]}
    return [
        TensorMetadata(name=name, datatype=datatype, shape=shapes.get(name, [-1]))
        for name, datatype in OUTPUTS.items()
    ]


def predict_request(request: InferRequest, model: str) -> PredictRequest:
    """Return what tensors ask for; raises BadTensors."""
    _require_json(request)
    columns: dict[str, list[Any]] = {}
    for tensor in request.inputs:
        if tensor.name in columns:
            raise BadTensors(f"Input {tensor.name!r} is given twice; give each tensor once.")
        columns[tensor.name] = _values(tensor)
    for name in NEEDED:
        if name not in columns:
            raise BadTensors(f"Input {name!r} is missing; it is needed for every condition.")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise BadTensors(f"Inputs have {lengths} conditions; give all the same number.")
    rows = [
        {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        for values in zip(*columns.values(), strict=True)
    ]
    if not rows:
        raise BadTensors("There is no condition: the inputs are empty. Give at least one.")
    conditions = [_condition(number, row) for number, row in enumerate(rows)]
    try:
        return PredictRequest(model=model, conditions=conditions, genes=_genes(request))
    except ValidationError as error:
        raise BadTensors(_first_words(error)) from error


def wanted_outputs(request: InferRequest, has_sd: bool) -> list[str]:
    """Return the names of the outputs to send, in order; raises BadTensors."""
    if request.outputs is None:
        return [name for name in USUAL if name != "sd" or has_sd]
    names = [each.name for each in request.outputs]
    for name in names:
        if name not in OUTPUTS:
            raise BadTensors(f"There is no output {name[:100]!r}; ask for {', '.join(OUTPUTS)}.")
        if name == "sd" and not has_sd:
            raise BadTensors("This model predicts no spread; leave output 'sd' out.")
    return list(dict.fromkeys(names))


def failed_row(error: ItemError) -> str:
    """Return why a condition cannot be predicted, with its row and the remedy."""
    near = nearest_sentence(error.suggestions)
    return (
        f"Condition {error.index}, {error.field} {error.value!r}: {error.message}{near} This protocol has no "
        "errors of single conditions; leave it out, or ask /v1/predict, which answers the others."
    )


def infer_body(request: InferRequest, found: PredictedProfiles, outputs: Sequence[str]) -> bytes:
    """Return the body that `schemas.inference.InferResponse` describes."""
    name, _, version = found.head.model.partition("@")
    head = {
        "model_name": name,
        "model_version": version,
        "id": request.id,
        "parameters": {
            "bundle": found.head.bundle,
            "gene_space": found.head.gene_space,
            "rows_per_pass": found.head.rows_per_pass,
        },
    }
    tensors = b",".join(_tensor(output, found) for output in outputs)
    return b"".join((json.dumps(head).encode().removesuffix(b"}"), b',"outputs":[', tensors, b"]}"))


def _tensor(name: str, found: PredictedProfiles) -> bytes:
    items = found.head.items
    shape = [len(items)]
    if name == "mean":
        shape, data = list(found.mean.shape), json_numbers(found.mean)
    elif name == "sd":
        assert found.sd is not None
        shape, data = list(found.sd.shape), json_numbers(found.sd)
    elif name == "genes":
        shape, data = [len(found.genes)], json.dumps(found.genes).encode()
    elif name == "sig_id":
        data = json.dumps([item.sig_id for item in items]).encode()
    else:
        data = json.dumps([item.is_in_domain for item in items]).encode()
    head = json.dumps({"name": name, "shape": shape, "datatype": OUTPUTS[name]}).encode()
    return b"".join((head.removesuffix(b"}"), b',"data":', data, b"}"))


def _require_json(request: InferRequest) -> None:
    """Raise BadTensors for what extensions that we do not offer would ask, and for unknown parameters."""
    for parameters in (
        request.parameters,
        *(each.parameters for each in (*request.inputs, *(request.outputs or ()))),
    ):
        for name in _BINARY:
            if parameters.get(name):
                raise BadTensors(
                    f"Binary tensors are not offered ({name}): /v2 lists no extension. Send and ask for JSON."
                )
    for name in request.parameters:
        if name != "genes" and name not in _BINARY:
            raise BadTensors(f"There is no parameter {name[:100]!r}; 'genes' is the only one.")


def _genes(request: InferRequest) -> list[str] | None:
    genes = request.parameters.get("genes")
    if genes is None:
        return None
    if not isinstance(genes, str):
        raise BadTensors("Parameter 'genes' is a text: names joined by ','.")
    return [name.strip() for name in genes.split(",")]


def _values(tensor: InferInput) -> list[Any]:
    """Return one value a condition, None where it is missing."""
    is_text = tensor.name in TEXTS
    if not is_text and tensor.name not in NUMBERS:
        raise BadTensors(f"There is no input {tensor.name[:100]!r}; give {', '.join((*TEXTS, *NUMBERS))}.")
    allowed = ("BYTES",) if is_text else ("FP64", "FP32")
    if tensor.datatype not in allowed:
        raise BadTensors(
            f"Input {tensor.name!r} has datatype {tensor.datatype!r}; send {' or '.join(allowed)}."
        )
    if len(tensor.shape) == 2 and tensor.shape[1] != 1:
        raise BadTensors(f"Input {tensor.name!r} has shape {tensor.shape}; send [N] or [N, 1].")
    values = list(_flat(tensor))
    if len(values) != tensor.shape[0]:
        raise BadTensors(f"Input {tensor.name!r} has shape {tensor.shape} and {len(values)} values.")
    return [_value(tensor.name, row, value, is_text) for row, value in enumerate(values)]


def _flat(tensor: InferInput) -> Iterator[Any]:
    """Yield values that are given flat, or row by row as the shape says."""
    for value in tensor.data:
        if isinstance(value, list) and len(tensor.shape) == 2 and len(value) == 1:
            yield value[0]
        else:
            yield value


def _value(name: str, row: int, value: Any, is_text: bool) -> Any:
    if is_text and isinstance(value, str):
        return value or None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_text and (value is None or is_number):
        return None if value is None or _is_nan(value) else value
    kind = "text" if is_text else "a number"
    raise BadTensors(f"Input {name!r}, row {row}: give {kind}, one a condition.")


def _is_nan(value: float) -> bool:
    # A whole number may be too large for math.isnan.
    return value != value


def _condition(number: int, row: dict[str, Any]) -> Condition:
    try:
        return Condition.model_validate(row)
    except ValidationError as error:
        raise BadTensors(f"Condition {number}: {_first_words(error)}") from error


def _first_words(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}." if field else f"{first['msg']}."
