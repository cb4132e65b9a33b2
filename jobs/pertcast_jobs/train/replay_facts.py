"""What must be the same for a recorded run to be trained again, and what may explain other numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pertcast.training.bundle import BundleFiles, load_bundle_files
from pertcast_data.errors import ConfigError

from pertcast_jobs.environment import NOT_DECIDING, is_deterministic
from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_config.flat import flat
from pertcast_jobs.run_folder import RunFolder, RunManifest
from pertcast_jobs.train.prepare import PreparedRun
from pertcast_jobs.train.run import differing_content, differing_keys

TOLERANCE_ELSEWHERE = 1e-4
"""Largest relative deviation of weights and held-out losses between two environments."""

_MAY_DIFFER = (
    "cluster.collective_timeout_s",
    "cluster.look_for_nodes_every_s",
    "cluster.max_failures",
    "cluster.stop_grace_s",
    "cluster.storage_path",
    "data.split",
    "data.store",
    "encoder.compound_embedding",
    "encoder.gene_embedding",
    "encoder.gene_network",
    "init_from",
    "tracking.",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "train.peak_tflops",
    "train.prefetch",
    "train.storage_patience_s",
)
"""Where things lie (their content is compared) and what changes no bit. Everything else is recorded."""


@dataclass(frozen=True)
class Difference:
    """A fact that differs between a recorded run and its replay, and may explain different numbers.

    Attributes
    ----------
    name
        Dotted name.
    before, now
        Its values.
    """

    name: str
    before: Any
    now: Any

    def text(self) -> str:
        """Return the difference in words."""
        return f"{self.name} was {self.before}, is {self.now}"


def recorded_bundle(run: RunFolder) -> BundleFiles:
    """Return a finished run's bundle, verified.

    Raises
    ------
    ConfigError
        The run is not done, is an ensemble, or holds the bundle of another training.
    CorruptBundle
        A file of the bundle was changed.
    """
    manifest = run.manifest()
    if manifest.members:
        raise ConfigError(
            f"{run.path} holds an ensemble. Replay its members, one by one: {run.path}/members."
        )
    if not run.is_done:
        raise ConfigError(
            f"{run.path} is not done: there is nothing to compare a replay with. Continue it with "
            f"`pertcast train {run.config_path} --out {run.path} --resume`."
        )
    bundle = load_bundle_files(run.bundle_path)
    facts = {"data_hash": bundle.facts.data_hash, "split_hash": bundle.facts.split_hash}
    strange = [name for name, value in facts.items() if value != getattr(manifest, name)]
    if strange or bundle.facts.seed != manifest.seed:
        raise ConfigError(
            f"{run.bundle_path} is the bundle of another training than {run.manifest_path} tells of "
            f"({', '.join(strange) or 'seed'} differ). Restore the run's folder."
        )
    return bundle


def require_same_training(run: RunFolder, prepared: PreparedRun) -> None:
    """Raise ConfigError, naming everything, where a replay would be another training than recorded."""
    before, asked = run.config().model_dump(mode="json"), prepared.config.model_dump(mode="json")
    differing = differing_keys(before, asked, _MAY_DIFFER) + differing_content(run, prepared)
    if differing:
        raise ConfigError(
            f"{run.path} cannot be replayed, this would be another training: {'; '.join(differing)}. "
            "Name the recorded data where they lie now (data.store=STORE data.split=SPLIT), and leave "
            "everything else."
        )


def explaining_differences(before: RunManifest, now: RunManifest) -> list[Difference]:
    """Return what of code and environment differs between two runs and could change numbers."""
    facts = [
        {
            "code_version": each.code_version,
            "git_revision": each.git_revision,
            **flat({"environment": _compared(each.environment)}),
        }
        for each in (before, now)
    ]
    names = sorted(facts[0].keys() | facts[1].keys())
    found = [Difference(name, facts[0].get(name), facts[1].get(name)) for name in names]
    return [each for each in found if each.before != each.now]


def _compared(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in environment.items() if name not in NOT_DECIDING}


def tolerance_between(before: RunManifest, now: RunManifest) -> float:
    """Return the largest relative deviation that still counts as the same training: 0 is bit for bit."""
    is_same = before.environment_hash == now.environment_hash and is_deterministic(now.environment)
    return 0.0 if is_same else TOLERANCE_ELSEWHERE


def config_of_replay(run: RunFolder, config: RunConfig) -> RunConfig:
    """Return the recorded configuration (with overrides); it starts from the bundle that the run kept."""
    if config.init_from is None or not run.start_path.exists():
        return config
    return config.model_copy(update={"init_from": run.start_path})
