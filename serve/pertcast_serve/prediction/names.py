"""Search over the names that a model knows, for type-ahead: exact, beginning, inside, then close in spelling.

Close spelling counts shared triples of letters first (tens of thousands of names in about a millisecond), and
compares letter by letter only with the few names that share most.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pertcast_serve.schemas.models import NameMatch, NameMatches, Vocabulary

_COMPARED = 50
_CLOSE = 0.6
"""Least similarity of a close spelling, as `difflib` measures it."""


class NameSearch:
    """Names of one kind.

    Parameters
    ----------
    matches
        Every name, in the order that equal matches are listed in.
    """

    def __init__(self, matches: Sequence[NameMatch]) -> None:
        self._matches = list(matches)
        self._folded = [match.name.casefold() for match in self._matches]

    def search(self, text: str, limit: int) -> NameMatches:
        """Return the best `limit` names for a text, and how many fit; all names fit an empty text."""
        asked = text.strip().casefold()
        if not asked:
            return NameMatches(matches=self._matches[:limit], n_matches=len(self._matches))
        places = self._containing(asked) or self._close(asked)
        return NameMatches(matches=[self._matches[place] for place in places[:limit]], n_matches=len(places))

    def _containing(self, asked: str) -> list[int]:
        found = [place for place, name in enumerate(self._folded) if asked in name]

        def rank(place: int) -> tuple[bool, bool, int]:
            name = self._folded[place]
            return name != asked, not name.startswith(asked), len(name)

        return sorted(found, key=rank)

    def _close(self, asked: str) -> list[int]:
        lists = [self._by_triple[triple] for triple in _triples(asked) if triple in self._by_triple]
        if not lists:
            return []
        shared = np.bincount(np.concatenate(lists), minlength=len(self._folded))
        likeness = 2 * shared / (self._triple_counts + len(_triples(asked)))
        nearest = np.argsort(-likeness, kind="stable")[:_COMPARED].tolist()
        ratios = {
            place: difflib.SequenceMatcher(None, asked, self._folded[place]).ratio()
            for place in nearest
            if shared[place]
        }
        return sorted((p for p in ratios if ratios[p] >= _CLOSE), key=lambda place: -ratios[place])

    @cached_property
    def _by_triple(self) -> dict[str, NDArray[np.int64]]:
        """Places of the names that hold three letters in a row; made for the first misspelt name."""
        found: dict[str, list[int]] = {}
        for place, name in enumerate(self._folded):
            for triple in _triples(name):
                found.setdefault(triple, []).append(place)
        return {triple: np.array(places, np.int64) for triple, places in found.items()}

    @cached_property
    def _triple_counts(self) -> NDArray[np.int64]:
        return np.array([len(_triples(name)) for name in self._folded], np.int64)


def _triples(text: str) -> set[str]:
    padded = f"  {text} "
    return {padded[start : start + 3] for start in range(len(padded) - 2)}


def genes_of(vocabulary: Vocabulary) -> Iterator[NameMatch]:
    """Yield the measured genes, then those that were only perturbed."""
    measured, perturbed = set(vocabulary.genes), set(vocabulary.targets)
    for name in dict.fromkeys((*vocabulary.genes, *vocabulary.targets)):
        yield NameMatch(name=name, kind="gene", is_measured=name in measured, is_perturbed=name in perturbed)


def compounds_of(vocabulary: Vocabulary) -> Iterator[NameMatch]:
    """Yield the compounds of the training, with their structures."""
    for name, smiles in zip(vocabulary.compounds, vocabulary.smiles, strict=True):
        yield NameMatch(
            name=name, kind="compound", is_measured=False, is_perturbed=True, canonical_smiles=smiles
        )


def cell_lines_of(vocabulary: Vocabulary) -> Iterator[NameMatch]:
    """Yield the cell lines of the training."""
    for name in vocabulary.cell_lines:
        yield NameMatch(name=name, kind="cell_line", is_measured=False, is_perturbed=True)
