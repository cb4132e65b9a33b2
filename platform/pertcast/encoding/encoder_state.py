"""An encoder as plain facts and arrays, for the bundle and for other processes, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertcast.encoding.applicability import Applicability
from pertcast.encoding.compound_embedding import CompoundEmbedding
from pertcast.encoding.gene_features import GeneBlock
from pertcast.encoding.perturbations import Perturbations
from pertcast.encoding.spec import EncoderSpec
from pertcast.models.batch import ConditionBatch, ModelSpace

State = tuple[dict[str, Any], dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class EncoderParts:
    """Everything that an encoder is made of; see `ConditionEncoder`."""

    spec: EncoderSpec
    space: ModelSpace
    perturbations: Perturbations
    conditions: ConditionBatch
    condition_ids: tuple[str, ...]
    domain: Applicability


def state_of(parts: EncoderParts) -> State:
    """Return (plain facts, arrays) from which `parts_from_state` makes the same parts."""
    known = parts.perturbations
    limits, domain_arrays = parts.domain.state(known)
    facts: dict[str, Any] = {
        "spec": parts.spec.model_dump(mode="json"),
        "space": parts.space.model_dump(mode="json"),
        "names": list(known.names),
        "is_compound": list(known.is_compound),
        "smiles": list(known.smiles),
        "inchi_keys": list(known.inchi_keys),
        "aliases": dict(known.aliases),
        "condition_ids": list(parts.condition_ids),
        "limits": limits,
    }
    arrays: dict[str, NDArray[Any]] = {
        f"conditions.{each.name}": getattr(parts.conditions, each.name).numpy()
        for each in fields(ConditionBatch)
    }
    if known.genes != parts.space.genes:
        facts["loading_genes"] = list(known.genes)
    arrays |= {"loadings": known.loadings, **domain_arrays}
    if known.embedding is not None:
        embedding_facts, embedding_arrays = known.embedding.state()
        facts |= {"embedding": embedding_facts, "embedding_rows": list(known.embedding_rows)}
        arrays |= embedding_arrays
    if known.gene_blocks:
        states = [block.state() for block in known.gene_blocks]
        facts["gene_blocks"] = [block_facts for block_facts, _ in states]
        for _, block_arrays in states:
            arrays |= block_arrays
    return facts, arrays


def parts_from_state(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> EncoderParts:
    """Make the parts whose state this is.

    A state without an embedding or gene blocks has none. Loadings are those of the space's genes, where the
    state does not name others (those of the encoder that it started from).
    """
    spec = EncoderSpec.model_validate(facts["spec"])
    space = ModelSpace.model_validate(facts["space"])
    embedding = CompoundEmbedding.from_state(facts["embedding"], arrays) if "embedding" in facts else None
    perturbations = Perturbations(
        names=tuple(facts["names"]),
        is_compound=tuple(facts["is_compound"]),
        smiles=tuple(facts["smiles"]),
        inchi_keys=tuple(facts["inchi_keys"]),
        aliases=dict(facts["aliases"]),
        genes=tuple(facts.get("loading_genes", space.genes)),
        loadings=np.asarray(arrays["loadings"], np.float32),
        spec=spec,
        embedding=embedding,
        embedding_rows=tuple(facts.get("embedding_rows", ())),
        gene_blocks=tuple(GeneBlock.from_state(each, arrays) for each in facts.get("gene_blocks", ())),
    )
    tensors = {
        each.name: torch.from_numpy(np.array(arrays[f"conditions.{each.name}"]))
        for each in fields(ConditionBatch)
    }
    conditions = ConditionBatch(**tensors)
    domain = Applicability.restore(perturbations, conditions.features.numpy(), facts["limits"], arrays)
    return EncoderParts(spec, space, perturbations, conditions, tuple(facts["condition_ids"]), domain)
