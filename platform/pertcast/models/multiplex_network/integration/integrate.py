"""The one door to network integration: a method's name, its function, nothing else.

Graph attention is imported when asked for: torch_geometric takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch

from pertcast.models.multiplex_network.integration.config import IntegrationConfig, IntegrationMethod
from pertcast.models.multiplex_network.integration.integrated import Integrated, Progress, no_progress
from pertcast.models.multiplex_network.integration.multiplex import Multiplex
from pertcast.models.multiplex_network.integration.random_walk import integrate_by_random_walk
from pertcast.models.multiplex_network.integration.spectral import integrate_by_spectra
from pertcast.models.multiplex_network.integration.union import integrate_by_union

Method = Callable[..., Integrated]
"""(multiplex, components, config, *, device, progress) -> Integrated."""


def _attention(
    multiplex: Multiplex,
    components: int,
    config: IntegrationConfig,
    *,
    device: torch.device,
    progress: Progress,
) -> Integrated:
    from pertcast.models.multiplex_network.integration.attention import integrate_by_attention

    return integrate_by_attention(multiplex, components, config, device=device, progress=progress)


METHODS: Final[Mapping[IntegrationMethod, Method]] = MappingProxyType(
    {
        "union": integrate_by_union,
        "spectral": integrate_by_spectra,
        "random_walk": integrate_by_random_walk,
        "attention": _attention,
    }
)
"""Every method, by the name it has in the configuration."""


def integrate(
    multiplex: Multiplex,
    components: int,
    config: IntegrationConfig,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> Integrated:
    """Return features of the genes of a multiplex, by the method that the configuration names.

    Parameters
    ----------
    multiplex
        N genes and their networks.
    components
        Features wanted of a gene; fewer come back for few genes.
    config
        Method and settings.
    device
        Where to compute; the features come back on it.
    progress
        Called with steps done, steps in all and a note.

    Returns
    -------
    Integrated
        (N, D) float32 features of mean square length 1, equal at every call with the same arguments.
    """
    method = METHODS[config.method]
    return method(multiplex, components, config, device=torch.device(device), progress=progress)
