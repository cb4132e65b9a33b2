"""Texts to be copied: a request as a curl command, and as Python that calls the client.

In texts of a page `{origin}` becomes the server's address in the browser, which alone knows it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pertcast_serve.negotiation import JSON

ORIGIN: Final = "{origin}"
KEY_VARIABLE: Final = "PERTCAST_KEY"
"""Environment variable that copied texts take the key from, so that no key stands in a history."""


def curl_text(
    address: str,
    *,
    needs_key: bool,
    method: str = "",
    body: Mapping[str, Any] | str | None = None,
    headers: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    between: str = " ",
) -> str:
    """Return a command that sends a request.

    Parameters
    ----------
    address
        The whole address, or a path behind `ORIGIN`.
    needs_key
        Whether the server asks for a key.
    method
        Where it is not what curl takes: GET, or POST with a body.
    body
        What is sent; a text stands as it is, already quoted for a shell.
    headers
        Of the request, besides those of key and body.
    options
        Of curl, before the address.
    between
        What parts the headers and the body: a space, or the end of a line.
    """
    chosen = ["-X", method.upper()] if method else []
    parts = [" ".join(["curl", "-s", *options, *chosen, _quoted_address(address)])]
    if needs_key:
        parts.append(f'-H "Authorization: Bearer ${KEY_VARIABLE}"')
    named = dict(headers or {}) | ({} if body is None else {"Content-Type": JSON})
    parts += [f"-H '{name}: {value}'" for name, value in named.items()]
    if body is not None:
        parts.append(f"-d {body if isinstance(body, str) else shlex.quote(json.dumps(body))}")
    return between.join(parts)


def _quoted_address(address: str) -> str:
    """Return an address in quotes where a shell would read more into it than `ORIGIN`."""
    is_plain = shlex.quote(address.replace(ORIGIN, "")) == address.replace(ORIGIN, "")
    return address if is_plain else f"'{address}'"


def client_text(calls: str, *, needs_key: bool, origin: str = ORIGIN, imports: Sequence[str] = ()) -> str:
    """Return Python that calls the client.

    Parameters
    ----------
    calls
        Lines that use `client`.
    needs_key
        Whether the server asks for a key.
    origin
        Address of the server.
    imports
        Modules of the standard library that the lines use.
    """
    needed = sorted({*imports, *(["os"] if needs_key else [])})
    key = f', os.environ["{KEY_VARIABLE}"]' if needs_key else ""
    lines = [
        *(f"import {module}" for module in needed),
        *([""] if needed else []),
        "from pertcast_serve.client import Client",
        "",
        f'client = Client("{origin}"{key})',
        calls,
        "",
    ]
    return "\n".join(lines)


def call_text(function: str, **given: Any) -> str:
    """Return a call with its arguments by name: "client.connectivity(up=['TP53'])"."""
    return f"{function}({', '.join(f'{name}={value!r}' for name, value in given.items())})"
