"""Autoencoder over gene modules: a linear part that starts as principal components, and attention beside it.

The idea of attention among modules is the Gene-Cluster-Aware Encoder's of scBIG (Ruan et al. 2026).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pertcast.models.layers.latents.autoencoder import Autoencoder, LinearAutoencoder
from pertcast.models.module_flow.attention import InducedAttention
from pertcast.models.module_flow.autoencoder_config import GeneAutoencoderConfig
from pertcast.models.module_flow.tokens import ModulesDoNotFit, ModuleTokens
from pertcast.models.noise import KeyedNoise

_ENCODER_STREAM, _DECODER_STREAM = 300, 400
_SECANT = 1.0


class ModuleIdentity(nn.Module):
    """What tells modules' tokens apart: LN(linear(mean embedding of its genes) + a learnt vector).

    Parameters
    ----------
    n_modules, embedding_width, width
        K, d (0: genes have no embedding) and W.
    """

    def __init__(self, n_modules: int, embedding_width: int, width: int) -> None:
        super().__init__()
        self.own = nn.Parameter(0.1 * torch.randn(n_modules, width))
        self.embedding = nn.Linear(embedding_width, width) if embedding_width else None
        self.norm = nn.LayerNorm(width)

    def forward(self, module_embedding: Tensor) -> Tensor:
        """Return (K, W) for the modules' mean embeddings (K, d)."""
        known = self.own
        if self.embedding is not None:
            known = known + self.embedding(module_embedding.to(self.own.dtype))
        told: Tensor = self.norm(known)
        return told


def _blocks(config: GeneAutoencoderConfig, stream: int) -> nn.ModuleList:
    sizes = (config.width, config.heads, config.inducing, config.feed_forward, config.dropout)
    return nn.ModuleList(InducedAttention(*sizes, stream + 4 * number) for number in range(config.depth))


