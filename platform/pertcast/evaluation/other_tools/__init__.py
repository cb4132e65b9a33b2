"""Predictions of other tools: two h5ad files become held-out conditions and cells."""
