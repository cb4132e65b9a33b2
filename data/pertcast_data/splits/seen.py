"""How much of a held-out combination training has seen: 0, 1 or 2 of its members, measured alone."""

from __future__ import annotations

from collections.abc import Collection

from pertcast_data.splits.identity import Identity

SeenMembers = tuple[tuple[str, int], ...]
"""(condition_id, number of its members that training holds alone) of combinations."""


def seen_members(identity: Identity, train: Collection[str], held_out: Collection[str]) -> SeenMembers:
    """Return, for each held-out combination, how many of its members training shows alone.

    Alone means as a single perturbation of the same pert_type, in any context, dose and time.

    Parameters
    ----------
    identity
        Who is who in the store.
    train, held_out
        Condition ids.
    """
    rows = list(
        zip(identity.treated["condition_id"], identity.treated["pert_type"], identity.members, strict=True)
    )
    trained = set(train)
    alone = {(kind, names[0]) for name, kind, names in rows if name in trained and len(names) == 1}
    asked = set(held_out)
    return tuple(
        (name, sum((kind, member) in alone for member in members))
        for name, kind, members in rows
        if name in asked and len(members) > 1
    )
