"""Latent diffusion: how a cell answers a compound at a dose and a time, as a distribution of profiles."""
