"""Held-out conditions that training knows under the same name or another, and by which likeness.

Found from the lists alone, not from how they were dealt: manifests of any origin can be judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pertcast_data.compounds import inchi_key_14
from pertcast_data.splits.compound_names import NamedCompound, structure_keys, without_salt
from pertcast_data.splits.drawing import Members
from pertcast_data.splits.gene_names import perturbation_parts
from pertcast_data.splits.identity import Identity

_KEPT: Final = 8


@dataclass(frozen=True, slots=True)
class Crossing:
    """A held-out condition and one of an easier part that is the same for the split.

    Attributes
    ----------
    held, part
        Condition id and the part that holds it out.
    known
        Condition id in an easier part.
    reason
        Name of the check that such a likeness belongs to.
    is_condition
        Whether they are one condition, beyond belonging to one group.
    """

    held: str
    part: str
    known: str
    reason: str
    is_condition: bool


def find_crossings(
    identity: Identity, parts: Mapping[str, Sequence[str]], groups: Members
) -> tuple[Crossing, ...]:
    """Return at most one crossing for each held-out condition.

    Parameters
    ----------
    identity
        Who is who.
    parts
        Condition ids by part, the easier part first; names that the store does not hold are passed over.
    groups
        Groups of each treated condition of `identity`; a condition crosses where an easier part knows all of
        them (and where it is held out without belonging to any, if others belong to some).
    """
    place = {name: row for row, name in enumerate(identity.treated["condition_id"])}
    same: Members = [(name,) for name in identity.names]
    found: dict[str, Crossing] = {}
    for keys, is_condition in ((same, True), (groups, False)):
        for crossing in _crossings(identity, place, parts, keys, is_condition):
            found.setdefault(crossing.held, crossing)
    return tuple(found.values())


def _crossings(
    identity: Identity,
    place: Mapping[str, int],
    parts: Mapping[str, Sequence[str]],
    keys: Members,
    is_condition: bool,
) -> list[Crossing]:
    known: dict[str, dict[str, int]] = {}
    found: list[Crossing] = []
    any_group = any(keys)
    for part, listed in parts.items():
        rows = [place[name] for name in listed if name in place]
        for row in rows if part != "train" and any_group else ():
            if all(key in known for key in keys[row]):
                candidates = [other for key in keys[row] for other in known[key].values()]
                found.append(_crossing(identity, row, part, candidates, is_condition))
        for row in rows:
            for key in keys[row]:
                spellings = known.setdefault(key, {})
                if len(spellings) < _KEPT:
                    spellings.setdefault(_spelling(identity, row), row)
    return found


def _crossing(identity: Identity, row: int, part: str, candidates: list[int], is_condition: bool) -> Crossing:
    names = identity.treated["condition_id"]
    reasons = [(likeness(identity, row, other), other) for other in candidates]
    if not reasons:
        return Crossing(names[row], part, "(it belongs to no group)", "held_out_group", is_condition)
    plain = [pair for pair in reasons if pair[0] == "held_out_group"]
    several = len(identity.members[row]) > 1 and not is_condition
    chosen = reasons[0] if not plain else plain[0]
    if several and len(plain) < len(reasons):
        chosen = next(pair for pair in reasons if pair[0] != "held_out_group")
    return Crossing(names[row], part, names[chosen[1]], chosen[0], is_condition)


def _spelling(identity: Identity, row: int) -> str:
    cell = identity.treated["cell_iname"][row]
    return f"{cell}|{identity.written[row]}"


def likeness(identity: Identity, row: int, other: int) -> str:
    """Return by what two conditions of one group are the same: the name of a check.

    "held_out_group" where they are simply called the same, or differ in all but what their group is about.
    """
    first, second = identity.written[row], identity.written[other]
    if first != second and set(identity.members[row]) & set(identity.members[other]):
        reason = _name_likeness(identity, row, other)
        if reason != "held_out_group":
            return reason
    if _differ_in_unit(identity, row, other):
        return "dose_unit"
    cells = identity.treated["cell_iname"]
    same_context = identity.contexts[row] == identity.contexts[other] and cells[row] != cells[other]
    return "alias" if same_context else "held_out_group"


def _name_likeness(identity: Identity, row: int, other: int) -> str:
    compounds = identity.compounds[row], identity.compounds[other]
    if compounds[0] is not None and compounds[1] is not None:
        return _compound_likeness(compounds[0], compounds[1])
    one, two = (perturbation_parts(identity.written[each]) for each in (row, other))
    if one == two:
        return "pair_order"
    meant = {identity.gene_root(part): part for part in two}
    pairs = [(part, meant[gene]) for part in one if (gene := identity.gene_root(part)) in meant]
    renamed = [part for pair in pairs if pair[0] != pair[1] for part in pair]
    if any(identity.genes.is_guide(part) for part in renamed):
        return "guide_suffix"
    return "alias" if renamed else "held_out_group"


def _compound_likeness(first: NamedCompound, second: NamedCompound) -> str:
    (key, tautomer), (other_key, other_tautomer) = structure_keys(first), structure_keys(second)
    if not key or not other_key:
        salts = [
            without_salt(row.name or row.pert_id) != (row.name or row.pert_id).lower()
            for row in (first, second)
        ]
        return "salt_form" if any(salts) else "compound_id"
    if inchi_key_14(key) != inchi_key_14(other_key):
        return "tautomer" if tautomer and tautomer == other_tautomer else "compound_id"
    if any("." in (row.smiles or "") for row in (first, second)):
        return "salt_form"
    return "compound_id" if key == other_key else "stereo"


def _differ_in_unit(identity: Identity, row: int, other: int) -> bool:
    """Whether doses (or times) are equal once in one unit, but not as written."""
    for column, amounts in (("pert_dose", identity.doses), ("pert_time", identity.times)):
        if column in identity.treated.columns and amounts[row] and amounts[row] == amounts[other]:
            written = identity.treated[column]
            if f"{written[row]:.4g}" != f"{written[other]:.4g}":
                return True
    return False
