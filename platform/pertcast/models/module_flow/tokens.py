"""Module tokens: genes are dealt to modules of unequal size, each padded to one width, and back again.

The grouping is a set of buffers of fixed shape that `set_labels` fills, so that a bundle loads strictly.
"""

from __future__ import annotations

import math

import torch
from pertcast_data.errors import PertcastError
from torch import Tensor, nn


class ModulesDoNotFit(PertcastError):
    """The labels of a grouping do not fit the modules that an autoencoder was built for."""


def module_places(n_genes: int, n_modules: int, largest_module: float = 1.0) -> int:
    """Return L, the places that each of K modules has.

    Parameters
    ----------
    n_genes, n_modules
        G and K.
    largest_module
        Size of the largest module allowed, in units of the mean size: 1 where modules are balanced (their
        sizes then differ by one at most).
    """
    return min(n_genes, math.ceil(largest_module * math.ceil(n_genes / n_modules)))


class ModuleTokens(nn.Module):
    """Which gene stands at which place of which module.

    Parameters
    ----------
    n_genes, n_modules, places
        G, K and L: every module has L places, and those beyond its size are padding.

    Attributes
    ----------
    labels
        (G,) int64, the module of each gene; -1 before `set_labels`.
    members
        (K, L) int64, the gene at each place; 0 where the place is padding.
    is_member
        (K, L) bool, whether a gene stands there.
    place
        (G,) int64, where each gene stands in the K * L places.
    """

    labels: Tensor
    members: Tensor
    is_member: Tensor
    place: Tensor

    def __init__(self, n_genes: int, n_modules: int, places: int) -> None:
        super().__init__()
        self.n_genes, self.n_modules, self.places = n_genes, n_modules, places
        self.register_buffer("labels", torch.full((n_genes,), -1, dtype=torch.int64))
        self.register_buffer("members", torch.zeros(n_modules, places, dtype=torch.int64))
        self.register_buffer("is_member", torch.zeros(n_modules, places, dtype=torch.bool))
        self.register_buffer("place", torch.zeros(n_genes, dtype=torch.int64))

    @property
    def is_present(self) -> Tensor:
        """(K,) bool: whether a module has a gene."""
        return self.is_member.any(dim=1)

    @torch.no_grad()
    def set_labels(self, labels: Tensor) -> None:
        """Take up a grouping; within a module genes stand in the order of the profile.

        Parameters
        ----------
        labels
            (G,) int64, 0..K-1.

        Raises
        ------
        ModulesDoNotFit
            There is not one label a gene, a label is no module, or a module has more genes than places.
        """
        self._check(labels)
        self.labels.copy_(labels)
        self.arrange(torch.zeros(self.n_genes))

    @torch.no_grad()
    def arrange(self, rank: Tensor) -> None:
        """Order the genes of every module by falling `rank` (G,); those of equal rank as in the profile.

        All modules share the weights of a place, so that a place means something where genes of a kind stand
        there, and nothing depends on the order of the profile.
        """
        labels = self.labels.cpu()
        by_rank = torch.argsort(rank.cpu(), descending=True, stable=True)
        order = by_rank[torch.argsort(labels[by_rank], stable=True)]
        sizes = torch.bincount(labels, minlength=self.n_modules)
        first = sizes.cumsum(0) - sizes
        module = labels[order]
        column = torch.arange(self.n_genes) - first[module]
        members = torch.zeros(self.n_modules, self.places, dtype=torch.int64)
        members[module, column] = order
        place = torch.empty_like(labels)
        place[order] = module * self.places + column
        self.members.copy_(members)
        self.is_member.copy_(torch.arange(self.places) < sizes.unsqueeze(1))
        self.place.copy_(place)

    def _check(self, labels: Tensor) -> None:
        if labels.shape != (self.n_genes,):
            raise ModulesDoNotFit(
                f"Labels of shape {tuple(labels.shape)} for {self.n_genes} genes; give one module a gene."
            )
        strangers = torch.nonzero((labels < 0) | (labels >= self.n_modules)).flatten()
        if len(strangers):
            gene = int(strangers[0])
            raise ModulesDoNotFit(
                f"Gene {gene} has module {int(labels[gene])}, but there are modules 0 to "
                f"{self.n_modules - 1}; group into as many modules as the model is configured for."
            )
        sizes = torch.bincount(labels, minlength=self.n_modules)
        largest = int(sizes.argmax())
        if int(sizes[largest]) > self.places:
            raise ModulesDoNotFit(
                f"Module {largest} has {int(sizes[largest])} genes, but a module has {self.places} places; "
                "allow larger modules (largest_module) or group into modules of more equal size."
            )

    def gather(self, profiles: Tensor) -> Tensor:
        """Return (N, K, L) of profiles (N, G), zero at padding."""
        dealt = profiles.index_select(1, self.members.flatten())
        return dealt.view(-1, *self.members.shape).masked_fill(~self.is_member, 0.0)

    def scatter(self, dealt: Tensor) -> Tensor:
        """Return (N, G) of modules (N, K, L); what stands at padding is dropped."""
        return dealt.flatten(1).index_select(1, self.place)

    def module_means(self, table: Tensor) -> Tensor:
        """Return (K, D) means of the genes' rows (G, D), zero for a module without genes."""
        sums = table.new_zeros(self.n_modules, table.shape[1]).index_add_(0, self.labels, table)
        sizes = self.is_member.sum(dim=1, keepdim=True).clamp(min=1)
        return sums / sizes
