"""Flow of cells from control to perturbed in a latent space of gene modules."""
