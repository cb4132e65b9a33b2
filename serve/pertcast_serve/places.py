"""Where things lie is nobody's business outside: messages name what is served as the interface does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pertcast_serve.config import ServeConfig


def in_names(text: str, names: Mapping[str, str]) -> str:
    """Return a message with names in the place of paths.

    Parameters
    ----------
    text
        What was said.
    names
        Path -> what callers know it as. Longer paths are replaced first; an empty one is passed over.
    """
    for path in sorted(filter(None, names), key=len, reverse=True):
        text = text.replace(path, names[path])
    return text


def names_of(config: ServeConfig) -> dict[str, str]:
    """Return path -> name of all that the settings of a server name, links followed or not."""
    named: dict[str, Path] = {}
    for kind, places in (
        ("model", config.models),
        ("library", config.libraries),
        ("gene sets", config.gene_sets),
    ):
        named |= {f"{kind} {name}": place for name, place in places.items()}
    if config.screens.folder is not None:
        named["screens"] = config.screens.folder
    found: dict[str, str] = {}
    for name, place in named.items():
        found |= dict.fromkeys((str(place.resolve()), str(place.absolute()), str(place)), name)
    # A place that is given as "." would be found in every sentence.
    return {path: name for path, name in found.items() if path.strip("./")}
