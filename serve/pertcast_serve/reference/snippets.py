"""What can be copied for an operation: a curl command, and Python, which calls the client where it can."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from pertcast_serve.page.copied import KEY_VARIABLE, client_text, curl_text
from pertcast_serve.reference.examples import ExampleNames

_LINE: Final = " \\\n  "


def command_text(method: str, address: str, body: dict[str, Any] | None, needs_key: bool) -> str:
    """Return a curl command that sends a request, a header a line."""
    options = ["--head"] if method == "head" else []
    if address.endswith("/events"):
        options.append("-N")
    is_usual = method in ("get", "head") or (method == "post" and body is not None)
    is_screen = method == "post" and address.endswith("/v1/screens")
    return curl_text(
        address,
        needs_key=needs_key,
        method="" if is_usual else method,
        body=body,
        headers={"Idempotency-Key": "my-first-screen"} if is_screen else None,
        options=options,
        between=_LINE,
    )


def python_text(
    method: str,
    path: str,
    address: str,
    origin: str,
    body: dict[str, Any] | None,
    names: ExampleNames,
    needs_key: bool,
) -> str:
    """Return Python that asks for the same; with httpx where the client has no function for it."""
    call = _CALLS.get((method, path))
    if call is None:
        return _httpx_text(method, address, body, needs_key)
    return client_text(call(names), needs_key=needs_key, origin=origin)


def _httpx_text(method: str, address: str, body: dict[str, Any] | None, needs_key: bool) -> str:
    given = [json.dumps(address)]
    if needs_key:
        given.append(f'headers={{"Authorization": "Bearer " + os.environ["{KEY_VARIABLE}"]}}')
    if body is not None:
        given.append(f"json={body!r}")
    imports = "import os\n\nimport httpx" if needs_key else "import httpx"
    called = f"answer = httpx.{method}({', '.join(given)})"
    return f"{imports}\n\n{called}\nprint(answer.status_code, answer.text)\n"


def _enrichment(names: ExampleNames) -> str:
    sets = f"sets={{'MY_SET': {list(names.genes)!r}}}"
    if names.gene_sets is not None:
        sets = f"gene_sets={names.gene_sets!r}"
    return f"found = client.enrichment({names.condition!r}, {sets})\nprint(found.table)"


def _connectivity(names: ExampleNames) -> str:
    up, down = names.sides
    asked = f"{up!r}, {down!r}, library={names.library!r}, per_tail=10"
    return f"found = client.connectivity({asked})\nprint(found.table)"


def _of_screen(line: str) -> Callable[[ExampleNames], str]:
    return lambda names: f'screen = client.screen("SCREEN_ID")\n{line}'


_CALLS: Final[dict[tuple[str, str], Callable[[ExampleNames], str]]] = {
    ("post", "/v1/predict"): lambda names: (
        f"found = client.predict([{names.condition!r}])\nprint(found.mean, found.table, found.errors)"
    ),
    ("post", "/v1/enrichment"): _enrichment,
    ("post", "/v1/connectivity"): _connectivity,
    ("post", "/v1/neighbors"): lambda names: (
        f"found = client.neighbors({names.condition!r}, library={names.library!r})\nprint(found.table)"
    ),
    ("get", "/v1/gene_sets"): lambda names: "print(client.gene_sets())",
    ("get", "/v1/libraries"): lambda names: "print(client.libraries())",
    ("post", "/v1/screens"): lambda names: (
        f'screen = client.submit("table", rows=[{names.condition!r}], title="one condition")\n'
        "screen.wait(progress=lambda state: print(state.n_done, state.n_profiles))\nprint(screen.hits())"
    ),
    ("post", "/v1/screens/estimate"): lambda names: (
        f'print(client.estimate("table", rows=[{names.condition!r}]))'
    ),
    ("get", "/v1/screens"): lambda names: "print(client.screens())",
    ("get", "/v1/screens/{id}"): _of_screen("print(screen.state())"),
    ("delete", "/v1/screens/{id}"): _of_screen("screen.cancel()"),
    ("get", "/v1/screens/{id}/events"): _of_screen(
        "screen.wait(progress=lambda state: print(state.n_done, state.n_profiles))"
    ),
    ("get", "/v1/screens/{id}/hits"): _of_screen("print(screen.hits(100, only_hits=True))"),
    ("get", "/v1/screens/{id}/profiles/{sig_id}"): _of_screen('print(screen.profile("SIG_ID"))'),
    ("get", "/v1/screens/{id}/artifacts"): _of_screen("print(screen.artifacts())"),
    ("get", "/v1/screens/{id}/artifacts/{name}"): _of_screen('screen.download("hits.csv", ".")'),
    ("get", "/v1/metadata"): lambda names: (
        "metadata = client.metadata()\nprint(metadata.model, metadata.limits)"
    ),
    ("get", "/v1/models"): lambda names: "print(client.models())",
    ("get", "/v1/models/{id}"): lambda names: f"print(client.model({names.model!r}))",
    ("get", "/v1/genes"): lambda names: f"print(client.genes({(names.genes or ('',))[0]!r}))",
    ("get", "/v1/compounds"): lambda names: f"print(client.compounds({names.pert_id!r}))",
    ("get", "/v1/cell_lines"): lambda names: "print(client.cell_lines())",
    ("get", "/v1/version"): lambda names: "print(client.version())",
    ("get", "/v1/health/ready"): lambda names: "print(client.is_ready())",
}