def _from_zero(before: int, after: int) -> nn.Linear:
    layer = nn.Linear(before, after)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class ModuleEncoder(nn.Module):
    """Dealt profiles (N, K, L) to (N, D): tokens, blocks, mean over the present modules; zero at first."""

    def __init__(
        self, config: GeneAutoencoderConfig, places: int, identity: ModuleIdentity, latent_dim: int
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(places, config.width)
        self.identity = identity
        self.blocks = _blocks(config, _ENCODER_STREAM)
        self.leave = _from_zero(config.width, latent_dim)

    def forward(
        self,
        dealt: Tensor,
        module_embedding: Tensor,
        is_present: Tensor,
        noise: KeyedNoise | None,
        keys: Tensor | None,
    ) -> Tensor:
        """Return (N, D)."""
        tokens = self.enter(dealt) + self.identity(module_embedding)
        for block in self.blocks:
            tokens = block(tokens, is_present, noise, keys)
        share = is_present / is_present.sum().clamp(min=1)
        latents: Tensor = self.leave((tokens * share.to(tokens.dtype).unsqueeze(1)).sum(dim=1))
        return latents


class ModuleDecoder(nn.Module):
    """Latents (N, D) to dealt profiles (N, K, L): one token a module, blocks, its places; zero at first."""

    def __init__(
        self, config: GeneAutoencoderConfig, places: int, identity: ModuleIdentity, latent_dim: int
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(latent_dim, config.width)
        self.identity = identity
        self.blocks = _blocks(config, _DECODER_STREAM)
        self.leave = _from_zero(config.width, places)

    def forward(
        self,
        latents: Tensor,
        module_embedding: Tensor,
        is_present: Tensor,
        noise: KeyedNoise | None,
        keys: Tensor | None,
    ) -> Tensor:
        """Return (N, K, L)."""
        tokens = self.enter(latents).unsqueeze(1) + self.identity(module_embedding)
        for block in self.blocks:
            tokens = block(tokens, is_present, noise, keys)
        dealt: Tensor = self.leave(tokens)
        return dealt


class GeneAutoencoder(Autoencoder):
    """Encoder and decoder are each linear plus a network over gene modules that starts at zero.

    The linear parts start at principal components with scores of unit variance, so that an untrained
    autoencoder is principal components. Labels have to be set (`set_labels`) before `start_from`.

    Parameters
    ----------
    config
        Sizes.
    n_genes, n_modules, places
        G, K and L, the largest size of a module; see `module_places`.
    embedding_width
        d, width of the gene embedding; 0: there is none.
    """

    module_embedding: Tensor
    squared_slope: Tensor

    def __init__(
        self,
        config: GeneAutoencoderConfig,
        n_genes: int,
        n_modules: int,
        places: int,
        embedding_width: int = 0,
    ) -> None:
        latent_dim = min(config.latent_dim, n_genes)
        super().__init__(n_genes, latent_dim)
        self.tokens = ModuleTokens(n_genes, n_modules, places)
        self.enter = nn.Linear(n_genes, latent_dim)
        self.leave = nn.Linear(latent_dim, n_genes)
        told = (n_modules, embedding_width, config.width)
        self.encoder = ModuleEncoder(config, places, ModuleIdentity(*told), latent_dim)
        self.decoder = ModuleDecoder(config, places, ModuleIdentity(*told), latent_dim)
        self.register_buffer("module_embedding", torch.zeros(n_modules, embedding_width))
        self.register_buffer("squared_slope", torch.zeros(latent_dim, n_genes))

    @torch.no_grad()
    def set_labels(self, labels: Tensor, gene_embedding: Tensor | None = None) -> None:
        """Take up a grouping of the genes.

        Parameters
        ----------
        labels
            (G,) int64, the module of each gene, 0..K-1.
        gene_embedding
            (G, d) float32; None: zero.

        Raises
        ------
        ModulesDoNotFit
            The labels do not fit, see `ModuleTokens.set_labels`, or the embedding has another shape.
        """
        self.tokens.set_labels(labels)
        width = self.module_embedding.shape[1]
        if gene_embedding is None:
            gene_embedding = torch.zeros(self.n_genes, width)
        if gene_embedding.shape != (self.n_genes, width):
            raise ModulesDoNotFit(
                f"A gene embedding of shape {tuple(gene_embedding.shape)} for {self.n_genes} genes and an "
                f"embedding width of {width}; give the one that the autoencoder was built for."
            )
        self.module_embedding.copy_(self.tokens.module_means(gene_embedding.to(self.tokens.labels.device)))

    @torch.no_grad()
    def start_from(self, components: Tensor, variances: Tensor, gene_variance: Tensor) -> None:
        """Start the linear parts at principal components; order each module's genes by what they explain.

        Raises
        ------
        ModulesDoNotFit
            No labels were set.
        """
        if bool((self.tokens.labels < 0).any()):
            raise ModulesDoNotFit("Genes have no modules yet; call set_labels before training.")
        self.tokens.arrange(variances @ components.square())
        sd = variances.clamp(min=1e-6 * float(variances.max().clamp(min=1e-12))).sqrt().unsqueeze(1)
        self.enter.weight.copy_(components / sd)
        self.leave.weight.copy_((components * sd).T)
        for layer in (self.enter, self.leave):
            nn.init.zeros_(layer.bias)

    def latents_of(
        self, response: Tensor, noise: KeyedNoise | None = None, keys: Tensor | None = None
    ) -> Tensor:
        """Return (N, D) raw latents; in training dropout is keyed by the samples' `keys` (N,)."""
        response = response.to(self.enter.weight.dtype)
        dealt = self.tokens.gather(response)
        beside = self.encoder(dealt, self.module_embedding, self.tokens.is_present, noise, keys)
        latents: Tensor = self.enter(response) + beside
        return latents.float()

    def restored(
        self, latents: Tensor, noise: KeyedNoise | None = None, keys: Tensor | None = None
    ) -> Tensor:
        """Return (N, G) responses of raw latents; in training dropout is keyed by `keys` (N,)."""
        latents = latents.to(self.leave.weight.dtype)
        dealt = self.decoder(latents, self.module_embedding, self.tokens.is_present, noise, keys)
        restored: Tensor = self.leave(latents) + self.tokens.scatter(dealt)
        return restored.float()

    def raw_latents(self, response: Tensor) -> Tensor:
        """Return the latents without noise."""
        return self.latents_of(response)

    def raw_decode(self, latents: Tensor) -> Tensor:
        """Return the responses without noise."""
        return self.restored(latents)

    @torch.no_grad()
    def settle(self, readout: Tensor | None) -> None:
        """Measure how genes follow each latent, from one sd below the middle to one sd above."""
        steps = _SECANT * torch.eye(self.latent_dim, device=self.latent_mean.device)
        slope = (self.decode(steps) - self.decode(-steps)) / (2 * _SECANT)
        self.squared_slope.copy_(slope.square())

    def gene_variance(self, latent_variance: Tensor) -> Tensor:
        """Return the variances by the slopes around the middle of the latent space."""
        return latent_variance @ self.squared_slope

    def dimension_weight(self) -> Tensor:
        """Return the variance that each dimension makes around the middle of the latent space."""
        return self.squared_slope.sum(dim=1)


def build_gene_autoencoder(
    config: GeneAutoencoderConfig, n_genes: int, n_modules: int, places: int, embedding_width: int = 0
) -> Autoencoder:
    """Return the autoencoder that a configuration asks for; see `GeneAutoencoder`."""
    if config.kind == "pca":
        return LinearAutoencoder(n_genes, min(config.latent_dim, n_genes))
    return GeneAutoencoder(config, n_genes, n_modules, places, embedding_width)
