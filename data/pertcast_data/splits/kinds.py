"""What a split holds out: one small rule a kind, in an immutable registry.

A rule names the groups each condition belongs to. A condition is held out when any of its groups is; one
without a group is always trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import polars as pl

from pertcast_data.errors import ConfigError, SchemaError, nearest_known
from pertcast_data.splits.blocks import Blocks
from pertcast_data.splits.clusters import Clusters
from pertcast_data.splits.dealing import Deal, deal_by_size, deal_evenly
from pertcast_data.splits.drawing import Draw, Members, draw_genes_then_pairs, draw_groups
from pertcast_data.splits.identity import COMPOUND_TYPE, ConditionStore, Identity
from pertcast_data.splits.structures import scaffold_of
from pertcast_data.vocabulary import PAIR_SEPARATOR

SAME_DOSE: Final = 1.05


@dataclass(frozen=True)
class Grouping:
    """What rules look at.

    Attributes
    ----------
    store, identity
        The store, and who is who in it.
    column
        The column of the profiles' table to split by, for kind "group".
    blocks
        (gene, block) pairs, for kind "blocked".
    """

    store: ConditionStore
    identity: Identity
    column: str | None = None
    blocks: Blocks = ()

    @property
    def treated(self) -> pl.DataFrame:
        """The N treated conditions, in store order."""
        return self.identity.treated


@dataclass(frozen=True, slots=True)
class SplitKind:
    """A rule of what is held out together.

    Attributes
    ----------
    name, summary
        For the registry and for people.
    members
        Grouping -> the groups of each of the N treated conditions.
    deal
        Deals groups to folds.
    holds_out_test
        False where every condition but a validation share is trained on.
    draw
        Draws the tested groups of one fold, where folds are repeated random holdouts.
    drawn_share
        The share that is drawn unless another is asked for; None where groups are dealt to folds unless a
        share or a number is asked for.
    """

    name: str
    summary: str
    members: Callable[[Grouping], Members]
    deal: Deal = deal_evenly
    holds_out_test: bool = True
    draw: Draw = draw_groups
    drawn_share: float | None = None


def _by_compound(grouping: Grouping) -> Members:
    identity = grouping.identity
    pairs = zip(identity.members, identity.compounds, strict=True)
    return [names if compound is not None else () for names, compound in pairs]


def _by_scaffold(grouping: Grouping) -> Members:
    clusters = Clusters()
    members = _by_compound(grouping)
    for names, compound in zip(members, grouping.identity.compounds, strict=True):
        if compound is not None and len(names) == 1 and compound.smiles:
            scaffold = scaffold_of(compound.smiles)
            clusters.join(names[0], f"~{scaffold}" if scaffold else names[0])
    return [tuple(sorted({clusters.root(name) for name in names})) for names in members]


def _by_perturbation(grouping: Grouping) -> Members:
    return grouping.identity.members


def _by_context(grouping: Grouping) -> Members:
    return [(cell,) for cell in grouping.identity.contexts]


def _by_pair(grouping: Grouping) -> Members:
    return [(PAIR_SEPARATOR.join(names),) if len(names) > 1 else () for names in grouping.identity.members]


def _by_gene_and_pair(grouping: Grouping) -> Members:
    """Return the genes of each condition; of a combination the combination itself, too."""
    pairs = zip(grouping.identity.members, _by_pair(grouping), strict=True)
    return [(*names, *combination) for names, combination in pairs]


def _by_dose(grouping: Grouping) -> Members:
    group_of = _nearly_equal(grouping.identity.doses)
    return [(group_of.get(dose, dose),) if dose else () for dose in grouping.identity.doses]


def _nearly_equal(amounts: Iterable[str]) -> dict[str, str]:
    """Return each amount -> the smallest one of which it is at most 5 % more: 3.33 and 3.333 are one dose.

    An amount in a unit that could not be converted ("3 mg") is left out.
    """
    group_of: dict[str, str] = {}
    smallest = ""
    for amount in sorted({text for text in amounts if text and " " not in text}, key=float):
        if not smallest or float(amount) > SAME_DOSE * float(smallest):
            smallest = amount
        group_of[amount] = smallest
    return group_of


def _by_time(grouping: Grouping) -> Members:
    return [(time,) if time else () for time in grouping.identity.times]


def _by_condition(grouping: Grouping) -> Members:
    return [(name,) for name in grouping.identity.names]


def _by_block(grouping: Grouping) -> Members:
    if not grouping.blocks:
        raise ConfigError("A blocked split needs a file of blocks: give --blocks FILE.")
    block_of = dict(grouping.blocks)
    pairs = zip(grouping.identity.members, grouping.treated["pert_type"], strict=True)
    return [
        () if kind == COMPOUND_TYPE else tuple(sorted({block_of.get(gene, gene) for gene in genes}))
        for genes, kind in pairs
    ]


def _by_column(grouping: Grouping) -> Members:
    column, obs = grouping.column, grouping.store.obs
    if column is None:
        raise ConfigError(
            "A split by group needs a column of the profiles' table: give --group-column COLUMN."
        )
    if column not in obs.columns:
        hint = ", ".join(nearest_known(column, obs.columns) or obs.columns)
        raise SchemaError(f"The store has no column {column!r} to split by; known: {hint}.")
    values = obs.group_by("condition_id").agg(pl.col(column).unique().cast(pl.String).sort().alias("groups"))
    groups_of = dict(values.iter_rows())
    for name in grouping.treated["condition_id"]:
        groups = groups_of[name]
        if len(groups) != 1 or groups[0] is None:
            raise SchemaError(
                f"Column {column!r} has {'no value' if None in groups else f'{len(groups)} values'} for "
                f"condition {name!r}; replicates of a condition must share one group. Choose another column."
            )
    return [(groups_of[name][0],) for name in grouping.treated["condition_id"]]


SPLIT_KINDS: Final[Mapping[str, SplitKind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            SplitKind("unseen_compound", "compounds by structure (InChIKey-14, else pert_id)", _by_compound),
            SplitKind(
                "unseen_scaffold",
                "compounds by Bemis-Murcko scaffold; acyclic compounds one by one",
                _by_scaffold,
                deal_by_size,
            ),
            SplitKind(
                "unseen_perturbation",
                "perturbed genes and compounds; a pair is held out with either of its members",
                _by_perturbation,
            ),
            SplitKind(
                "blocked",
                "blocks of genes that a file connects (network, complexes, paralogues)",
                _by_block,
                deal_by_size,
            ),
            SplitKind("unseen_context", "cell lines", _by_context),
            SplitKind("unseen_pair", "combinations; singles are always trained on", _by_pair),
            SplitKind(
                "gears",
                "genes with all their combinations, and as large a share of the combinations of other genes",
                _by_gene_and_pair,
                draw=draw_genes_then_pairs,
                drawn_share=0.25,
            ),
            SplitKind(
                "unseen_dose",
                "doses in uM, within 5 %; conditions without a dose are always trained on",
                _by_dose,
            ),
            SplitKind("unseen_time", "times in hours", _by_time),
            SplitKind("random", "conditions at random, for reference only", _by_condition),
            SplitKind("group", "values of a column of the profiles' table", _by_column),
            SplitKind(
                "all",
                "nothing: one fold that trains on all but a validation share of conditions",
                _by_condition,
                holds_out_test=False,
            ),
        )
    }
)
"""Name -> what is held out together."""


def get_split_kind(name: str) -> SplitKind:
    """Return a kind by name; raises ConfigError naming the nearest known ones."""
    if name in SPLIT_KINDS:
        return SPLIT_KINDS[name]
    hint = nearest_known(name, SPLIT_KINDS) or list(SPLIT_KINDS)
    raise ConfigError(f"Unknown kind of split {name!r}. Did you mean {' or '.join(hint)}?")
