"""Whether what the settings name can be searched at all, asked before anything is served."""

from __future__ import annotations

from pertcast.analysis.gene_sets import read_gmt
from pertcast.errors import ConfigError, PertcastError

from pertcast_serve.analysis.shelf import open_library
from pertcast_serve.config import ServeConfig


def require_searchable(config: ServeConfig) -> None:
    """Open each configured library and read each collection of gene sets.

    One that is damaged later, while the server runs, is left out and logged.

    Raises
    ------
    ConfigError
        One of them is not what its setting says; the error names it.
    """
    for setting, named, opened in (
        ("libraries", config.libraries, lambda name: open_library(name, config.libraries[name])),
        ("gene_sets", config.gene_sets, lambda name: read_gmt(config.gene_sets[name])),
    ):
        for name in named:
            try:
                opened(name)
            except (PertcastError, OSError) as error:
                raise ConfigError(f"{setting}, {name}: {error}") from error
