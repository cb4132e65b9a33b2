"""What autoencoders of standardised responses share, and the linear one: principal components.

Latents are standardised over the training rows, dimensions that hold nothing are silent, and what decoding
leaves out of a gene is kept as its noise, so that samples have the full spread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Autoencoder(nn.Module, ABC):
    """From standardised responses (N, G) to standardised latents (N, D) and back.

    Attributes
    ----------
    latent_mean, latent_sd
        (D,) of the raw latents over the training rows.
    active
        (D,) 1 for dimensions that vary with the profile, 0 for the others.
    noise_sd
        (G,) sd of what decoding leaves out, standardised units.
    reconstruction_r2
        Share of the training rows' variance that decoding restores: the ceiling of the whole model.
    """

    latent_mean: Tensor
    latent_sd: Tensor
    active: Tensor
    noise_sd: Tensor
    reconstruction_r2: Tensor

    def __init__(self, n_genes: int, latent_dim: int) -> None:
        super().__init__()
        self.n_genes = n_genes
        self.latent_dim = latent_dim
        self.register_buffer("latent_mean", torch.zeros(latent_dim))
        self.register_buffer("latent_sd", torch.ones(latent_dim))
        self.register_buffer("active", torch.ones(latent_dim))
        self.register_buffer("noise_sd", torch.zeros(n_genes))
        self.register_buffer("reconstruction_r2", torch.zeros(()))

    @abstractmethod
    def raw_latents(self, response: Tensor) -> Tensor:
        """Return (N, D) raw latents of standardised responses (N, G)."""

    @abstractmethod
    def raw_decode(self, latents: Tensor) -> Tensor:
        """Return (N, G) standardised responses of raw latents (N, D)."""

    @abstractmethod
    def start_from(self, components: Tensor, variances: Tensor, gene_variance: Tensor) -> None:
        """Take up principal components.

        Parameters
        ----------
        components
            (D, G) orthonormal directions, zero beyond the rank.
        variances
            (D,) variance along each.
        gene_variance
            (G,) variance of each gene.
        """

    def encode(self, response: Tensor) -> Tensor:
        """Return (N, D) standardised latents, zero where silent."""
        return (self.raw_latents(response) - self.latent_mean) / self.latent_sd * self.active

    def decode(self, latents: Tensor) -> Tensor:
        """Return (N, G) standardised responses of standardised latents (N, D)."""
        return self.raw_decode(latents * (self.latent_sd * self.active) + self.latent_mean)

    @abstractmethod
    def gene_variance(self, latent_variance: Tensor) -> Tensor:
        """Return (N, G) variances of genes that follow from variances (N, D) of independent latents.

        To first order around the middle of the latent space; what decoding leaves out is not counted.
        """

    @abstractmethod
    def dimension_weight(self) -> Tensor:
        """Return (D,) the variance of genes, summed, that a unit variance of each latent makes."""

    def settle(self, readout: Tensor | None) -> None:
        """Take up a correction of decoding, and bring what is derived from weights up to date.

        Parameters
        ----------
        readout
            (D, G) linear map from standardised latents to what decoding leaves out, by least squares over the
            training rows; None where `wants_readout` is False.
        """

    @property
    def is_linear(self) -> bool:
        """Whether encoding and decoding are linear, so that the mean of cells is decoded as cells are."""
        return False

    @property
    def wants_readout(self) -> bool:
        """Whether decoding is biased, so that a correction is worth its sums of D x G."""
        return False


class LinearAutoencoder(Autoencoder):
    """Principal components of the training rows (PCA)."""

    components: Tensor

    def __init__(self, n_genes: int, latent_dim: int) -> None:
        super().__init__(n_genes, latent_dim)
        self.register_buffer("components", torch.zeros(latent_dim, n_genes))

    @property
    def is_linear(self) -> bool:
        """True."""
        return True

    def start_from(self, components: Tensor, variances: Tensor, gene_variance: Tensor) -> None:
        """Take the components as they are."""
        self.components.copy_(components)

    def raw_latents(self, response: Tensor) -> Tensor:
        """Return the scores on the components."""
        return response @ self.components.T

    def raw_decode(self, latents: Tensor) -> Tensor:
        """Return the sum of the components, weighted."""
        return latents @ self.components

    def gene_variance(self, latent_variance: Tensor) -> Tensor:
        """Return the variances exactly: decoding is linear."""
        scaled: Tensor = latent_variance * (self.latent_sd * self.active).square()
        return scaled @ self.components.square()

    def dimension_weight(self) -> Tensor:
        """Return the variance along each component."""
        return (self.latent_sd * self.active).square() * self.components.square().sum(dim=1)
