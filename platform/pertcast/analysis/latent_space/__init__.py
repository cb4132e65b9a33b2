"""Latent spaces: whether cell lines stay apart in them, and dose and time are ways one can walk along."""

from pertcast.analysis.latent_space.analyse import latent_space
from pertcast.analysis.latent_space.profiles import LatentPaths, LatentProfiles
from pertcast.analysis.latent_space.result import LatentSpace

__all__ = ["LatentPaths", "LatentProfiles", "LatentSpace", "latent_space"]
