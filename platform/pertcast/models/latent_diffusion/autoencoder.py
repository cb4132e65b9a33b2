"""The autoencoders of latent_diffusion: principal components, a variational one, or none."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pertcast.models.latent_diffusion.config import AutoencoderConfig
from pertcast.models.layers.latents.autoencoder import Autoencoder, LinearAutoencoder

LOG_VARIANCE_RANGE = (-10.0, 4.0)


class NoAutoencoder(Autoencoder):
    """Latents are the genes themselves."""

    def __init__(self, n_genes: int) -> None:
        super().__init__(n_genes, n_genes)

    def raw_latents(self, response: Tensor) -> Tensor:
        """Return the responses."""
        return response

    def raw_decode(self, latents: Tensor) -> Tensor:
        """Return the latents."""
        return latents

    def start_from(self, components: Tensor, variances: Tensor, gene_variance: Tensor) -> None:
        """Take nothing: genes need no directions."""

    def gene_variance(self, latent_variance: Tensor) -> Tensor:
        """Return the latents' own variances, in units of the genes."""
        return latent_variance * (self.latent_sd * self.active).square()

    def dimension_weight(self) -> Tensor:
        """Return the genes' variances."""
        return (self.latent_sd * self.active).square()


def _layers(widths: list[int]) -> nn.Sequential:
    """Return Linear and LayerNorm and SiLU for all widths but the last, which is Linear from zero."""
    parts: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        parts += [nn.Linear(before, after), nn.LayerNorm(after), nn.SiLU()]
    last = nn.Linear(widths[-2], widths[-1])
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*parts, last)


class VariationalAutoencoder(Autoencoder):
    """A variational autoencoder that begins as probabilistic principal components.

    Encoder and decoder are each linear plus a network that starts at zero; the linear parts start at the
    maximum of the likelihood of a linear decoder (Tipping & Bishop 1999), so that training can only improve
    on components. The decoder's noise is learnt gene by gene.
    """

    squared_jacobian: Tensor
    readout: Tensor

    def __init__(self, n_genes: int, config: AutoencoderConfig) -> None:
        latent_dim = min(config.latent_dim, n_genes)
        super().__init__(n_genes, latent_dim)
        self.enter = nn.Linear(n_genes, 2 * latent_dim)
        self.leave = nn.Linear(latent_dim, n_genes)
        self.encoder = _layers([n_genes, *config.hidden, 2 * latent_dim])
        self.decoder = _layers([latent_dim, *reversed(config.hidden), n_genes])
        self.log_noise = nn.Parameter(torch.zeros(n_genes))
        self.register_buffer("squared_jacobian", torch.zeros(latent_dim, n_genes))
        self.register_buffer("readout", torch.zeros(latent_dim, n_genes))

    @torch.no_grad()
    def start_from(self, components: Tensor, variances: Tensor, gene_variance: Tensor) -> None:
        """Start encoder and decoder at probabilistic principal components."""
        explained = variances @ components.square()
        left = (gene_variance - explained).clamp(min=1e-4 * float(gene_variance.mean().clamp(min=1e-8)))
        noise = left.mean()
        loading = (variances - noise).clamp(min=1e-6 * float(noise)).sqrt()
        total = loading.square() + noise
        for layer in (self.enter, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.enter.weight[: self.latent_dim].copy_((loading / total).unsqueeze(1) * components)
        self.enter.bias[self.latent_dim :].copy_(torch.log(noise / total))
        self.leave.weight.copy_((loading.unsqueeze(1) * components).T)
        self.log_noise.copy_(0.5 * torch.log(left))

    def posterior(self, response: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the latents, (N, D) float32 each."""
        dtype = self.enter.weight.dtype
        both = (self.enter(response.to(dtype)) + self.encoder(response.to(dtype))).float()
        mean, log_variance = both.chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)

    def raw_latents(self, response: Tensor) -> Tensor:
        """Return the mean of the latents' posterior."""
        return self.posterior(response)[0]

    def raw_decode(self, latents: Tensor) -> Tensor:
        """Return the mean of the genes."""
        latents = latents.to(self.leave.weight.dtype)
        decoded: Tensor = self.leave(latents) + self.decoder(latents)
        return decoded.float()

    def decode(self, latents: Tensor) -> Tensor:
        """Return (N, G) responses: decoded, and given back what the prior has shrunk."""
        return super().decode(latents) + latents @ self.readout

    @property
    def wants_readout(self) -> bool:
        """True: the prior shrinks latents, and what they are decoded to."""
        return True

    @torch.no_grad()
    def settle(self, readout: Tensor | None) -> None:
        """Take up the correction, and differentiate the decoder at the middle of the latent space."""
        if readout is not None:
            self.readout.copy_(readout)
        middle = self.latent_mean.new_zeros(self.latent_dim)
        jacobian = torch.func.jacfwd(lambda z: self.decode(z.unsqueeze(0)).squeeze(0))(middle)
        self.squared_jacobian.copy_(jacobian.square().T)

    def gene_variance(self, latent_variance: Tensor) -> Tensor:
        """Return the variances to first order around the middle of the latent space."""
        return latent_variance @ self.squared_jacobian

    def dimension_weight(self) -> Tensor:
        """Return the variance that each dimension makes around the middle of the latent space."""
        return self.squared_jacobian.sum(dim=1)

    def negative_log_likelihood(self, response: Tensor, decoded: Tensor) -> Tensor:
        """Return (N,) -log p(x | z), without its constant, summed over genes."""
        error = (response - decoded) * torch.exp(-self.log_noise.float())
        return (0.5 * error.square() + self.log_noise.float()).sum(dim=1)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return (N, D) the Kullback-Leibler divergence of N(mean, variance) from N(0, 1)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def build_autoencoder(config: AutoencoderConfig, n_genes: int) -> Autoencoder:
    """Return the autoencoder that a configuration asks for."""
    if config.kind == "none":
        return NoAutoencoder(n_genes)
    if config.kind == "pca":
        return LinearAutoencoder(n_genes, min(config.latent_dim, n_genes))
    return VariationalAutoencoder(n_genes, config)
