"""Requests that are generated from the OpenAPI document: no failure, no answer that it does not describe."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import live_toys as live
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from pertcast_serve.access.keys import change_keys, new_key
from pertcast_serve.config import AccessSettings, Limits
from pertcast_serve.reference.examples import ExampleNames, example_body
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.acceptance

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
]
ACCEPTED = (
    "*/*",
    "application/json",
    "text/csv",
    "application/vnd.apache.arrow.stream",
    "image/png",
    "a;q=x",
)


NAMES = ExampleNames(
    cell_iname="HT29",
    pert_id="drug-1",
    pert_type="trt_cp",
    pert_dose=10.0,
    pert_time=24.0,
    genes=tuple(f"GENE{number}" for number in range(20)),
    library="trained",
)


def known_of(screen: str) -> dict[str, str]:
    """Return values of path parameters that exist."""
    return {"id": screen, "name": "hits.csv", "sig_id": "HT29|trt_cp|drug-1|10|24", "model": "default"}


@dataclass
class Attack:
    """What is sent, and what came of it.

    Attributes
    ----------
    url, headers
        The server, and what every request carries.
    known
        Values of path parameters that exist; half of the requests name these.
    names
        Of bodies that are answered; half of the bodies are such a one with one field of a generated one.
    examples
        Requests of each operation, lawful and unlawful ones each.
    statuses
        Operation -> statuses that were seen.
    faults
        Answers that are not as described.
    """

    url: str
    headers: Mapping[str, str]
    known: Mapping[str, str]
    names: ExampleNames
    examples: int = 20
    statuses: dict[str, set[int]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def send(self, case: Any, is_known: bool, accept: str) -> None:
        """Send one request and note what is wrong with its answer."""
        if is_known:
            self._make_known(case)
        headers = {**self.headers, "Accept": accept}
        response = case.call(base_url=self.url, headers=headers, timeout=20)
        self.statuses.setdefault(case.operation.label, set()).add(response.status_code)
        try:
            case.validate_response(response, checks=CHECKS)
        except (Failure, FailureGroup) as failure:
            self.faults.append(f"{case.operation.label}: {failure}"[:1500])

    def _make_known(self, case: Any) -> None:
        for name in (case.path_parameters or {}).keys() & self.known.keys():
            is_model = case.path == "/v1/models/{id}"
            case.path_parameters[name] = self.names.model if is_model else self.known[name]
        known = example_body(case.path, self.names)
        if known is not None and isinstance(case.body, dict) and "session" not in case.path:
            changed = sorted(case.body, key=str)[:1]
            case.body = known | {name: case.body[name] for name in changed}

    def run(self, schema: Any) -> None:
        """Attack every operation with lawful and unlawful requests."""
        for result in schema.get_all_operations():
            operation = result.ok()
            for mode in GenerationMode:
                try:
                    self._fuzz(operation, mode)
                except Unsatisfiable:
                    # Where an operation takes nothing, nothing about it can be unlawful.
                    assert mode is GenerationMode.NEGATIVE, operation.label

    def _fuzz(self, operation: Any, mode: GenerationMode) -> None:
        @settings(
            max_examples=self.examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(
            case=operation.as_strategy(generation_mode=mode),
            is_known=st.booleans(),
            accept=st.sampled_from(ACCEPTED),
        )
        def probe(case: Any, is_known: bool, accept: str) -> None:
            self.send(case, is_known, accept)

        probe()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacked")


@pytest.fixture(scope="module")
def screen(folder: Path, tiny_bundle: Path) -> str:
    """A finished screen of the folder."""
    rows = [{"pert_id": "drug-1"}, {"pert_id": "drug-2"}]
    config = live.config_of(tiny_bundle, folder)
    return live.finish_screen(config, tiny_bundle, rows=rows, pert_dose=[10.0], pert_time=[24.0])


@pytest.fixture(params=["open", "with keys"])
def attack(
    request: pytest.FixtureRequest, folder: Path, screen: str, tiny_bundle: Path
) -> Iterator[tuple[Attack, Any]]:
    """A server that needs no key, or one whose callers have a key of all scopes."""
    headers: dict[str, str] = {}
    access = AccessSettings()
    if request.param == "with keys":
        secret, key = new_key("Ada", ["predict", "screen", "admin"])
        change_keys(folder / "keys.json", lambda before: (*before, key), may_create=True)
        headers = {"Authorization": f"Bearer {secret}"}
        access = AccessSettings(keys=folder / "keys.json")
    config = live.config_of(tiny_bundle, folder, limits=Limits(running_screens=3), access=access)
    # Without others, the library is that of the training, whose genes are the model's.
    config = config.model_copy(update={"libraries": {}})
    api = live.whole_api(config, tiny_bundle, live.StillJobs())[0]
    with live.served(api) as server:
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        yield Attack(server.url, headers, known_of(screen), NAMES, 20 if not headers else 5), schema


def test_generated_requests_never_fail_the_server_and_are_answered_as_documented(
    attack: tuple[Attack, Any],
) -> None:
    sent, schema = attack
    began = time.process_time()
    sent.run(schema)
    print(f"{time.process_time() - began:.0f} s CPU; {len(sent.statuses)} operations")
    for label, statuses in sorted(sent.statuses.items()):
        print(label, sorted(statuses))
    assert not sent.faults, "\n\n".join([f"{len(sent.faults)} faults", *sent.faults[:30]])
    assert len(sent.statuses) == schema.statistic.operations.total
    assert time.process_time() - began < 90


def test_without_a_key_generated_requests_are_refused(folder: Path, screen: str, tiny_bundle: Path) -> None:
    _, key = new_key("Bert", ["predict"])
    change_keys(folder / "others.json", lambda before: (*before, key), may_create=True)
    access = AccessSettings(keys=folder / "others.json")
    api = live.whole_api(live.config_of(tiny_bundle, folder, access=access), tiny_bundle, live.StillJobs())[0]
    with live.served(api) as server:
        sent = Attack(server.url, {"Authorization": "Bearer pc_0_0"}, known_of(screen), NAMES, 3)
        sent.run(schemathesis.openapi.from_url(f"{server.url}/openapi.json"))
    assert not sent.faults, "\n\n".join(sent.faults[:30])
    for label, statuses in sent.statuses.items():
        path = label.split(" ")[1]
        if not path.startswith(("/v1/health", "/v2/health", "/v1/version", "/v1/session")):
            assert statuses == {401}, label
