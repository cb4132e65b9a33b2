"""Latent spaces of responses: the autoencoder's contract, its components, its scale."""
