"""Who calls: set once by the middleware, read by endpoints; a route says which scope it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from fastapi import Depends, Request

Scope = Literal["predict", "screen", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("predict", "screen", "admin")


class Forbidden(Exception):
    """The caller is known but lacks a scope.

    Parameters
    ----------
    scope
        The scope that is needed.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.scope = scope


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a request.

    Attributes
    ----------
    id
        Id of the key, or "local" where no key is needed.
    name
        Whom it stands for: the key's name, or the user that a trusted proxy names.
    scopes
        What it may do.
    """

    id: str
    name: str
    scopes: frozenset[Scope]

    @property
    def is_admin(self) -> bool:
        """Whether it may see and stop what others started."""
        return "admin" in self.scopes


LOCAL: Final = Caller("local", "local", frozenset(SCOPES))
"""Everyone, where only this machine can reach the server and no keys are configured."""

ANONYMOUS: Final = Caller("anonymous", "anonymous", frozenset())
"""Who gave no valid key, on the few paths that need none."""


def caller_of(request: Request) -> Caller:
    """Return who made a request."""
    caller: Caller = request.scope.get("caller", LOCAL)
    return caller


def requires(scope: Scope) -> Any:
    """Return a dependency of a route that only callers with `scope` may use; raises Forbidden."""

    def check(request: Request) -> None:
        if scope not in caller_of(request).scopes:
            raise Forbidden(scope)

    checked: Callable[[Request], None] = check
    return Depends(checked)
