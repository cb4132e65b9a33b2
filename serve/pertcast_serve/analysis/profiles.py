"""The one profile that a question is about: predicted now, stored in a library, or given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pertcast.analysis.connectivity.signature import require_comparable

from pertcast_serve.analysis.refusals import condition_refused, refused
from pertcast_serve.analysis.shelf import OpenLibrary
from pertcast_serve.schemas.analysis import MAX_ROWS, Profile
from pertcast_serve.schemas.predict import Condition
from pertcast_serve.services import PredictedProfiles, StoredProfiles


@dataclass(frozen=True)
class AskedProfile:
    """One profile and what is known of it.

    Attributes
    ----------
    words
        What it is, for the answer.
    genes
        Names of its G genes, each once.
    values
        (G,) float32.
    cell_iname, pert_type, pert_id
        Its condition; None where that is not known.
    library, sig_id
        Where it is stored; None elsewhere.
    remarks
        What limits it.
    """

    words: str
    genes: tuple[str, ...]
    values: NDArray[np.float32]
    cell_iname: str | None = None
    pert_type: str | None = None
    pert_id: str | None = None
    library: str | None = None
    sig_id: str | None = None
    remarks: tuple[str, ...] = ()

    def require_ranking(self) -> None:
        """Raise Refused where all values are equal: no gene is above another."""
        if np.ptp(self.values) == 0:
            raise refused(
                f"Every value of the {self.words} is {self.values[0]:g}: it ranks no gene. "
                "Ask about a profile whose values differ."
            )

    def require_direction(self) -> None:
        """Raise Refused where all values are zero: nothing resembles it."""
        if not self.values.any():
            raise refused(f"The {self.words} is 0 for all genes: nothing resembles it. Ask about another.")


def predicted_profile(condition: Condition, predicted: PredictedProfiles) -> AskedProfile:
    """Return the profile of a condition that was predicted alone; raises Refused where it could not be."""
    head = predicted.head
    if head.errors:
        raise condition_refused(head.errors[0])
    item = head.items[0]
    remarks = [f"Predicted by {head.model}."]
    if not item.is_in_domain:
        remarks.append("The condition is unlike those of the training: its prediction is an extrapolation.")
    return AskedProfile(
        words=f"predicted profile {item.sig_id}",
        genes=tuple(predicted.genes),
        values=predicted.mean[0],
        cell_iname=condition.cell_iname,
        pert_type=condition.pert_type,
        pert_id=condition.pert_id,
        remarks=tuple(remarks),
    )


def stored_profile(library: OpenLibrary, sig_id: str) -> AskedProfile:
    """Return a profile of a library; raises UnknownName with the nearest names."""
    row = library.stored.row_of(sig_id)
    facts = library.stored.table.row(row, named=True)
    return AskedProfile(
        words=f"{library.kind} profile {sig_id} of {library.name}",
        genes=library.stored.genes,
        values=library.values_of([sig_id])[0],
        cell_iname=facts["cell_iname"],
        pert_type=facts["pert_type"],
        pert_id=facts["pert_id"],
        library=library.name,
        sig_id=sig_id,
    )


def profiles_of(library: OpenLibrary, sig_ids: Sequence[str]) -> StoredProfiles:
    """Return profiles of a library by their names.

    Raises
    ------
    UnknownName
        The library holds no profile of a name.
    Refused
        There are more than `MAX_ROWS` names, or none.
    """
    if not 1 <= len(sig_ids) <= MAX_ROWS:
        raise refused(f"{len(sig_ids):,} profiles were asked for. Ask for 1 to {MAX_ROWS:,} at once.")
    return StoredProfiles(library.stored.genes, library.values_of(sig_ids))


def given_profile(profile: Profile) -> AskedProfile:
    """Return a profile that came with the question.

    Raises
    ------
    Refused
        A gene stands there twice, or a name is blank.
    SchemaError
        A value is too large to be compared.
    """
    genes = tuple(gene.strip() for gene in profile.genes)
    if "" in genes:
        raise refused(f"profile.genes: name {genes.index('') + 1:,} is blank. Give a name for each value.")
    gene, count = Counter(genes).most_common(1)[0]
    if count > 1:
        raise refused(
            f"profile.genes: {gene[:200]!r} stands there {count:,} times. Give one value for "
            "each gene, for example their mean."
        )
    require_comparable(genes, profile.values, None, "profile")
    values = np.array(profile.values, dtype=np.float32)
    return AskedProfile(f"given profile of {len(genes):,} genes", genes, values)
