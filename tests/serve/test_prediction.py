"""A bundle answers batches of requests as if each came alone, with the numbers of the offline predictor."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pertcast.models.batch import ConditionBatch, Prediction
from pertcast.predictor import PredictedConditions, Predictor
from pertcast_serve.negotiation import ARROW, CSV, PARQUET
from pertcast_serve.prediction.answers import Answer, json_numbers
from pertcast_serve.prediction.service import BundleService
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.predict import PredictRequest, PredictResponse


@pytest.fixture(scope="module")
def service(tiny_bundle: Path) -> BundleService:
    return BundleService(Predictor.from_bundle(tiny_bundle), rows_per_pass=(8,))


@pytest.fixture(scope="module")
def bucketed(tiny_bundle: Path) -> BundleService:
    return BundleService(Predictor.from_bundle(tiny_bundle))


def request_of(*names: str, genes: list[str] | None = None, **common: Any) -> PredictRequest:
    given = {"cell_iname": "A375", "pert_dose": 10.0, "pert_time": 24.0, **common}
    return PredictRequest.model_validate(
        {"conditions": [{"pert_id": name, **given} for name in names], "genes": genes}
    )


def parsed(answer: Answer | Problem) -> PredictResponse:
    assert isinstance(answer, Answer)
    return PredictResponse.model_validate_json(answer.to_json())


def offline(service: BundleService, names: list[str]) -> PredictedConditions:
    table = pl.DataFrame(
        {
            "cell_iname": "A375",
            "pert_type": "trt_cp",
            "pert_id": names,
            "pert_dose": 10.0,
            "pert_time": 24.0,
        }
    )
    return service.predictor.predict(table, batch_size=service.rows_per_pass[0])


def test_answers_equal_offline_predictions_bit_by_bit_whatever_they_are_batched_with(
    service: BundleService,
) -> None:
    names = [f"drug-{i}" for i in range(12)]
    together = service.answer([request_of(*names), request_of("drug-3"), request_of(*names[:5])])
    expected = offline(service, names)
    assert expected.sd is not None
    for answer, rows in zip(together, (range(12), [3], range(5)), strict=True):
        body = parsed(answer)
        assert np.array_equal(np.float32(body.mean), expected.mean[list(rows)].ravel())
        assert np.array_equal(np.float32(body.sd), expected.sd[list(rows)].ravel())
    assert np.abs(expected.mean).max() > 0


def test_chosen_genes_come_in_the_order_they_were_asked_for(service: BundleService) -> None:
    whole = parsed(service.answer([request_of("drug-1", "drug-2")])[0])
    chosen = parsed(service.answer([request_of("drug-1", "drug-2", genes=["GENE7", "GENE0"])])[0])
    assert (whole.n_genes, chosen.n_genes) == (24, 2)
    assert whole.genes is None
    assert chosen.genes == ["GENE7", "GENE0"]
    assert chosen.mean == [whole.mean[i] for i in (7, 0, 24 + 7, 24)]


def test_units_are_converted(service: BundleService) -> None:
    ours = request_of("drug-1")
    theirs = request_of("drug-1", pert_dose=1e4, pert_dose_unit="nM", pert_time=1.0, pert_time_unit="d")
    first, second = map(parsed, service.answer([ours, theirs]))
    assert first.mean == second.mean
    assert first.items[0].sig_id == second.items[0].sig_id == "A375|trt_cp|drug-1|10|24"


def test_a_bad_condition_is_listed_with_its_place_and_the_nearest_names_and_the_others_are_answered(
    service: BundleService,
) -> None:
    body = parsed(service.answer([request_of("drug-1"), request_of("drug-1", "drog-2", "drug-3")])[1])
    assert [item.index for item in body.items] == [0, 2]
    assert len(body.mean) == 2 * body.n_genes
    (error,) = body.errors
    assert (error.index, error.field, error.value) == (1, "pert_id", "drog-2")
    assert error.suggestions[0] == "drug-2"
    assert "canonical_smiles" in error.message


@pytest.mark.parametrize(
    ("changes", "field", "suggestion"),
    [
        ({"cell_iname": "A357"}, "cell_iname", "A375"),
        ({"pert_type": "trt_xpr", "pert_id": "GENEE1"}, "pert_id", "GENE1"),
        ({"pert_dose_unit": "uMol"}, "pert_dose_unit", "um"),
        ({"pert_time_unit": "fortnight"}, "pert_time_unit", None),
        ({"pert_type": "trt_ops"}, "pert_type", "trt_cp"),
        ({"pert_id": "new", "canonical_smiles": "C1CC"}, "canonical_smiles", None),
        ({"cell_iname": "   "}, "cell_iname", None),
        ({"pert_id": "   "}, "pert_id", None),
    ],
)
def test_what_is_not_known_is_named_and_never_guessed(
    service: BundleService, changes: dict[str, Any], field: str, suggestion: str | None
) -> None:
    condition = {"cell_iname": "A375", "pert_id": "drug-1", "pert_dose": 1.0, "pert_time": 24.0, **changes}
    body = parsed(service.answer([PredictRequest.model_validate({"conditions": [condition]})])[0])
    assert (body.items, body.mean) == ([], [])
    (error,) = body.errors
    assert error.field == field
    assert error.message
    assert suggestion is None or suggestion in error.suggestions


def test_a_new_compound_with_a_structure_is_answered_and_flagged(service: BundleService) -> None:
    new = parsed(service.answer([request_of("new", canonical_smiles="CCCCCCBr")])[0])
    old = parsed(service.answer([request_of("drug-1")])[0])
    assert (new.items[0].seen_pert, old.items[0].seen_pert) == (False, True)
    assert new.items[0].nn_train_dist > old.items[0].nn_train_dist == 0


def test_a_request_for_an_unknown_gene_is_refused_alone(service: BundleService) -> None:
    answers = service.answer([request_of("drug-1", genes=["GENE1", "GENE99"]), request_of("drug-1")])
    assert isinstance(answers[0], Problem)
    assert answers[0].status == 422
    assert "'GENE99'" in answers[0].detail
    assert "GENE9" in answers[0].detail
    assert len(parsed(answers[1]).items) == 1


def test_requests_that_are_all_refused_are_answered_without_a_prediction(service: BundleService) -> None:
    answers = service.answer([request_of("drug-1", genes=["X"]), request_of("drug-1", genes=["Y"])])
    assert [isinstance(answer, Problem) for answer in answers] == [True, True]


def test_a_prediction_that_is_no_finite_number_is_an_error_of_its_condition(
    service: BundleService, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = service.predictor.predict_encoded

    def broken(*given: Any, **options: Any) -> Prediction:
        found = predict(*given, **options)
        found.mean.numpy()[1, 3] = np.nan
        return found

    monkeypatch.setattr(service.predictor, "predict_encoded", broken)
    body = parsed(service.answer([request_of("drug-1", "drug-2", "drug-3")])[0])
    assert [item.index for item in body.items] == [0, 2]
    assert [(error.index, error.field) for error in body.errors] == [(1, "prediction")]


def test_numbers_are_written_with_the_fewest_digits_that_give_the_same_float32() -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    values = bits[np.isfinite(bits)]
    written = json_numbers(values).decode()
    read = np.array(json.loads(written), np.float64)
    assert np.array_equal(read.astype(np.float32), values)
    assert json_numbers(np.float32([[0.1, -2.5], [1e-7, 0.0]])) == b"[0.1,-2.5,1e-7,0]"
    assert json_numbers(np.zeros((0, 3), np.float32)) == b"[]"


@pytest.mark.parametrize(
    ("count", "size"), [(1, 1), (2, 8), (8, 8), (9, 32), (24, 32), (33, 128), (129, 128), (256, 128)]
)
def test_a_pass_has_the_smallest_size_that_holds_its_rows_and_equals_the_offline_one_of_that_size(
    bucketed: BundleService, count: int, size: int
) -> None:
    names = [f"drug-{i % 12}" for i in range(count)]
    body = parsed(bucketed.answer([request_of(*names)])[0])
    assert body.rows_per_pass == size
    table = pl.DataFrame(
        {"cell_iname": "A375", "pert_type": "trt_cp", "pert_id": names[:12], "pert_dose": 10.0}
    )
    table = table.with_columns(pert_time=pl.lit(24.0))
    expected = bucketed.predictor.predict(table, batch_size=size)
    rows = [i % 12 for i in range(count)]
    assert np.array_equal(np.float32(body.mean), expected.mean[rows].ravel())


def test_requests_of_one_batch_share_a_pass(bucketed: BundleService, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    predict = bucketed.predictor.predict_encoded

    def counted(conditions: ConditionBatch, *given: Any, **options: Any) -> Prediction:
        sizes.append((len(conditions), options["batch_size"]))
        return predict(conditions, *given, **options)

    monkeypatch.setattr(bucketed.predictor, "predict_encoded", counted)
    answers = bucketed.answer([request_of("drug-1"), request_of("drug-2", "drug-3"), request_of("drug-1")])
    assert sizes == [(4, 8)]
    assert {parsed(answer).rows_per_pass for answer in answers} == {8}


KINDS = (
    {"pert_id": "drug-1", "pert_dose": 10.0, "pert_time": 24.0},
    {"pert_id": "drug-1", "pert_dose": 1e4, "pert_dose_unit": "nM", "pert_time": 1.0, "pert_time_unit": "d"},
    {"pert_id": "drug-1+drug-2", "pert_dose": 1.0},
    {"pert_id": "new", "canonical_smiles": "CCCCCCBr"},
    {"pert_id": "GENE3", "pert_type": "trt_xpr"},
    {"pert_id": "GENE3+GENE20", "pert_type": "trt_xpr", "pert_time": 24.0},
    {"pert_id": "DMSO", "pert_type": "ctl_vehicle"},
    {"pert_id": "drog-2"},
)


def test_remembered_conditions_are_answered_with_the_same_bytes(tiny_bundle: Path) -> None:
    predictor = Predictor.from_bundle(tiny_bundle)
    conditions = [{"cell_iname": line, **kind} for kind in KINDS for line in ("HT29", "A375", "nowhere")]
    whole = PredictRequest.model_validate({"conditions": conditions})
    reversed_half = PredictRequest.model_validate({"conditions": conditions[::-2]})
    forgetful = BundleService(predictor, cached_conditions=0)
    remembering = BundleService(predictor, cached_conditions=100)
    small = BundleService(predictor, cached_conditions=5)
    for request in (whole, reversed_half, whole):
        expected = parsed(forgetful.answer([request])[0])
        assert expected.items and expected.errors
        for service in (remembering, small):
            assert parsed(service.answer([request])[0]) == expected


def test_a_remembered_condition_is_not_encoded_again_and_the_oldest_are_forgotten(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor.from_bundle(tiny_bundle)
    service = BundleService(predictor, cached_conditions=2)
    encoded: list[list[str]] = []
    encode = predictor.encoder.encode_table

    def counted(table: pl.DataFrame) -> Any:
        encoded.append(table["pert_id"].to_list())
        return encode(table)

    monkeypatch.setattr(predictor.encoder, "encode_table", counted)
    for names in (["drug-1", "drug-2"], ["drug-1"], ["drug-3"], ["drug-1"], ["drug-2"]):
        service.answer([request_of(*names)])
    assert encoded == [["drug-1", "drug-2"], ["drug-3"], ["drug-2"]]


def test_a_condition_named_twice_in_one_request_is_answered_twice(service: BundleService) -> None:
    body = parsed(service.answer([request_of("drug-1", "drug-1", "drog-2", "drog-2")])[0])
    assert [item.index for item in body.items] == [0, 1]
    assert [error.index for error in body.errors] == [2, 3]
    assert body.mean[:24] == body.mean[24:]


def test_tables_hold_the_numbers_of_the_json_answer(service: BundleService) -> None:
    answer = service.answer([request_of("drug-1", "drog-2", "drug-3")])[0]
    body = parsed(answer)
    assert isinstance(answer, Answer)
    arrow, parquet, text = (answer.body(media_type) for media_type in (ARROW, PARQUET, CSV))
    assert {arrow.n_errors, parquet.n_errors, text.n_errors} == {1}
    streamed = pa.ipc.open_stream(arrow).read_all()
    genes = streamed.schema.metadata[b"genes"].decode().split("\n")
    assert genes == service.genes
    assert json.loads(streamed.schema.metadata[b"head"])["errors"][0]["value"] == "drog-2"
    for table in (pl.from_arrow(streamed), pl.read_parquet(io.BytesIO(parquet))):
        assert isinstance(table, pl.DataFrame)
        assert table["index"].to_list() == [0, 2]
        assert table["sig_id"].to_list() == [item.sig_id for item in body.items]
        for name, flat in (("mean", body.mean), ("sd", body.sd)):
            assert np.array_equal(np.float32(table[name].to_list()).ravel(), np.float32(flat))
    wide = pl.read_csv(io.BytesIO(text), infer_schema_length=None)
    assert wide["is_in_domain"].to_list() == [item.is_in_domain for item in body.items]
    assert np.array_equal(wide.select(genes).to_numpy().astype(np.float32).ravel(), np.float32(body.mean))
    spread = wide.select(f"{gene}.sd" for gene in genes).to_numpy().astype(np.float32)
    assert np.array_equal(spread.ravel(), np.float32(body.sd))


def test_a_table_without_rows_has_its_columns_still(service: BundleService) -> None:
    answer = service.answer([request_of("drog-2", genes=["GENE1"])])[0]
    assert isinstance(answer, Answer)
    assert pl.read_csv(io.BytesIO(answer.body(CSV))).columns[-2:] == ["is_in_domain", "GENE1"]
    assert pl.read_parquet(io.BytesIO(answer.body(PARQUET))).height == 0
