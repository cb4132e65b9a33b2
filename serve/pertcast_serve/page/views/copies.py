"""What can be copied and downloaded of each view: curl, Python, the body of its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pertcast_serve.negotiation import CSV
from pertcast_serve.page.copied import ORIGIN, call_text, client_text, curl_text
from pertcast_serve.page.views.asked import Asked

BODY: Final = "{body}"
"""What the page's script puts the quoted body of the form in the place of."""
_ROWS: Final = 1000


def request_body(asked: Asked) -> dict[str, Any]:
    """Return the body of /v1/predict for a condition, without what it leaves to defaults."""
    body: dict[str, Any] = {} if asked.model is None else {"model": asked.model}
    return body | {"conditions": [condition_fields(asked)]}


def condition_fields(asked: Asked) -> dict[str, Any]:
    """Return the fields of a condition that are set; its type always is."""
    fields = asked.condition.model_dump(mode="json", exclude_defaults=True)
    return {"pert_id": asked.pert, "pert_type": asked.pert_type} | fields


def predict_curl(asked: Asked, is_open: bool) -> str:
    """Return a command that asks for the same prediction; with `is_open` it needs no key."""
    return curl_text(f"{ORIGIN}/v1/predict", needs_key=not is_open, body=request_body(asked))


def predict_python(asked: Asked, is_open: bool) -> str:
    """Return Python that asks for the same prediction."""
    model = "" if asked.model is None else f", model={asked.model!r}"
    call = f"found = client.predict([{condition_fields(asked)!r}]{model})"
    return client_text(f"{call}\nprint(found.table, found.mean)", needs_key=not is_open)


def connectivity_curl(body: Mapping[str, Any], is_open: bool) -> str:
    """Return a command that asks /v1/connectivity for the same."""
    return curl_text(f"{ORIGIN}/v1/connectivity", needs_key=not is_open, body=body)


def connectivity_python(body: Mapping[str, Any], is_open: bool) -> str:
    """Return Python that asks for the same as a body of /v1/connectivity."""
    given = dict(body)
    if "signature" in body:
        given["signature"] = dict(zip(body["signature"]["genes"], body["signature"]["values"], strict=True))
    if "stored" in body:
        given["stored"] = (body["stored"]["library"], body["stored"]["sig_id"])
    call = call_text("client.connectivity", **given)
    return client_text(f"found = {call}\nprint(found.table)", needs_key=not is_open)


def hits_curl(screen: str, is_open: bool) -> str:
    """Return a command that downloads the first hits of a screen as CSV."""
    address = f"{ORIGIN}/v1/screens/{screen}/hits?limit={_ROWS}"
    return curl_text(address, needs_key=not is_open, headers={"Accept": CSV})


def hits_python(screen: str, is_open: bool) -> str:
    """Return Python that reads all hits of a screen."""
    return client_text(f"hits = client.screen({screen!r}).hits()\nprint(hits)", needs_key=not is_open)


def submit_curl(is_open: bool) -> str:
    """Return a command that begins a screen, with `BODY` for the form's quoted body."""
    return curl_text(f"{ORIGIN}/v1/screens", needs_key=not is_open, body=BODY)


def submit_python(is_open: bool) -> str:
    """Return Python that begins a screen and waits for it, with `BODY` for the form's JSON as a string."""
    lines = [f"screen = client.submit(**json.loads({BODY}))", "screen.wait()", "print(screen.hits())"]
    return client_text("\n".join(lines), needs_key=not is_open, imports=["json"])


def model_curl(model: str, is_open: bool) -> str:
    """Return a command that asks for the card of name@version."""
    return curl_text(f"{ORIGIN}/v1/models/{model}", needs_key=not is_open)
