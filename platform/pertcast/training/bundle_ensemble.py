"""The bundle of an ensemble: the weights of each member, and once what they share.

Members of one configuration, fitted on the same rows, encode conditions alike: encoder, basal profiles and
training conditions are those of the first, and every reader of bundles takes the ensemble for one model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from pertcast_data.errors import ConfigError

from pertcast.training.bundle import BundleFiles
from pertcast.training.bundle_writing import State, write_bundle

FEWEST_MEMBERS: Final = 2
_TOLERANCE: Final = 1e-5
"""Fitted on other machines, the same arrays differ by their rounding."""


def save_ensemble(path: Path | str, members: Sequence[BundleFiles]) -> Path:
    """Write the bundle of an ensemble, whole or not at all; a bundle already at `path` is replaced.

    Its members are named by their seeds. It has no metrics: those of its members are not its own.

    Parameters
    ----------
    path
        Folder to write.
    members
        Verified bundles that differ in seed and weights alone; at least two.

    Raises
    ------
    ConfigError
        Fewer than two members, a seed twice, an ensemble among them, or members that were trained on other
        data, with another configuration, or that encode conditions in another way.
    """
    first = members[0] if members else None
    if first is None or len(members) < FEWEST_MEMBERS:
        raise ConfigError(f"An ensemble needs at least {FEWEST_MEMBERS} members.")
    for member in members:
        _require_fit(first, member)
    named = {f"seed{member.facts.seed}": member for member in members}
    if len(named) < len(members):
        raise ConfigError("Two members of an ensemble have the same seed: they are the same model.")
    model = {
        "name": first.model_name,
        "config": first.model_config,
        "members": {name: _record(member) for name, member in named.items()},
    }
    results = {name: member.facts.training.get("result", {}) for name, member in named.items()}
    training = {"config": first.facts.training.get("config", {}), "members": results}
    facts = first.facts.model_copy(update={"metrics": {}, "training": training})
    return write_bundle(
        Path(path),
        {
            "model": model,
            "space": first.space.model_dump(mode="json"),
            "facts": facts.model_dump(mode="json"),
        },
        {name: member.weights for name, member in named.items()},
        first.conditions,
        first.encoder_state,
        first.basal_state,
    )


def _record(member: BundleFiles) -> dict[str, Any]:
    return {"seed": member.facts.seed, "content_hash": member.content_hash}


def _require_fit(first: BundleFiles, other: BundleFiles) -> None:
    """Raise ConfigError unless two bundles differ in seed and weights alone."""
    differing = [
        what
        for what, one, two in (
            ("model", first.model_name, other.model_name),
            ("configuration of the model", first.model_config, other.model_config),
            ("training data", first.facts.data_hash, other.facts.data_hash),
            ("split", first.facts.split_hash, other.facts.split_hash),
            ("fold", first.facts.fold, other.facts.fold),
            ("space", first.space, other.space),
        )
        if one != two
    ]
    for what, one, two in (
        ("encoder", first.encoder_state, other.encoder_state),
        ("basal profiles", first.basal_state, other.basal_state),
        ("training conditions", _conditions(first), _conditions(other)),
    ):
        if not _is_same(one, two):
            differing.append(what)
    if first.members or other.members:
        differing.append("kind (one is an ensemble itself)")
    if differing:
        raise ConfigError(
            f"{first.path} and {other.path} do not have the same {', '.join(differing)}: an ensemble's "
            "members differ in their seed alone. Train them with `pertcast train ... --ensemble K`."
        )


def _conditions(files: BundleFiles) -> State:
    return {}, {f.name: getattr(files.conditions, f.name).numpy() for f in fields(files.conditions)}


def _is_same(one: State, other: State) -> bool:
    return dict(one[0]) == dict(other[0]) and _are_close(one[1], other[1])


def _are_close(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    if one.keys() != other.keys():
        return False
    return all(one[name].shape == other[name].shape and _is_close(one[name], other[name]) for name in one)


def _is_close(one: np.ndarray, other: np.ndarray) -> bool:
    if not np.issubdtype(one.dtype, np.floating):
        return bool(np.array_equal(one, other))
    return bool(np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True))
