"""A signature as part of an address: compressed, bounded, and refused where it is damaged."""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from dataclasses import dataclass
from typing import Final

from pydantic import Field, ValidationError

from pertcast_serve.problems import Refused
from pertcast_serve.schemas.analysis import MAX_SIGNATURE_GENES, Value
from pertcast_serve.schemas.base import GeneName, Problem, RequestSchema

MOST_LETTERS: Final = 6_000
"""Longest code that stands in an address: proxies pass lines of 8 kB."""
_MOST_BYTES: Final = 1 << 20
_CODE: Final = re.compile(r"[A-Za-z0-9_-]+")


class _Coded(RequestSchema):
    """What a code holds."""

    up: list[GeneName] = Field(default_factory=list, max_length=MAX_SIGNATURE_GENES)
    down: list[GeneName] = Field(default_factory=list, max_length=MAX_SIGNATURE_GENES)
    genes: list[GeneName] = Field(default_factory=list, max_length=MAX_SIGNATURE_GENES)
    values: list[Value] = Field(default_factory=list, max_length=MAX_SIGNATURE_GENES)


@dataclass(frozen=True)
class GivenSignature:
    """A signature that someone gave: genes that rise and fall, or a value a gene.

    Attributes
    ----------
    up, down
        Names; both empty where values are given.
    genes, values
        A number for each name; both empty where sets are given.
    """

    up: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    genes: tuple[str, ...] = ()
    values: tuple[float, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was given."""
        return not (self.up or self.down or self.genes)

    @property
    def is_valued(self) -> bool:
        """Whether it has a value a gene."""
        return bool(self.genes)

    @property
    def values_text(self) -> str:
        """A gene and its value a line."""
        return "\n".join(f"{gene}\t{value!r}" for gene, value in zip(self.genes, self.values, strict=True))


def coded(signature: GivenSignature) -> str | None:
    """Return a signature as letters, digits, "_" and "-"; None where they were more than `MOST_LETTERS`."""
    names = ("genes", "values") if signature.is_valued else ("up", "down")
    content = json.dumps({name: getattr(signature, name) for name in names}, separators=(",", ":"))
    packed = zlib.compress(content.encode(), 9)
    if len(packed) * 4 > MOST_LETTERS * 3:
        return None
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decoded(code: str) -> GivenSignature:
    """Return the signature of `coded`; raises Refused where the code is not whole."""
    try:
        content = _Coded.model_validate_json(_inflated(code))
    except (ValidationError, ValueError, zlib.error) as error:
        raise _damaged() from error
    found = GivenSignature(
        tuple(content.up), tuple(content.down), tuple(content.genes), tuple(content.values)
    )
    if len(found.genes) != len(found.values) or (found.is_valued and (found.up or found.down)):
        raise _damaged()
    return found


def _inflated(code: str) -> bytes:
    """Return what was compressed; ValueError, zlib.error where it is damaged, cut off or too much."""
    if len(code) > MOST_LETTERS or not _CODE.fullmatch(code):
        raise ValueError("no code")
    try:
        packed = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4))
    except binascii.Error as error:
        raise ValueError("no code") from error
    # What is small here may be huge inside.
    inflating = zlib.decompressobj()
    content = inflating.decompress(packed, _MOST_BYTES)
    if not inflating.eof or inflating.unused_data:
        raise ValueError("cut off")
    return content


def _damaged() -> Refused:
    detail = (
        "The signature in this address is damaged or cut off. Copy the permalink again, whole, or paste the "
        "genes below."
    )
    return Refused(Problem(title="The permalink cannot be read", status=422, detail=detail))
