"""Starting a run from a trained bundle: what is checked, what is taken over, what is told of it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
import torch
from pertcast.encoding import ConditionEncoder, EncoderSpec
from pertcast.encoding.feature_space import feature_names
from pertcast.models.contract import ResponseModel, StartingPoint
from pertcast.models.registry import get_model
from pertcast.training.bundle import BundleFiles, find_bundle, load_bundle_files
from pertcast.training.freezing import frozen_stages, require_taken
from pertcast.training.transfer import Transfer, names_of, stage_tensors, transfer
from pertcast.training.transfer_axes import tensor_axes
from pertcast_data.errors import ConfigError, LeakageError
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore
from pertcast_data.text import listed

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.start_record import StartRecord, earlier_conditions

log = logging.getLogger(__name__)

LEAST_OF_BUNDLE: Final = 0.8
"""Share of the bundle's genes that the new store must have: its networks read and describe all of them."""

LEAST_OF_STORE: Final = 0.5
"""Share of the new store's genes that the bundle must know."""


@dataclass(frozen=True)
class Base:
    """A trained bundle that a run starts from.

    Attributes
    ----------
    files
        The bundle, verified.
    encoder
        Its encoder.
    """

    files: BundleFiles
    encoder: ConditionEncoder

    @property
    def trained_conditions(self) -> tuple[str, ...]:
        """Ids of all conditions that it has seen in training."""
        before = earlier_conditions(self.files.facts)
        return tuple(dict.fromkeys((*before, *self.encoder.training_index)))


def open_base(config: RunConfig) -> Base | None:
    """Return the bundle that a run starts from, verified; None for fresh weights.

    Raises
    ------
    ConfigError
        There is none, it is another model's or an ensemble, or the run asks for features of its own.
    CorruptBundle
        It is damaged.
    """
    if config.init_from is None:
        return None
    entry, spec = get_model(config.model.name), EncoderSpec().with_absolute_paths()
    reason = entry.model_type.why_from_scratch
    if reason is not None:
        raise ConfigError(f"init_from: {config.model.name} cannot start from a trained bundle: {reason}.")
    files = load_bundle_files(find_bundle(config.init_from))
    if files.members:
        raise ConfigError(
            f"init_from: {files.path} is an ensemble, and a run starts from one model. Name the bundle of "
            "one of its members, in RUN/members."
        )
    if files.model_name != config.model.name:
        raise ConfigError(
            f"init_from: {files.path} is a {files.model_name}, and the run trains {config.model.name}. Train "
            f"{files.model_name}, or start from a bundle of {config.model.name}."
        )
    own = [name for name in EncoderSpec.model_fields if getattr(config.encoder, name) != getattr(spec, name)]
    if own:
        raise ConfigError(
            f"encoder.{own[0]}: a run that starts from a bundle describes perturbations as that does. Leave "
            f"{listed([f'encoder.{name}' for name in own])} out."
        )
    return Base(files, ConditionEncoder.from_state(*files.encoder_state))


def check_base(base: Base, config: RunConfig, store: ExpressionStore, split: Split) -> None:
    """Check that a run on a store may start from a bundle.

    Raises
    ------
    ConfigError
        Profiles are something else in the store, too few genes are shared, or the model's configuration gives
        weights another shape.
    LeakageError
        The bundle was trained on conditions that the run holds out.
    """
    _require_same_measure(base, store)
    _require_genes(base, store)
    _require_same_shapes(base, config)
    _require_unseen(base, split, config.data.fold)


def _require_same_measure(base: Base, store: ExpressionStore) -> None:
    facts = base.files.facts
    for what in ("measure", "normalisation"):
        trained, here = getattr(facts, what), getattr(store, what)
        if trained != here:
            raise ConfigError(
                f"init_from: profiles have {what} {trained!r} in {base.files.path} and {here!r} in "
                f"{store.path}. Ingest the data as the bundle's were (`pertcast data ingest`), or train from "
                "scratch."
            )


def _require_genes(base: Base, store: ExpressionStore) -> None:
    known = set(base.files.space.genes)
    shared = len(known.intersection(store.genes))
    if shared >= LEAST_OF_BUNDLE * len(known) and shared >= LEAST_OF_STORE * store.n_genes:
        return
    raise ConfigError(
        f"init_from: {store.path} shares {shared:,} genes with {base.files.path}, which knows "
        f"{len(known):,}; the store has {store.n_genes:,}. At least {LEAST_OF_BUNDLE:.0%} of the bundle's "
        f"genes must be in the store, and {LEAST_OF_STORE:.0%} of the store's in the bundle. Are both named "
        "by symbol? Otherwise ingest the data with the bundle's genes, or train from scratch."
    )


def _require_same_shapes(base: Base, config: RunConfig) -> None:
    """Raise ConfigError where the run's configuration would give the bundle's model other weights."""
    files, entry = base.files, get_model(config.model.name)
    with torch.random.fork_rng(devices=[]):
        built = entry.build(config.model.config, files.space, files.conditions).state_dict()
    shapes = {name: tuple(value.shape) for name, value in built.items()}
    trained = {name: tuple(value.shape) for name, value in files.weights.items()}
    if shapes == trained:
        return
    differing = sorted(_differing(files.model_config, config.model.config))
    raise ConfigError(
        f"init_from: the weights of {files.path} have other shapes than this run's configuration asks for. "
        f"It differs in {listed(differing, 8)}. Leave out what changes the size of the model; learning "
        "rates, epochs and dropout may differ."
    )


