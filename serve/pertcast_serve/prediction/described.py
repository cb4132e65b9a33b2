"""What a bundle is and which names it knows, read from its JSON: no weights are loaded for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pertcast.bundle_summary import title_of
from pertcast.models.batch import ModelSpace
from pertcast.training.bundle import BundleFacts
from pertcast.training.bundle_manifest import content_hash, members_of
from pertcast_data.errors import CorruptBundle
from pydantic import ValidationError

from pertcast_serve.schemas.models import Metadata, ModelCard, Vocabulary

VERSION_LETTERS = 12
"""Letters of a bundle's hash that name a version."""


def gene_space_id(genes: Sequence[str]) -> str:
    """Return a short stable id of an ordered list of genes."""
    return hashlib.sha256("\n".join(genes).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class DescribedBundle:
    """A bundle without its arrays.

    Attributes
    ----------
    bundle
        Hash of all of it but metrics and supplements.
    family, model_config
        Registered name and configuration of the model.
    space, facts
        What it predicts, and where it comes from.
    pertcast
        Version that wrote it.
    vocabulary
        The names that it knows.
    n_members
        Models of an ensemble; 0 for one model.
    """

    bundle: str
    family: str
    model_config: Mapping[str, Any]
    space: ModelSpace
    facts: BundleFacts
    pertcast: str
    vocabulary: Vocabulary
    n_members: int = 0

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> DescribedBundle:
        """Read what `read_manifest` returned; raises CorruptBundle where something is not there."""
        try:
            space = ModelSpace.model_validate(manifest["space"])
            return cls(
                bundle=content_hash(manifest),
                family=str(manifest["model"]["name"]),
                model_config=dict(manifest["model"]["config"]),
                space=space,
                facts=BundleFacts.model_validate(manifest["facts"]),
                pertcast=str(manifest["pertcast_version"]),
                vocabulary=_vocabulary(space, manifest["encoder"]),
                n_members=len(members_of(manifest)),
            )
        except (ValidationError, KeyError, TypeError, ValueError) as error:
            raise CorruptBundle(f"The bundle's facts are not those of a bundle: {error}") from error

    @property
    def version(self) -> str:
        """First letters of the hash."""
        return self.bundle[:VERSION_LETTERS]

    @property
    def title(self) -> str:
        """What the model's family is called, and how many are an ensemble of it."""
        return title_of(self.family, self.n_members)

    def metadata(
        self, name: str, server: str, limits: Mapping[str, float], rows_per_pass: Sequence[int]
    ) -> Metadata:
        """Return what /v1/metadata says of it, served as `name` by a server of version `server`."""
        space = self.space
        return Metadata(
            model=f"{name}@{self.version}",
            family=self.family,
            title=self.title,
            bundle=self.bundle,
            version=server,
            measure=space.measure,
            gene_space=gene_space_id(space.genes),
            genes=list(space.genes),
            cell_lines=list(space.contexts),
            pert_types=list(space.pert_types),
            n_perturbations=len(space.perturbations),
            licence=self.facts.licence,
            held_out_metrics=dict(self.facts.metrics),
            limits=dict(limits),
            rows_per_pass=list(rows_per_pass),
        )

    def card(self, name: str, *, is_default: bool, newer_refused: str = "") -> ModelCard:
        """Return its card, served as `name`."""
        facts = self.facts
        return ModelCard(
            id=name,
            version=self.version,
            family=self.family,
            title=self.title,
            bundle=self.bundle,
            measure=self.space.measure,
            n_genes=self.space.n_genes,
            n_perturbations=len(self.space.perturbations),
            is_default=is_default,
            newer_refused=newer_refused,
            licence=facts.licence,
            normalisation=facts.normalisation,
            data_hash=facts.data_hash,
            split_hash=facts.split_hash,
            split_kind=facts.split_kind,
            fold=facts.fold,
            seed=facts.seed,
            pertcast=self.pertcast,
            held_out_metrics=dict(facts.metrics),
            config=dict(self.model_config),
        )


def _vocabulary(space: ModelSpace, encoder: Mapping[str, Any]) -> Vocabulary:
    known = list(zip(encoder["names"], encoder["is_compound"], encoder["smiles"], strict=True))
    # A condition's name ends with its dose in uM and its time in hours.
    endings = [str(name).rsplit("|", 2)[-2:] for name in encoder["condition_ids"]]
    return Vocabulary(
        genes=list(space.genes),
        cell_lines=list(space.contexts),
        pert_types=list(space.pert_types),
        compounds=[name for name, is_compound, _ in known if is_compound],
        smiles=[smiles for _, is_compound, smiles in known if is_compound],
        targets=[name for name, is_compound, _ in known if not is_compound],
        doses=_numbers(ending[0] for ending in endings),
        times=_numbers(ending[-1] for ending in endings),
    )


def _numbers(texts: Iterable[str]) -> list[float]:
    return sorted(float(text) for text in set(texts) if text)
