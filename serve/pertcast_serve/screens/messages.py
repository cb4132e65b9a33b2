"""What a command said of its failure, in the words of the interface: no paths, fields instead of options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_LONGEST: Final = 4_000
_ERROR: Final = re.compile(r"^error: ", re.IGNORECASE)
_RAISED: Final = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt)\b")
_OPTION: Final = re.compile(
    r"--(cells|doses|times|pert-types|gmt|skip-unknown|up|down|objective|seed|model|out|executor|workers)\b"
)
_FIELDS: Final = {
    "cells": "cell_iname",
    "doses": "pert_dose",
    "times": "pert_time",
    "pert-types": "pert_type",
    "gmt": "gene_sets",
    "skip-unknown": "skip_unknown",
}


def error_in(log: str) -> str:
    """Return the last error that a command printed: from its "error:" on, or its last exception or line."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    for number in range(len(lines) - 1, -1, -1):
        if _ERROR.match(lines[number]):
            return _ERROR.sub("", "\n".join(lines[number:]))[:_LONGEST]
    raised = [line for line in lines if _RAISED.match(line)]
    return (raised or lines or ["It printed nothing."])[-1][:_LONGEST]


def in_our_words(message: str, words: Mapping[str, str]) -> str:
    """Return a message of the command with fields for options and names for paths.

    Parameters
    ----------
    message
        What the command said.
    words
        Path -> what the caller calls it. Longer paths are replaced first.
    """
    for path in sorted(words, key=len, reverse=True):
        message = message.replace(path, words[path])
    return _OPTION.sub(lambda found: _FIELDS.get(found[1], found[1]), message)
