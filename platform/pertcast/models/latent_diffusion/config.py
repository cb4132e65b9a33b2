"""Configuration of latent_diffusion: the autoencoder, the denoiser, and how profiles are sampled."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pertcast.models.contract import ModelConfig, OptimiserConfig
from pertcast.models.layers.config import TrunkConfig


class AutoencoderConfig(ModelConfig):
    """How a response is compressed.

    Attributes
    ----------
    kind
        "pca": principal components; "vae": a variational autoencoder that starts from them; "none": no
        compression, the diffusion runs over genes.
    latent_dim
        Dimensions of the latent space, at most the number of genes.
    hidden
        Widths of the hidden layers between genes and latents ("vae").
    kl_weight, kl_warmup_steps
        Weight of the Kullback-Leibler term, and steps over which it grows from 0 ("vae").
    optimiser, epochs
        How the autoencoder is trained ("vae").
    """

    kind: Literal["pca", "vae", "none"] = "pca"
    latent_dim: int = Field(64, ge=1)
    hidden: tuple[int, ...] = Field((256,), min_length=1)
    kl_weight: float = Field(1.0, gt=0)
    kl_warmup_steps: int = Field(200, ge=0)
    optimiser: OptimiserConfig = OptimiserConfig(lr=5e-4, weight_decay=0.01)
    epochs: int = Field(30, ge=1)


class DenoiserConfig(ModelConfig):
    """The denoiser and its loss.

    Attributes
    ----------
    width, depth, expansion
        Width of the residual stream, number of blocks, and width of a block's inside as a multiple.
    schedule
        "cosine", or "linear": the published linear one, rescaled so that the last step is pure noise.
    min_snr
        Weight of a noise level: min(signal-to-noise ratio, this); null: every level counts the same.
    learned_variance, variance_weight
        Whether the variance of the posterior is learnt, and the weight of its variational bound.
    condition_dropout
        Share of training rows whose condition is hidden, for guidance.
    optimiser, epochs
        How the denoiser is trained.
    """

    width: int = Field(256, ge=8)
    depth: int = Field(2, ge=1)
    expansion: int = Field(4, ge=1)
    schedule: Literal["cosine", "linear"] = "cosine"
    min_snr: float | None = Field(5.0, gt=0)
    learned_variance: bool = True
    variance_weight: float = Field(0.1, gt=0)
    condition_dropout: float = Field(0.1, ge=0, lt=1)
    optimiser: OptimiserConfig = OptimiserConfig(lr=1e-3, weight_decay=0.01)
    epochs: int = Field(40, ge=1)


class SamplerConfig(ModelConfig):
    """How profiles are sampled from a trained model; may be changed without training anew.

    Attributes
    ----------
    kind
        "dpm_solver": second-order solver (DPM-Solver++ 2M) of the probability flow; "ddim"; "ancestral":
        respaced reverse process with the learnt variance, where there is one.
    steps
        Steps from noise to a profile.
    eta
        Noise of "ddim": 0 none, 1 as much as the ancestral process.
    guidance
        Weight of the condition: 1 as trained, above 1 exaggerates it.
    mean_samples
        Samples that a predicted mean is the average of; 0: one step of the denoiser from pure noise, which is
        the mean of the distribution exactly where decoding is linear.
    """

    kind: Literal["dpm_solver", "ddim", "ancestral"] = "dpm_solver"
    steps: int = Field(15, ge=1)
    eta: float = Field(0.0, ge=0, le=1)
    guidance: float = Field(1.0, ge=0)
    mean_samples: int = Field(0, ge=0)


class LatentDiffusionConfig(ModelConfig):
    """Configuration of latent_diffusion.

    Attributes
    ----------
    autoencoder, denoiser, sampler
        Its three parts.
    condition
        The trunk that reads condition and basal profile.
    use_context_mean, use_group_mean
        Start from the shrunken mean response of the context and of the group (plate or batch).
    output_shrinkage
        Weight of the mean squared predicted deviation in the loss: pulls towards those means.
    spread_weight
        Weight of the Gaussian likelihood that trains the spread around the mean.
    target_clip
        Standardised targets are clipped to plus or minus this.
    optimiser, epochs
        How mean and spread are trained.
    """

    autoencoder: AutoencoderConfig = AutoencoderConfig()
    denoiser: DenoiserConfig = DenoiserConfig()
    sampler: SamplerConfig = SamplerConfig()
    condition: TrunkConfig = TrunkConfig(width=512, dropout=0.4)
    use_context_mean: bool = True
    use_group_mean: bool = True
    output_shrinkage: float = Field(0.1, ge=0)
    spread_weight: float = Field(0.1, ge=0)
    target_clip: float = Field(10.0, gt=0)
    optimiser: OptimiserConfig = OptimiserConfig(lr=5e-4, weight_decay=0.05)
    epochs: int = Field(25, ge=1)
