"""The closed-form stages: principal components to start from, and the scale of the latents afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from pertcast_data.errors import PertcastError
from torch import Tensor

from pertcast.models.batch import Batch
from pertcast.models.contract import StatisticsStage
from pertcast.models.layers.latents.autoencoder import Autoencoder
from pertcast.models.layers.scaling import Scaling

EXACT_GENES: Final = 4096
"""Up to so many genes the covariance is held whole; beyond, a sketch of it."""

ACTIVE_VARIANCE: Final = 0.01
"""Least variance of the raw latents' mean over the training rows (Burda et al. 2016), as a share of 1."""

_SKETCH_EXTRA: Final = 32


class CollapsedAutoencoder(PertcastError):
    """No dimension of the latent space varies with the profile: everything would be decoded alike."""


class StandardisedTargets:
    """Targets as the autoencoder sees them: standardised, and clipped.

    Parameters
    ----------
    scaling
        Means and sd, already solved.
    clip
        Largest value, in sd.
    """

    def __init__(self, scaling: Scaling, clip: float) -> None:
        self._scaling = scaling
        self._clip = clip

    def __call__(self, batch: Batch) -> Tensor:
        """Return (N, G) float32."""
        standardised = self._scaling.standardise(batch.target, batch.conditions)
        return standardised.clamp(-self._clip, self._clip)


class ComponentsStage(StatisticsStage):
    """Finds the leading principal components of the standardised targets (about zero).

    The covariance is summed whole up to 4,096 genes; beyond that its product with random directions is, and
    the components are those of its Nystrom approximation (Tropp et al. 2017).

    Parameters
    ----------
    autoencoder
        Takes the components up.
    targets
        What it compresses.
    """

    name = "components"
    is_kept = True

    def __init__(self, autoencoder: Autoencoder, targets: StandardisedTargets) -> None:
        self.autoencoder = autoencoder
        self.targets = targets

    def filled(self) -> tuple[Tensor, ...]:
        """Return everything that the autoencoder holds."""
        return tuple(self.autoencoder.state_dict(keep_vars=True).values())

    @property
    def is_exact(self) -> bool:
        """Whether the second moment is held whole."""
        return self.autoencoder.n_genes <= EXACT_GENES

    def directions(self, like: Tensor) -> Tensor:
        """Return (G, D + 32) fixed random directions of the sketch."""
        generator = torch.Generator().manual_seed(0)
        width = self.autoencoder.latent_dim + _SKETCH_EXTRA
        return torch.randn(self.autoencoder.n_genes, width, generator=generator, dtype=torch.float64).to(like)

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        genes = self.autoencoder.n_genes
        width = genes if self.is_exact else self.autoencoder.latent_dim + _SKETCH_EXTRA
        return {
            "products": torch.zeros(genes, width, dtype=torch.float64),
            "squares": torch.zeros(genes, dtype=torch.float64),
            "rows": torch.zeros(1, dtype=torch.float64),
        }

    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add one batch."""
        target = self.targets(batch).to(sums["products"])
        right = target if self.is_exact else target @ self.directions(target)
        sums["products"] += target.T @ right
        sums["squares"] += target.square().sum(dim=0)
        sums["rows"] += len(batch)

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Solve for the components and hand them to the autoencoder."""
        rows = sums["rows"].clamp(min=1)
        variances, components = self.leading(sums["products"] / rows)
        self.hand_over(variances, components, sums["squares"] / rows)

    def eigen(self, products: Tensor) -> tuple[Tensor, Tensor]:
        """Return eigenvalues, ascending, and vectors (G, any) of a second moment, or of its products."""
        if self.is_exact:
            variances, vectors = torch.linalg.eigh(products)
            return variances, vectors
        return _nystrom(products, self.directions(products))

    def leading(self, products: Tensor) -> tuple[Tensor, Tensor]:
        """Return the D largest eigenvalues, falling, and their vectors (D, G)."""
        variances, vectors = self.eigen(products)
        count = self.autoencoder.latent_dim
        return variances.flip(0)[:count].clamp(min=0), vectors.flip(1)[:, :count].T

    def hand_over(self, variances: Tensor, components: Tensor, gene_variance: Tensor) -> None:
        """Give the autoencoder its components, zero beyond their rank."""
        used = variances > 1e-9 * variances.max().clamp(min=1e-30)
        self.autoencoder.start_from(
            (components * used.unsqueeze(1)).float(), variances.float(), gene_variance.float()
        )


