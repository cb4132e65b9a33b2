"""Names that mean one thing, joined into clusters."""

from __future__ import annotations


class Clusters:
    """Union of names into clusters; the smallest name of a cluster is its root."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        """Return the smallest name that `name` was joined with, itself where with none."""
        self._parent.setdefault(name, name)
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def join(self, first: str, second: str) -> None:
        """Say that two names mean the same."""
        low, high = sorted((self.root(first), self.root(second)))
        self._parent[high] = low
