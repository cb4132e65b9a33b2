"""The losses of the three gradient stages: the autoencoder's bound, mean and spread, and the denoiser's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pertcast.models.batch import Batch
from pertcast.models.latent_diffusion.autoencoder import VariationalAutoencoder, kl_divergence
from pertcast.models.latent_diffusion.config import AutoencoderConfig, LatentDiffusionConfig
from pertcast.models.latent_diffusion.denoiser import Denoiser, Level
from pertcast.models.latent_diffusion.network import ResponseHeads
from pertcast.models.latent_diffusion.residual import latent_residual
from pertcast.models.latent_diffusion.samplers import Denoised
from pertcast.models.latent_diffusion.schedule import NoiseSchedule, ReverseKernel
from pertcast.models.layers.latents.autoencoder import Autoencoder
from pertcast.models.layers.latents.fitting import StandardisedTargets
from pertcast.models.layers.scaling import Scaling
from pertcast.models.noise import KeyedNoise

_LEAST_LEVEL = 1e-3
_STREAM_LATENT, _STREAM_HIDDEN, _STREAM_LEVEL, _STREAM_NOISE = 101, 102, 103, 104


class AutoencoderLoss(nn.Module):
    """Negative evidence lower bound of the variational autoencoder, a gene.

    Only the autoencoder is a submodule: standardising holds no parameters and stays float32.
    """

    def __init__(
        self, autoencoder: VariationalAutoencoder, targets: StandardisedTargets, config: AutoencoderConfig
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.config = config
        self._outside = (targets,)

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        """Return "loss" = nll + kl_weight * kl and its terms, with the squared error of decoding.

        nll is -log p(x | z) of a sampled z, kl the divergence of q(z | x) from N(0, 1), both summed and
        divided by the number of genes. In training kl grows over the first steps.
        """
        target, auto = self._outside[0](batch), self.autoencoder
        mean, log_variance = auto.posterior(target)
        draws = noise.normal(batch.sample_id, auto.latent_dim, _STREAM_LATENT)
        decoded = auto.raw_decode(mean + draws * torch.exp(0.5 * log_variance))
        nll = auto.negative_log_likelihood(target, decoded).mean() / auto.n_genes
        kl = kl_divergence(mean, log_variance).sum(dim=1).mean() / auto.n_genes
        error = (target - decoded).square().mean()
        return {"loss": nll + self._weight(noise) * kl, "nll": nll, "kl": kl, "reconstruction_mse": error}

    def _weight(self, noise: KeyedNoise) -> float:
        if not self.training or noise.step >= self.config.kl_warmup_steps:
            return self.config.kl_weight
        return self.config.kl_weight * (noise.step + 1) / (self.config.kl_warmup_steps + 1)


class ResponseLoss(nn.Module):
    """Loss of mean and spread of the latents on a batch.

    Only the heads are a submodule: scaling and autoencoder are not trained by it and stay float32.
    """

    def __init__(
        self,
        heads: ResponseHeads,
        autoencoder: Autoencoder,
        scaling: Scaling,
        targets: StandardisedTargets,
        config: LatentDiffusionConfig,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.config = config
        self._outside = (autoencoder, scaling, targets)

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        """Return "loss" = mse + output_shrinkage * shrinkage + spread_weight * spread, and its terms.

        mse is the squared error of the mean of the latents, each dimension weighted by the variance of genes
        that it makes; shrinkage the square of the mean itself; spread the Gaussian likelihood of the scale,
        with the mean held fixed.
        """
        autoencoder, scaling, targets = self._outside
        with torch.no_grad():
            latent = autoencoder.encode(targets(batch))
            weight = autoencoder.dimension_weight()
            weight = weight / weight.sum().clamp(min=1e-12)
        basal = scaling.standardise_basal(batch.basal)
        found = self.heads(batch.conditions, basal, noise, batch.sample_id)
        error = (latent - found.mean).square()
        mse = (error @ weight).mean()
        shrinkage = (found.mean.square() @ weight).mean()
        likelihood = found.log_scale + 0.5 * error.detach() * torch.exp(-2 * found.log_scale)
        spread = (likelihood * autoencoder.active).sum(dim=1).mean() / autoencoder.active.sum().clamp(min=1)
        loss = mse + self.config.output_shrinkage * shrinkage + self.config.spread_weight * spread
        return {"loss": loss, "mse": mse, "shrinkage": shrinkage, "spread": spread}


class DenoiserLoss(nn.Module):
    """Loss of the denoiser on a batch; mean and scale of the latents are taken off first, and stay.

    Only the denoiser is a submodule.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        heads: ResponseHeads,
        autoencoder: Autoencoder,
        scaling: Scaling,
        targets: StandardisedTargets,
        config: LatentDiffusionConfig,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.config = config
        self.schedule = NoiseSchedule(config.denoiser.schedule)
        self._outside = (heads, autoencoder, scaling, targets)

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        r"""Return "loss" = denoising + variance_weight * variance, and its terms.

        denoising is :math:`w(u) |\rho - \hat\rho|^2` a dimension at a random noise level u a row, with
        w = min(a^2 / b^2, min_snr) (Hang et al. 2023), or 1 / b^2 without min_snr. variance is the
        variational bound of one step of the sampler's length; see `variance_bound`.
        """
        clean, hidden = self._residual(batch, noise)
        active = self._outside[1].active
        level = noise.uniform(batch.sample_id, 1, _STREAM_LEVEL).clamp(min=_LEAST_LEVEL)
        signal, deviation = self.schedule.signal(level), self.schedule.noise(level)
        noisy = signal * clean + deviation * noise.normal(batch.sample_id, clean.shape[1], _STREAM_NOISE)
        modulation = self.denoiser.level_part(level) + self.denoiser.condition_part(hidden)
        found = self.denoiser(noisy, Level(signal, deviation), modulation)
        error = (clean - found.mean).square() * active
        count = active.sum().clamp(min=1)
        denoising = (self._weight(signal, deviation) * error).sum(dim=1).mean() / count
        if found.variance is None:
            return {"loss": denoising, "denoising": denoising}
        after = self.schedule.signal((level - 1 / self.config.sampler.steps).clamp(min=0.0))
        bound = variance_bound(error.detach(), found, ReverseKernel.between(signal, after))
        variance = (bound * active).sum(dim=1).mean() / count
        loss = denoising + self.config.denoiser.variance_weight * variance
        return {"loss": loss, "denoising": denoising, "variance": variance}

    def train(self, mode: bool = True) -> DenoiserLoss:
        """Switch the dropout of the conditional mean on as well.

        What it leaves of a training row is then as large as what its scale was fitted to, and not what a mean
        that has seen the row leaves.
        """
        super().train(mode)
        self._outside[0].train(mode)
        return self

    @torch.no_grad()
    def _residual(self, batch: Batch, noise: KeyedNoise) -> tuple[Tensor, Tensor]:
        """Return (N, D) latents of unit variance and (N, W) what the denoiser is told of the condition.

        Where the condition is hidden it is told zeros, and the latents are those of no condition:
        standardised over the training rows.
        """
        clean, latent, hidden = latent_residual(batch, noise, *self._outside)
        share = self.config.denoiser.condition_dropout
        if self.training and share:
            is_hidden = noise.uniform(batch.sample_id, 1, _STREAM_HIDDEN) < share
            clean = torch.where(is_hidden, latent, clean)
            hidden = torch.where(is_hidden, 0.0, hidden)
        return clean, hidden

    def _weight(self, signal: Tensor, deviation: Tensor) -> Tensor:
        limit = self.config.denoiser.min_snr
        if limit is None:
            return 1 / deviation.square()
        return (signal.square() / deviation.square()).clamp(max=limit)


