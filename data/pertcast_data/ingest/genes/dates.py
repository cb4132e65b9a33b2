"""Symbols that spreadsheets spoil: "1-Mar" was MARCH1 or MARC1, and MARCH1 is MARCHF1 since 2020.

Ziemann, Eren and El-Osta, "Gene name errors are widespread in the scientific literature" (Genome Biology
2016), counts them; HGNC renamed the families because of it (Bruford and others, Nature Genetics 2020).
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

_FAMILIES: Final = MappingProxyType(
    {
        "feb": ("FEB",),
        "mar": ("MARCH", "MARCHF", "MARC", "MTARC"),
        "mrz": ("MARCH", "MARCHF", "MARC", "MTARC"),
        "apr": ("APR",),
        "sep": ("SEPT", "SEPTIN", "SEP"),
        "oct": ("OCT",),
        "okt": ("OCT",),
        "nov": ("NOV",),
        "dec": ("DEC", "DELEC"),
        "dez": ("DEC", "DELEC"),
    }
)
"""Month as spreadsheets write it -> families of genes whose members read as its days."""

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_FIRST: Final = re.compile(r"(\d{1,2})[-./ ]{1,2}([a-z]{3})[a-z]*\.?(?:[-./ ]\d{2,4})?")
_MONTH_FIRST: Final = re.compile(r"([a-z]{3})[-./ ](\d{1,2})")
_ISO: Final = re.compile(r"\d{4}[-/](\d{2})[-/](\d{2})(?:[ t]00:00(?::00)?)?")
_RENAMED: Final = (
    (re.compile(r"MARCH(\d{1,2})"), "MARCHF{}"),
    (re.compile(r"MARC([12])"), "MTARC{}"),
    (re.compile(r"SEPT(\d{1,2})"), "SEPTIN{}"),
    (re.compile(r"DEC(1)"), "DELEC{}"),
)


def date_candidates(name: str) -> tuple[str, ...]:
    """Return the symbols that a date may have been ("2-Sep": SEPT2, SEPTIN2, SEP2); none for no date."""
    text = name.strip().lower()
    if found := _DAY_FIRST.fullmatch(text):
        day, month = found.groups()
    elif found := _MONTH_FIRST.fullmatch(text):
        month, day = found.groups()
    elif (found := _ISO.fullmatch(text)) and 1 <= int(found[1]) <= len(_MONTHS):
        month, day = _MONTHS[int(found[1]) - 1], found[2]
    else:
        return ()
    number = int(day)
    is_day = 1 <= number <= 31
    return tuple(f"{family}{number}" for family in _FAMILIES.get(month, ())) if is_day else ()


def renamed_since(name: str) -> str | None:
    """Return today's symbol of a gene that was renamed because its symbol reads as a date, else None."""
    text = name.strip().upper()
    for pattern, symbol in _RENAMED:
        if found := pattern.fullmatch(text):
            return symbol.format(int(found[1]))
    return None
