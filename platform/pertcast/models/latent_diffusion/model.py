"""latent_diffusion as a ResponseModel: scaling, autoencoder, conditional mean, the diffusion around it."""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.batch import ConditionBatch, ModelSpace, Prediction
from pertcast.models.contract import GradientStage, ResponseModel, Stage
from pertcast.models.latent_diffusion.autoencoder import VariationalAutoencoder, build_autoencoder
from pertcast.models.latent_diffusion.config import LatentDiffusionConfig
from pertcast.models.latent_diffusion.denoiser import Denoiser
from pertcast.models.latent_diffusion.generation import LatentSampler
from pertcast.models.latent_diffusion.losses import AutoencoderLoss, DenoiserLoss, ResponseLoss
from pertcast.models.latent_diffusion.network import LatentResponse, ResponseHeads
from pertcast.models.latent_diffusion.residual import ResidualStage
from pertcast.models.layers.latents.fitting import ComponentsStage, LatentScaleStage, StandardisedTargets
from pertcast.models.layers.scaling import Scaling, ScalingStage
from pertcast.models.noise import KeyedNoise


class LatentDiffusion(ResponseModel):
    """Distribution of the response given basal profile, perturbations, doses and time.

    response = centre + sd * (decode(latents) + noise of each gene), where the centre is the shrunken mean of
    context and plate, and the latents are mean(condition) + scale(condition) * a draw of the diffusion.
    """

    config: LatentDiffusionConfig
    samples_profiles: bool = True

    def __init__(self, config: LatentDiffusionConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.scaling = Scaling(space)
        self.autoencoder = build_autoencoder(config.autoencoder, space.n_genes)
        latent_dim = self.autoencoder.latent_dim
        self.heads = ResponseHeads(config, latent_dim, space, conditions)
        self.denoiser = Denoiser(latent_dim, config.condition.width, config.denoiser)
        self.sampler = LatentSampler(self.denoiser, config.sampler, config.denoiser.schedule)

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages in order.

        "scaling" and "components" (closed form), "autoencoder" ("vae" only), "latent_scale" (closed form),
        "response" (mean and spread of the latents), "residual" (closed form), "diffusion".
        """
        config, scaling, autoencoder = self.config, self.scaling, self.autoencoder
        targets = StandardisedTargets(scaling, config.target_clip)
        stages: list[Stage] = [
            ScalingStage(scaling, config.use_context_mean, config.use_group_mean),
            ComponentsStage(autoencoder, targets),
        ]
        if isinstance(autoencoder, VariationalAutoencoder):
            module = AutoencoderLoss(autoencoder, targets, config.autoencoder)
            settings = config.autoencoder
            optimiser, epochs = settings.optimiser, settings.epochs
            stages.append(GradientStage("autoencoder", module, optimiser, epochs, is_kept=True))
        parts = (autoencoder, scaling, targets, config)
        response = ResponseLoss(self.heads, *parts)
        diffusion = DenoiserLoss(self.denoiser, self.heads, *parts)
        return (
            *stages,
            LatentScaleStage(autoencoder, targets),
            GradientStage("response", response, config.optimiser, config.epochs),
            ResidualStage(self.heads, autoencoder, scaling, targets),
            GradientStage("diffusion", diffusion, config.denoiser.optimiser, config.denoiser.epochs),
        )

    @torch.no_grad()
    def predict(
        self, conditions: ConditionBatch, basal: Tensor, n_samples: int = 0, noise: KeyedNoise | None = None
    ) -> Prediction:
        """Predict N conditions; see `ResponseModel.predict`.

        The mean is one step of the denoiser from pure noise, which is the mean of the latents, decoded; or
        the average of `sampler.mean_samples` decoded samples. The sd is that of the latents' scale.
        """
        noise = noise or KeyedNoise(seed=0)
        found = self.sampler.guided(self.heads(conditions, self.scaling.standardise_basal(basal)))
        centre, sd = self.scaling.centre(conditions).unsqueeze(1), self.scaling.target_sd
        averaged = self.config.sampler.mean_samples
        drawn = self._decoded_samples(found, conditions, max(n_samples, averaged), noise)
        mean = drawn[:, :averaged].mean(dim=1) if averaged else self.autoencoder.decode(found.mean)
        spread = self.autoencoder.gene_variance(found.scale.square()) + self.autoencoder.noise_sd.square()
        samples = None
        if n_samples > 0:
            samples = centre + (drawn[:, :n_samples] + self._gene_noise(conditions, n_samples, noise)) * sd
        return Prediction(centre.squeeze(1) + mean * sd, spread.sqrt() * sd, samples)

    def _decoded_samples(
        self, found: LatentResponse, conditions: ConditionBatch, count: int, noise: KeyedNoise
    ) -> Tensor:
        """Return (N, count, G) standardised responses without the noise of single genes."""
        if count == 0:
            return found.mean.new_zeros(len(conditions), 0, self.space.n_genes)
        latents = self.sampler.draw(found, conditions.key, count, noise)
        decoded = self.autoencoder.decode(latents.flatten(0, 1))
        return decoded.view(len(conditions), count, -1)

    def _gene_noise(self, conditions: ConditionBatch, count: int, noise: KeyedNoise) -> Tensor:
        """Return (N, count, G) what decoding leaves out, standardised units."""
        genes = self.space.n_genes
        draws = [noise.normal(conditions.key, genes, stream=number) for number in range(count)]
        return torch.stack(draws, dim=1) * self.autoencoder.noise_sd

    @torch.no_grad()
    def latent(self, conditions: ConditionBatch, basal: Tensor, response: Tensor) -> Tensor | None:
        """Return (N, 2 D) coordinates: the basal state on the same axes, and where the response moves it.

        The first D are the standardised basal profile, encoded; the last D are the latents of the response
        (without the centre of its plate), from those of no response.
        """
        basal_latents = self.autoencoder.encode(self.scaling.standardise_basal(basal))
        moved, still = (
            self.autoencoder.encode(values / self.scaling.target_sd)
            for values in (response, torch.zeros_like(response))
        )
        return torch.cat((basal_latents, moved - still), dim=1)