def variance_bound(squared_error: Tensor, found: Denoised, kernel: ReverseKernel) -> Tensor:
    r"""Return (N, D) the variational bound of one reverse step as a function of the learnt variance.

    The step's distribution has variance :math:`\tilde\beta + c_0^2 V`, the true posterior :math:`\tilde\beta`
    and a mean that lies :math:`c_0 (z_0 - \hat z_0)` away:

    .. math:: KL = \tfrac12 \Big(\frac{c_0^2 e^2 + \tilde\beta}{c_0^2 V + \tilde\beta} - 1
              + \log \frac{c_0^2 V + \tilde\beta}{\tilde\beta}\Big)

    Its minimum over V is the expected squared error, so V is the posterior's variance, not zero (the mean is
    held fixed). For the last step, where the posterior is a point, it is the likelihood of z_0.

    Parameters
    ----------
    squared_error
        (N, D) of the posterior mean, detached.
    found
        With the learnt variance.
    kernel
        Of the step, (N, 1) each.

    Raises
    ------
    ValueError
        There is no learnt variance.
    """
    if found.variance is None:
        raise ValueError("the denoiser states no variance to be bounded")
    towards = kernel.towards.square()
    own = towards * found.variance + kernel.variance
    ratio = (towards * squared_error + kernel.variance) / own
    is_point = kernel.variance <= 0
    reference = torch.where(is_point, 1.0, kernel.variance)
    return 0.5 * (ratio - 1 + torch.log(own / reference))
