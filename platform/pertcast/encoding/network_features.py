"""Features of genes from networks: read, integrated by the method that the options name, kept if asked."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pertcast_data.errors import FormatError
from pertcast_data.networks.multiplex import MultiplexNetwork
from pertcast_data.networks.reading import read_multiplex
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pertcast.encoding.spec import EncoderSpec
from pertcast.models.multiplex_network.integration.integrate import integrate
from pertcast.models.multiplex_network.integration.multiplex import Multiplex, NetworkLayer

_LOG = logging.getLogger(__name__)
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class NetworkFeatures:
    """What networks say of genes.

    Attributes
    ----------
    network
        The networks as read.
    values
        (N, D) float32, mean square length 1.
    """

    network: MultiplexNetwork
    values: NDArray[np.float32]


def network_features(spec: EncoderSpec) -> NetworkFeatures:
    """Read the networks of a spec and integrate them; with a cache, only what it does not hold.

    Raises
    ------
    FormatError, SchemaError, ConfigError
        A network or the table of names cannot be used.
    """
    network = read_multiplex(spec.gene_network, spec.gene_network_score, spec.gene_names)
    for line in network.coverage_text().splitlines():
        _LOG.info(line)
    return NetworkFeatures(network, _kept(network, spec))


def as_multiplex(network: MultiplexNetwork) -> Multiplex:
    """Return the networks as tensors."""
    layers = [
        NetworkLayer(each.name, torch.from_numpy(each.edges), torch.from_numpy(each.weights))
        for each in network.networks
    ]
    return Multiplex(len(network.genes), tuple(layers))


def _kept(network: MultiplexNetwork, spec: EncoderSpec) -> NDArray[np.float32]:
    if spec.gene_network_cache is None:
        return _integrated(network, spec)
    method = spec.gene_network_integration.method
    path = spec.gene_network_cache / f"{method}-{_identity(network, spec)[:16]}.safetensors"
    if path.is_file():
        try:
            return np.asarray(load_file(path)["features"].numpy(), np.float32)
        except (SafetensorError, KeyError) as error:
            raise FormatError(f"{path}: is damaged ({error}). Remove it: it is made anew.") from error
    values = _integrated(network, spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    save_file({"features": torch.from_numpy(values)}, unfinished)
    unfinished.replace(path)
    return values


def _integrated(network: MultiplexNetwork, spec: EncoderSpec) -> NDArray[np.float32]:
    device = spec.gene_network_device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    config = spec.gene_network_integration

    def tell(done: int, total: int, note: str) -> None:
        _LOG.info("networks integrated by %s: %d of %d %s", config.method, done, total, note)

    found = integrate(
        as_multiplex(network), spec.gene_network_components, config, device=device, progress=tell
    )
    _LOG.info("networks integrated by %s: %s", config.method, dict(found.facts))
    return np.ascontiguousarray(found.features.cpu().numpy(), dtype=np.float32)


def _identity(network: MultiplexNetwork, spec: EncoderSpec) -> str:
    """Return a hash of everything that the features follow from."""
    names = hashlib.sha256("\n".join(network.genes).encode()).hexdigest()
    told = {
        "format": _FORMAT,
        "files": [each.sha256 for each in network.networks],
        "genes": names,
        "score": spec.gene_network_score,
        "components": spec.gene_network_components,
        "integration": spec.gene_network_integration.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
