"""What can be copied of a search with a signature: curl and Python.

`{origin}` in a text becomes the server's address in the browser, which alone knows it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any


def curl_text(body: Mapping[str, Any], is_open: bool) -> str:
    """Return a command that asks /v1/connectivity for the same; with `is_open` it needs no key."""
    key = "" if is_open else ' -H "Authorization: Bearer $PERTCAST_KEY"'
    sent = shlex.quote(json.dumps(body))
    return f"curl -s {{origin}}/v1/connectivity{key} -H 'Content-Type: application/json' -d {sent}"


def python_text(body: Mapping[str, Any], is_open: bool) -> str:
    """Return Python that asks for the same, with the standard library alone."""
    key = "" if is_open else ', "Authorization": "Bearer " + os.environ["PERTCAST_KEY"]'
    lines = [
        "import json",
        *([] if is_open else ["import os"]),
        "import urllib.request",
        "",
        f"body = {dict(body)!r}",
        "request = urllib.request.Request(",
        '    "{origin}/v1/connectivity",',
        "    json.dumps(body).encode(),",
        f'    {{"Content-Type": "application/json"{key}}},',
        ")",
        "with urllib.request.urlopen(request) as answer:",
        "    found = json.load(answer)",
        'for row in found["rows"]:',
        '    print(row["word"], row["rank"], row["pert_id"], row["cell_iname"], row["raw_cs"], row["tau"])',
        "",
    ]
    return "\n".join(lines)
