"""What can be copied and downloaded of a condition: curl, Python, the body of its request.

`{origin}` in a text becomes the server's address in the browser, which alone knows it.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from pertcast_serve.page.views.asked import Asked


def request_body(asked: Asked) -> dict[str, Any]:
    """Return the body of /v1/predict for a condition, without what it leaves to defaults."""
    body: dict[str, Any] = {} if asked.model is None else {"model": asked.model}
    return body | {"conditions": [condition_fields(asked)]}


def condition_fields(asked: Asked) -> dict[str, Any]:
    """Return the fields of a condition that are set; its type always is."""
    fields = asked.condition.model_dump(mode="json", exclude_defaults=True)
    return {"pert_id": asked.pert, "pert_type": asked.pert_type} | fields


def curl_text(asked: Asked, is_open: bool) -> str:
    """Return a command that asks for the same prediction; with `is_open` it needs no key."""
    key = "" if is_open else ' -H "Authorization: Bearer $PERTCAST_KEY"'
    body = shlex.quote(json.dumps(request_body(asked)))
    return f"curl -s {{origin}}/v1/predict{key} -H 'Content-Type: application/json' -d {body}"


def python_text(asked: Asked, is_open: bool) -> str:
    """Return Python that asks for the same prediction."""
    key = "" if is_open else ', os.environ["PERTCAST_KEY"]'
    model = "" if asked.model is None else f", model={asked.model!r}"
    lines = [
        *([] if is_open else ["import os", ""]),
        "from pertcast_serve.client import Client",
        "",
        f'client = Client("{{origin}}"{key})',
        f"predicted = client.predict([{condition_fields(asked)!r}]{model})",
        "",
    ]
    return "\n".join(lines)
