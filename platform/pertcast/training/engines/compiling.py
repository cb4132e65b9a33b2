"""Compiling the module that is trained with torch.compile, in place, so that names of parameters stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pertcast_data.errors import ConfigError
from torch import nn


def compile_stage(module: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """Let a stage's working copy be compiled when it is called first.

    Methods that the module or a part of it names in `uncompiled` (searches with a data-dependent number of
    rounds, choices of what is computed at all) stay as they are, and the rest is compiled around them. A
    function that is compiled again and again raises, where torch would go on uncompiled and say so once.

    Parameters
    ----------
    module
        The working copy, before it is handed to an engine.
    backend
        Of torch.compile; tests trace with quick ones.

    Raises
    ------
    ConfigError
        Compiling does not work on this machine.
    """
    _require_compiler(backend)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for part in module.modules():
        for name in getattr(part, "uncompiled", ()):
            leave_alone: Any = torch.compiler.disable
            setattr(part, name, leave_alone(getattr(part, name)))
    module.compile(backend=backend)


def _require_compiler(backend: str | Callable[..., Any]) -> None:
    """Compile one line, so that a machine without a compiler says so before training begins."""
    try:
        torch.compile(lambda values: values.sin() + 1, backend=backend)(torch.ones(8))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"train.compile=true, but torch.compile does not work on this machine: {reason} It needs a C++ "
            "compiler (g++ or clang++; CXX names another) and on GPUs Triton; install it, or set "
            "train.compile=false."
        ) from error
