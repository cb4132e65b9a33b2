"""Nearest and opposite profiles: equal to the platform's, in a context or everywhere; the model's library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import analysis_toys as toys
import anyio
import httpx
import numpy as np
import pytest
from pertcast.analysis.neighbors import neighbors_of
from pertcast_serve.analysis.service import AnalysisService
from pertcast_serve.analysis.trained import training_conditions
from pertcast_serve.config import ServeConfig
from pertcast_serve.schemas.models import Vocabulary

N = toys.N
PLANTED = toys.PLANTED
GENES = toys.GENES
CONDITION = toys.CONDITION
profiles = toys.profiles
asked = toys.asked
refused = toys.refused
folder, call = toys.folder, toys.call

Call = Callable[..., httpx.Response]


class Counted:
    """A predictor that counts what it predicts and can pretend to be of another version."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.n_batches = 0
        self.version: str | None = None

    async def profiles(self, request: Any) -> Any:
        self.n_batches += 1
        return await self.inner.profiles(request)

    async def models(self) -> Any:
        found = await self.inner.models()
        return found if self.version is None else [found[0].model_copy(update={"version": self.version})]

    async def vocabulary(self, model: str | None) -> Any:
        return await self.inner.vocabulary(model)


@pytest.fixture(scope="module")
def counted(client: Any) -> Counted:
    return Counted(client)


@pytest.fixture(scope="module")
def bare(call_api: Any, serve_config: ServeConfig, counted: Counted) -> Call:
    """A server without libraries and gene sets."""
    return toys.called_with(call_api, serve_config, counted)


@pytest.mark.parametrize("everywhere", [False, True])
def test_neighbours_are_those_of_the_platform(call: Call, everywhere: bool) -> None:
    # The platform leaves one perturbation out everywhere; here, only in the same cell line and type.
    context = np.arange(N) // 64
    perturbation = np.arange(N) % 64 // 2 + 1000 * context
    among = np.arange(N if everywhere else 64)
    values = profiles()
    expected = neighbors_of(PLANTED, perturbation, lambda rows: values[rows], among=among, per_tail=7)
    stored = {"library": "first", "sig_id": f"S{PLANTED}"}
    found = asked(call, "neighbors", stored=stored, per_tail=7, everywhere=everywhere)
    nearest = [row for row in found["rows"] if row["tail"] == "nearest"]
    opposite = [row for row in found["rows"] if row["tail"] == "opposite"]
    assert [row["sig_id"] for row in nearest] == [f"S{row}" for row in expected.mimic_rows[0]]
    assert [row["sig_id"] for row in opposite] == [f"S{row}" for row in expected.reverse_rows[0]]
    np.testing.assert_allclose([row["cosine"] for row in nearest], expected.mimic_cosine[0], rtol=2e-6)
    np.testing.assert_allclose([row["cosine"] for row in opposite], expected.reverse_cosine[0], rtol=2e-6)
    assert found["n_searched"] == len(among) - 2 and "S21" not in [row["sig_id"] for row in found["rows"]]
    assert "2 profiles of the same perturbation in A549 left out." in found["remarks"]
    assert (opposite[0]["sig_id"] == "S100") is everywhere
    assert nearest[0]["seen_pert"] is (int(nearest[0]["sig_id"][1:]) % 3 == 0)


def test_a_given_profile_over_some_genes_is_compared_over_those_with_the_whole_library(call: Call) -> None:
    values = profiles()
    given = {"genes": [*GENES[:30], "OTHER"], "values": [*values[PLANTED, :30].tolist(), 5.0]}
    found = asked(call, "neighbors", profile=given, library="l1000", per_tail=3)
    part = values[:, :30] / np.linalg.norm(values[:, :30], axis=1, keepdims=True)
    cosine = part @ part[PLANTED]
    assert [row["sig_id"] for row in found["rows"][:3]] == [f"S{row}" for row in np.argsort(-cosine)[:3]]
    np.testing.assert_allclose([row["cosine"] for row in found["rows"][:3]], -np.sort(-cosine)[:3], rtol=1e-5)
    assert found["n_searched"] == N
    assert "30 genes are compared: the profile has 31, the library 60." in found["remarks"]
    few = {"genes": [*GENES[:4], "OTHER"], "values": [1.0, 2.0, 3.0, 4.0, 5.0]}
    assert "4 of its 5 genes" in refused(call, "neighbors", profile=few)["detail"]


