"""One amount as people write it: "10 uM", "10 <b5>M", "1e-6 M", "10,5 nM", "1+1".

What can be read in two ways ("1,000", "1-10 uM", "<10") is refused with the line to write, never guessed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from pertcast_data.errors import SchemaError
from pertcast_data.words import UNIT_WORDS

_DIGITS: Final = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_AMOUNT: Final = re.compile(rf"([-+]?{_DIGITS}(?:[eE][-+]?[0-9]+)?)\s*([^0-9\s].*)?")
_MANTISSA: Final = rf"({_DIGITS})\s*[x×·*]\s*10\s*\^?\s*([-+][0-9]+)"
_POWER: Final = re.compile(
    rf"(?:{_MANTISSA}|(?:({_DIGITS})\s*[x×·*]\s*)?10\s*\^\s*([-+]?[0-9]+))\s*([^0-9\s].*)?"
)
_DAY: Final = re.compile(r"days?[\s_-]*([0-9]+(?:\.[0-9]+)?)", re.IGNORECASE)

_THOUSANDS: Final = re.compile(
    r"(?<![0-9.,])(?:[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+|[0-9]{1,3}(?:,[0-9]{3}){2,})(?![0-9.,])"
)
_EUROPEAN: Final = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+(?![0-9.,])")
_DECIMAL_COMMA: Final = re.compile(r"(?<![0-9.,])(0,[0-9]+|[0-9]+,(?:[0-9]{1,2}|[0-9]{4,}))(?![0-9.,])")
_ANY_COMMA: Final = re.compile(r"[0-9],[0-9]")

_MEMBERS: Final = re.compile(r"(?<=[^eE\s+;|])\s*[+;|]\s*(?=[0-9.])")
_TO: Final = re.compile(r"(?:-|–|—|\.\.+|\bto\b)\s*[0-9.]", re.IGNORECASE)
_BOUND: Final = re.compile(r"[<>≤≥~≈]|(?:ca|approx|about|up to)\b", re.IGNORECASE)

_MICRO: Final = re.compile(
    r"<b5>|\\xb5|&micro;|&mu;|(?:ã‚)?â?[µμ]|î¼|\ufffd+|\bmc(?=m|g)|\bmicro[\s-]*(?=m\b)", re.IGNORECASE
)
_DASHES: Final = str.maketrans({"−": "-", "‐": "-", "‑": "-", "\u00a0": " ", "\u202f": " "})


@dataclass(frozen=True, slots=True)
class AmountText:
    """A number and the unit written behind it (None where there is none), and the text they stand in."""

    number: float
    unit: str | None
    text: str


def plain_micro(text: str) -> str:
    """Return text with "u" for the micro sign, which exports break in many ways ("Âµ", "Î¼", "<b5>", "�")."""
    return _MICRO.sub("u", text)


def plain_unit(text: str | None) -> str | None:
    """Return a unit as the vocabulary knows it where it is known under other words; None for no text."""
    unit = plain_micro((text or "").translate(_DASHES)).strip().strip("()[]").strip()
    return UNIT_WORDS.get(unit.lower(), unit) if unit else None


def parse_amount(text: str, name: str, where: str) -> tuple[AmountText, ...]:
    """Read one amount, or those of the members of a combination ("1+1", "10 uM;10 uM").

    Parameters
    ----------
    text
        As the file has it.
    name
        Canonical column, for messages.
    where
        File and row, for messages.

    Returns
    -------
    tuple
        One entry a member; empty for an empty text.

    Raises
    ------
    SchemaError
        It is no amount, is negative or infinite, or can be read in two ways.
    """
    plain = text.translate(_DASHES).strip()
    members = [member for member in _MEMBERS.split(plain) if member] if plain else []
    return tuple(_one(member, name, where) for member in members)


def _one(text: str, name: str, where: str) -> AmountText:
    if _BOUND.match(text) or "±" in text:
        raise refused_amount(text, "is a bound or an estimate", name, where)
    plain = _with_decimal_point(text, name, where)
    day = _DAY.fullmatch(plain)
    if day is not None:
        return AmountText(float(day[1]), "d", text)
    number, unit = _number_and_unit(text, plain, name, where)
    if not math.isfinite(number):
        raise refused_amount(text, "is too large", name, where)
    if number < 0:
        raise refused_amount(text, "is negative (a logarithm?)", name, where)
    return AmountText(abs(number), plain_unit(unit), text)


def _number_and_unit(text: str, plain: str, name: str, where: str) -> tuple[float, str | None]:
    power = _POWER.fullmatch(plain)
    if power is not None:
        return _number(f"{power[1] or power[3] or 1}e{power[2] or power[4]}"), power[5]
    match = _AMOUNT.fullmatch(plain)
    if match is None:
        raise refused_amount(text, "is no amount", name, where)
    if match[2] and _TO.search(match[2]):
        raise refused_amount(text, "is a range", name, where)
    return _number(match[1]), match[2]


def _number(text: str) -> float:
    try:
        return float(text)
    except (ValueError, OverflowError):
        return math.inf


def _with_decimal_point(text: str, name: str, where: str) -> str:
    """Return the text with its commas resolved; "1,000" may be a thousand or one and is refused."""
    plain = _EUROPEAN.sub(lambda match: match[0].replace(".", "").replace(",", "."), text)
    plain = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), plain)
    plain = _DECIMAL_COMMA.sub(lambda match: match[0].replace(",", "."), plain)
    if _ANY_COMMA.search(plain):
        raise refused_amount(text, "can be read in two ways", name, where)
    return plain


def refused_amount(text: str, why: str, name: str, where: str) -> SchemaError:
    """Return the error for a text that is no sure amount, with the line to write."""
    shown = text if len(text) <= 60 else f"{text[:59]}…"
    what = f"is no {name}" if why == "is no amount" else f"{why}, no {name} that is sure"
    return SchemaError(
        f"{where}: {shown!r} {what}. Map it in the mapping file, e.g. "
        f"`{name}: {{column: NAME, values: {{{shown!r}: null}}}}`."
    )


def different_amounts(text: str, name: str, where: str) -> SchemaError:
    """Return the error for a combination whose members have different amounts."""
    return SchemaError(
        f"{where}: the parts of a combination have different amounts ({text!r} in {name}); one "
        "amount a condition is supported. Exclude these rows or map the column to a constant."
    )