def _differing(trained: Any, asked: Any, prefix: str = "model.config") -> list[str]:
    if not (isinstance(trained, dict) and isinstance(asked, dict)):
        return [] if trained == asked else [f"{prefix}={asked!r} (bundle: {trained!r})"]
    keys = trained.keys() | asked.keys()
    return [line for key in keys for line in _differing(trained.get(key), asked.get(key), f"{prefix}.{key}")]


def _require_unseen(base: Base, split: Split, fold: int) -> None:
    test = split.folds[fold].test
    seen = sorted(set(test).intersection(base.trained_conditions))
    if seen:
        raise LeakageError(
            f"{base.files.path} was trained on {len(seen):,} of the {len(test):,} conditions that the split "
            f"holds out ({listed(seen, 3)}): a test on them would be none. Start from a bundle that has not "
            "seen them, or hold out others."
        )


def start_from(model: ResponseModel, base: Base, encoder: ConditionEncoder, config: RunConfig) -> Transfer:
    """Put a bundle's weights into a fresh model, by name; return what became of them.

    Raises
    ------
    ConfigError
        A stage that shall keep its weights cannot.
    """
    files = base.files
    entry = get_model(files.model_name)
    names = tuple(names_of(each.space, feature_names(each.perturbations)) for each in (base.encoder, encoder))
    axes = tensor_axes(entry, files.model_config, files.space, files.conditions)
    known = set(files.space.genes)
    model.start = StartingPoint(torch.tensor([gene in known for gene in encoder.space.genes]))
    stages = model.stages()
    frozen = frozen_stages(model, stages, config.train.frozen_stages)
    kept = {name for stage in stages if stage.name in frozen for name in stage_tensors(model, stage)}
    found = transfer(model, files.weights, axes, (names[0], names[1]), kept)
    require_taken(model, stages, frozen, found.afresh)
    model.load_state_dict(found.weights)
    return found


def record_start(
    base: Base, config: RunConfig, encoder: ConditionEncoder, store: ExpressionStore, test: Collection[str]
) -> StartRecord:
    """Return what a run takes over of a bundle, having tried it; what weakens its test is logged.

    Parameters
    ----------
    base, config, encoder
        The bundle, the run, and its encoder fitted on the bundle's feature space.
    store, test
        The run's store, and the ids of the conditions that it holds out.

    Raises
    ------
    ConfigError
        As `start_from`.
    """
    model = build_fresh_model(config, encoder)
    found = start_from(model, base, encoder, config)
    before, now = base.files.space, encoder.space
    genes, trained = set(before.genes), len(base.encoder.perturbations.names)
    used = torch.unique(encoder.training_conditions.perturbation)
    n_known = int(((used >= 0) & (used < trained)).sum())
    held_out = store.conditions.filter(pl.col("condition_id").is_in(list(test)))
    tested = {
        (single.is_compound, single.name): single.index for single in encoder.encode_table(held_out).singles
    }
    n_known_genes = sum(gene in genes for gene in now.genes)
    record = StartRecord(
        path=str(config.init_from),
        content_hash=base.files.content_hash,
        data_hash=base.files.facts.data_hash,
        split_kind=base.files.facts.split_kind,
        n_genes=now.n_genes,
        n_genes_known=n_known_genes,
        n_genes_lost=before.n_genes - n_known_genes,
        contexts_known=tuple(name for name in now.contexts if name in before.contexts),
        contexts_new=tuple(name for name in now.contexts if name not in before.contexts),
        pert_types_known=tuple(name for name in now.pert_types if name in before.pert_types),
        pert_types_new=tuple(name for name in now.pert_types if name not in before.pert_types),
        n_perturbations_known=n_known,
        n_perturbations_new=int((used >= 0).sum()) - n_known,
        n_taken=len(found.taken),
        afresh=found.afresh,
        frozen=frozen_stages(model, model.stages(), config.train.frozen_stages),
        trained_conditions=base.trained_conditions,
        n_test_perturbations=len(tested),
        n_test_perturbations_seen=sum(0 <= index < trained for index in tested.values()),
    )
    if record.n_test_perturbations_seen:
        log.warning(record.seen_text())
    return record


def without_files(encoder: ConditionEncoder) -> ConditionEncoder:
    """Return an encoder that asks for no file of genes: what a bundle knows of them it holds itself."""
    plain = copy.copy(encoder)
    plain.spec = encoder.spec.model_copy(
        update={"gene_network": (), "gene_network_score": None, "gene_names": None, "gene_embedding": None}
        | {"gene_sets": None}
    )
    return plain


def build_fresh_model(config: RunConfig, encoder: ConditionEncoder) -> ResponseModel:
    """Build the run's model; its first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        return get_model(config.model.name).build(
            config.model.config, encoder.space, encoder.training_conditions
        )