def _nystrom(products: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (ascending) and vectors of a covariance from its product with directions."""
    shift = 1e-10 * float(products.norm())
    shifted = products + shift * directions
    inner = directions.T @ shifted
    factor = torch.linalg.cholesky((inner + inner.T) / 2)
    half = torch.linalg.solve_triangular(factor, shifted.T, upper=False).T
    vectors, lengths, _ = torch.linalg.svd(half, full_matrices=False)
    return (lengths.square() - shift).clamp(min=0).flip(0), vectors.flip(1)


def _readout(sums: Mapping[str, Tensor], scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least squares of what decoding leaves out on the standardised latents.

    Returns
    -------
    readout
        (D, G).
    gain
        (G,) sum of squares that it takes away, without the mean of what is left out.
    """
    rows = sums["rows"].clamp(min=1)
    mean = sums["sum"] / rows
    covariance = sums["products"] / rows - torch.outer(mean, mean)
    cross = sums["cross"] / rows - torch.outer(mean, sums["left_sum"] / rows)
    covariance = covariance / torch.outer(scale, scale)
    cross = cross / scale.unsqueeze(1)
    ridge = 1e-6 * torch.eye(len(scale), dtype=cross.dtype, device=cross.device)
    readout = torch.linalg.solve(covariance + ridge, cross)
    return readout, (readout * cross).sum(dim=0) * rows


class LatentScaleStage(StatisticsStage):
    """Measures the trained autoencoder: scale of each latent, active dimensions, what decoding leaves out.

    Parameters
    ----------
    autoencoder
        Filled by `finish`.
    targets
        What it compresses.
    """

    name = "latent_scale"

    def __init__(self, autoencoder: Autoencoder, targets: StandardisedTargets) -> None:
        self.autoencoder = autoencoder
        self.targets = targets

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        genes, latents = self.autoencoder.n_genes, self.autoencoder.latent_dim
        shapes: dict[str, tuple[int, ...]] = {
            "sum": (latents,),
            "square_sum": (latents,),
            "left_sum": (genes,),
            "left": (genes,),
            "squares": (genes,),
            "rows": (1,),
        }
        if self.autoencoder.wants_readout:
            shapes |= {"products": (latents, latents), "cross": (latents, genes)}
        return {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    @torch.no_grad()
    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add one batch."""
        target = self.targets(batch)
        raw = self.autoencoder.raw_latents(target)
        left = (target - self.autoencoder.raw_decode(raw)).double()
        latents = raw.double()
        sums["sum"] += latents.sum(dim=0)
        sums["square_sum"] += latents.square().sum(dim=0)
        sums["left_sum"] += left.sum(dim=0)
        sums["left"] += left.square().sum(dim=0)
        if "cross" in sums:
            sums["products"] += latents.T @ latents
            sums["cross"] += latents.T @ left
        sums["squares"] += target.double().square().sum(dim=0)
        sums["rows"] += len(batch)

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Store scales and noise.

        Raises
        ------
        CollapsedAutoencoder
            No dimension is active.
        """
        rows, auto = sums["rows"].clamp(min=1), self.autoencoder
        mean = sums["sum"] / rows
        variance = (sums["square_sum"] / rows - mean.square()).clamp(min=0)
        active = variance > ACTIVE_VARIANCE * variance.max().clamp(max=1.0)
        if not bool((active & (variance > 1e-12)).any()):
            raise CollapsedAutoencoder(
                "The autoencoder has collapsed: none of its latent dimensions varies with the profile, so "
                "every prediction would be the same. Use model.config.autoencoder.kind=pca, or, where the "
                "autoencoder is variational, lower model.config.autoencoder.kl_weight."
            )
        auto.latent_mean.copy_(mean)
        auto.latent_sd.copy_(torch.where(active, variance.sqrt(), 1.0))
        auto.active.copy_(active)
        readout, gain = _readout(sums, auto.latent_sd.double()) if "cross" in sums else (None, 0.0)
        self._measure_left_out(sums, sums["left"] - gain)
        auto.settle(None if readout is None else (readout * active.unsqueeze(1)).float())

    def refit(self, sums: Mapping[str, Tensor], known_genes: Tensor) -> None:
        """Measure what decoding leaves out; the latents keep their scale."""
        gain = _readout(sums, self.autoencoder.latent_sd.double())[1] if "cross" in sums else 0.0
        self._measure_left_out(sums, sums["left"] - gain)

    def _measure_left_out(self, sums: Mapping[str, Tensor], left: Tensor) -> None:
        """Store the noise of genes, and the share that is restored, from sums of squares left out (G,)."""
        auto = self.autoencoder
        auto.noise_sd.copy_((left / sums["rows"].clamp(min=1)).clamp(min=0).sqrt())
        auto.reconstruction_r2.copy_(1 - left.sum() / sums["squares"].sum().clamp(min=1e-30))

    def filled(self) -> tuple[Tensor, ...]:
        """Return everything that the autoencoder holds."""
        return tuple(self.autoencoder.state_dict(keep_vars=True).values())

    def facts(self) -> dict[str, float]:
        """Return how much of the responses the latent space holds."""
        auto = self.autoencoder
        return {
            "latent_dimensions": float(auto.latent_dim),
            "active_dimensions": float(auto.active.sum()),
            "reconstruction_r2": float(auto.reconstruction_r2),
        }
