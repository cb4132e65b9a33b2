"""Pertcast's public API for notebooks: everything is loaded on first use, nothing at import."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "open_store": ("pertcast.api", "open_store"),
    "load_bundle": ("pertcast.api", "load_bundle"),
    "predict": ("pertcast.api", "predict"),
    "evaluate": ("pertcast.evaluation.trust.table", "evaluate"),
    "load_screen": ("pertcast.api", "load_screen"),
}

__all__ = ["__version__", "evaluate", "load_bundle", "load_screen", "open_store", "predict"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'pertcast' has no attribute {name!r}")
