"""What a table's row means by the names of genes: known ones, in the store's own spelling."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, overload

from pertcast_data.errors import UnknownGene
from pertcast_data.vocabulary import split_perturbation

from pertcast.encoding.descriptions import Description, Single
from pertcast.encoding.problems import Fault, missing_value

if TYPE_CHECKING:
    from pertcast.encoding.perturbations import Perturbations


def resolve_genes(known: Perturbations, row: Description) -> tuple[Single, ...] | Fault:
    """Return the genes that a row names; a gene without features is a fault that says what was searched."""
    named = [text for text in (row.targets, row.pert_id, row.cmap_name) if text]
    if not named:
        return missing_value("pert_id")
    for text in named[:1] if row.targets else named:
        single = known.known_gene(text)
        if single is not None:
            return (Single(False, single, known.gene_index.get(single, -1)),)
        members = [known.known_gene(gene) for gene in split_perturbation(text)]
        found = [gene for gene in members if gene is not None]
        if found and len(found) == len(members):
            return tuple(Single(False, gene, known.gene_index.get(gene, -1)) for gene in sorted(found))
    unknown = next(gene for gene in split_perturbation(named[0]) if known.known_gene(gene) is None)
    field = "targets" if row.targets else "pert_id"
    return Fault(UnknownGene, field, unknown, _remedy(known), KnownGenes(known))


def _remedy(known: Perturbations) -> str:
    files = "".join(f", {block.coverage.name}" for block in known.gene_blocks)
    if not files:
        return "Only genes of the gene space, or perturbed in training, have features: use another symbol."
    return (
        "Only genes of the gene space, perturbed in training or known to the run's files have features. "
        f"Searched: gene space ({len(known.genes):,} genes), training ({len(known.gene_index):,}){files}. "
        "Use another symbol."
    )


class KnownGenes(Sequence[str]):
    """Every name of a gene that would have been accepted, listed only when somebody searches them.

    A list of a whole genome may hold thousands of wrong names: they all share these.

    Parameters
    ----------
    known
        The perturbations whose genes are meant.
    """

    def __init__(self, known: Perturbations) -> None:
        self._known = known

    @cached_property
    def _names(self) -> tuple[str, ...]:
        known = self._known
        if not known.gene_index:
            return ()
        listed = (gene for block in known.gene_blocks for gene in block.genes)
        return tuple(dict.fromkeys((*known.genes, *known.gene_index, *listed)))

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        """Return one name, or some."""
        return self._names[index]
