"""Collections of gene sets by name, and sets over the genes of a profile, with their null drawn once.

Drawing random sets takes a hundred times as long as scoring one profile, so it is kept for the next question.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from pertcast.analysis.enrichment import SizeMatchedNull
from pertcast.analysis.gene_sets import GeneSets, SetIndex, index_sets, read_gmt
from pertcast.errors import PertcastError

from pertcast_serve.analysis.refusals import refused, unknown
from pertcast_serve.schemas.analysis import GeneSetCollection

log = logging.getLogger(__name__)

SEED: Final = 0
"""Of random sets and of permutations: the same question has the same answer."""
_KEPT: Final = 16


class PreparedSets:
    """Gene sets over the genes of a profile.

    Parameters
    ----------
    index
        The sets.
    """

    def __init__(self, index: SetIndex) -> None:
        self.index = index

    @cached_property
    def null(self) -> SizeMatchedNull:
        """Random sets of their sizes."""
        return SizeMatchedNull.of(self.index, SEED)


class SetShelf:
    """Gene sets, for all threads of the service.

    Parameters
    ----------
    places
        Name of a collection -> .gmt file.
    """

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = dict(places)
        self._read: dict[str, tuple[int, GeneSets]] = {}
        self._prepared: OrderedDict[tuple[str, tuple[str, ...], int], PreparedSets] = OrderedDict()
        self._lock = threading.Lock()

    def collections(self) -> list[GeneSetCollection]:
        """Return all collections; one that cannot be read is left out and logged."""
        found = []
        for name in self._places:
            try:
                sets = self._collection(name)
            except (PertcastError, OSError) as error:
                log.warning("gene sets %s cannot be read: %s", name, error)
                continue
            found.append(GeneSetCollection(name=name, n_sets=len(sets), terms=list(sets.members)))
        return found

    def named(self, name: str | None) -> tuple[str, GeneSets]:
        """Return a collection with its name, the first where None; raises Refused where there is none."""
        if not self._places:
            raise refused(
                "This server holds no gene sets. Send your own in `sets` (name -> genes), or have a .gmt "
                "file configured: gene_sets: {hallmark: hallmark.gmt}."
            )
        wanted = next(iter(self._places)) if name is None else name
        if wanted not in self._places:
            raise unknown(
                "collection of gene sets",
                wanted,
                self._places,
                "/v1/gene_sets lists all; or send your own in `sets`.",
            )
        return wanted, self._collection(wanted)

    def _collection(self, name: str) -> GeneSets:
        place = self._places[name]
        modified = place.stat().st_mtime_ns
        with self._lock:
            known = self._read.get(name)
            if known is None or known[0] != modified:
                known = self._read[name] = (modified, read_gmt(place))
            return known[1]

    def prepared(self, sets: GeneSets, genes: tuple[str, ...], min_size: int) -> PreparedSets:
        """Return sets over the genes of a profile; raises SchemaError where none is left."""
        key = (sets.sha256, genes, min_size)
        with self._lock:
            if key in self._prepared:
                self._prepared.move_to_end(key)
                return self._prepared[key]
        found = PreparedSets(index_sets(sets, genes, min_size))
        with self._lock:
            self._prepared[key] = found
            while len(self._prepared) > _KEPT:
                self._prepared.popitem(last=False)
        return found


def own_sets(sets: Mapping[str, list[str]]) -> GeneSets:
    """Return sets that came with a question."""
    members = {name: tuple(dict.fromkeys(gene.strip() for gene in genes)) for name, genes in sets.items()}
    digest = hashlib.sha256(json.dumps(members).encode()).hexdigest()
    return GeneSets(members, source="the sets of the request", sha256=digest)
