"""Configuration of transcription_net: the sizes of the paper, an optimiser that moves."""

from __future__ import annotations

from pydantic import Field

from pertcast.models.contract import ModelConfig, OptimiserConfig


class FunDnnConfig(ModelConfig):
    """The first stage: one network a perturbation type, from features to the response.

    Attributes
    ----------
    width, depth
        Width and number of the hidden layers.
    dropout
        Share of the hidden units dropped in training.
    optimiser, epochs
        How the networks are trained. The paper takes 1,000 epochs of Adadelta at 3.5e-4, whose first steps
        are of about 1e-6 a weight, so it barely moves. Rate and epochs of AdamW were chosen on small planted
        data at width 512, where early stopping ended training within them; the paper's width was not tuned.
    """

    width: int = Field(1024, ge=1)
    depth: int = Field(4, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    optimiser: OptimiserConfig = OptimiserConfig(lr=3e-4, weight_decay=1e-5)
    epochs: int = Field(60, ge=1)


class GenSanConfig(ModelConfig):
    """The second stage: attention over the responses to one perturbation by every type.

    Attributes
    ----------
    heads
        Heads of the attention between types.
    feed_forward
        Inner width of the feed-forward networks.
    blocks, copies
        Blocks of a copy, and copies that follow one another, each with weights of its own.
    hidden_share
        Share of the training rows from which the measured profiles of other types are hidden, as they are
        from every row of a perturbation that training never held.
    optimiser, epochs
        How it is trained. The paper takes 110 epochs at 4.5e-6 of several thousand signatures; the larger
        rate makes up for fewer steps. It was chosen between two, 2e-5 and 1e-4, that were tried on small
        planted data; there the loss still fell slowly at the last epoch, so more may gain a little.
    """

    heads: int = Field(2, ge=1)
    feed_forward: int = Field(1024, ge=1)
    blocks: int = Field(3, ge=1)
    copies: int = Field(3, ge=1)
    hidden_share: float = Field(0.5, ge=0, le=1)
    optimiser: OptimiserConfig = OptimiserConfig(lr=5e-5, weight_decay=1e-5)
    epochs: int = Field(30, ge=1)


class TranscriptionNetConfig(ModelConfig):
    """Configuration of transcription_net.

    Attributes
    ----------
    fundnn, gensan
        The two stages.
    cross_type
        Whether there is a second stage. There is none in any case where training holds a single type.
    folds
        K: the first stage is K sets of networks, each trained without every K-th perturbation.
    mse_weight
        Weight of the mean squared error in both losses; the rest is that of 1 - Pearson.
    limit_quantile
        Quantile of the absolute standardised training responses of a type that tanh reaches at 1.
    """

    fundnn: FunDnnConfig = FunDnnConfig()
    gensan: GenSanConfig = GenSanConfig()
    cross_type: bool = True
    folds: int = Field(3, ge=2)
    mse_weight: float = Field(0.9, ge=0, le=1)
    limit_quantile: float = Field(0.995, gt=0, le=1)