def test_a_server_without_libraries_searches_one_made_of_its_model_once(bare: Call, counted: Counted) -> None:
    (described,) = bare("GET", "/v1/libraries").json()
    before = counted.n_batches
    found = asked(bare, "neighbors", condition=CONDITION, per_tail=100)
    made = counted.n_batches - before
    again = asked(bare, "neighbors", condition=CONDITION, per_tail=100)
    assert again == found and counted.n_batches - before == made + 1
    assert described["name"] == found["library"] == "trained" and described["model"].startswith("default@")
    names = counted.inner.service.predictor.space.perturbations
    assert described["n_profiles"] == 2 * len(names) and described["pert_types"] == ["trt_cp", "trt_xpr"]
    n_compounds = sum(name.startswith("drug") for name in names)
    assert (
        n_compounds > 8
        and found["n_searched"] == n_compounds - 1
        and {row["cell_iname"] for row in found["rows"]} == {"HT29"}
    )
    assert "drug-1" not in {row["pert_id"] for row in found["rows"]}
    assert any("predicted by its model" in remark for remark in found["remarks"])
    assert all(row["seen_pert"] for row in found["rows"])
    (now,) = bare("GET", "/v1/libraries").json()
    assert now == described


def test_another_version_of_the_model_makes_the_library_anew(bare: Call, counted: Counted) -> None:
    asked(bare, "neighbors", condition=CONDITION)
    before = counted.n_batches
    counted.version = "second"
    asked(bare, "neighbors", condition=CONDITION)
    counted.version = None
    assert counted.n_batches > before + 1


def test_everywhere_leaves_out_the_same_perturbation_in_its_own_context_only(bare: Call) -> None:
    genes = [f"GENE{number}" for number in range(24)]
    found = asked(bare, "neighbors", condition=CONDITION, everywhere=True, per_tail=100)
    own = [row["cell_iname"] for row in found["rows"] if row["pert_id"] == "drug-1"]
    assert own == ["A375"]
    signature = {"genes": genes, "values": [float(number % 7 - 3) for number in range(24)]}
    assert asked(bare, "connectivity", signature=signature)["library"] == "trained"


def test_a_context_that_the_library_lacks_is_refused_with_the_way_out(call: Call) -> None:
    problem = refused(call, "neighbors", condition=CONDITION)
    assert "no cell_iname 'HT29'" in problem["detail"] and "ask everywhere" in problem["detail"]


def test_a_condition_that_cannot_be_predicted_is_refused_with_the_nearest(call: Call) -> None:
    condition = {**CONDITION, "cell_iname": "HT92"}
    for subject in ("enrichment", "neighbors"):
        problem = refused(call, subject, condition=condition)
        assert "cell_iname" in problem["detail"] and "HT29" in problem["detail"]


def test_chosen_conditions_keep_every_cell_line_and_are_spread_over_the_perturbations() -> None:
    vocabulary = Vocabulary(
        genes=[],
        cell_lines=[f"L{number}" for number in range(10)],
        pert_types=["ctl_vehicle", "trt_cp", "trt_xpr"],
        compounds=[f"C{number}" for number in range(500)],
        smiles=[None] * 500,
        targets=[f"T{number}" for number in range(500)],
        doses=[0.1, 3.0, 20.0],
        times=[6.0, 24.0],
    )
    chosen = training_conditions(vocabulary, most=1000)
    assert len(chosen) == 1000 and len({each.cell_iname for each in chosen}) == 10
    assert {each.pert_id for each in chosen if each.cell_iname == "L0"} >= {"C0", "T499"}
    compounds = [each for each in chosen if each.pert_type == "trt_cp"]
    assert len(compounds) == 500 and {each.pert_dose for each in compounds} == {3.0}
    assert {each.pert_time for each in chosen} == {24.0}
    assert all(each.pert_dose is None for each in chosen if each.pert_type == "trt_xpr")
    assert len({each.cell_iname for each in training_conditions(vocabulary, most=100)}) == 2


def test_questions_that_arrive_together_make_the_library_of_the_model_once(
    serve_config: ServeConfig, counted: Counted
) -> None:
    service = AnalysisService(serve_config, counted)  # type: ignore[arg-type]
    before = counted.n_batches

    async def together() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(service._trained.get)

    anyio.run(together)
    assert counted.n_batches == before + 1
