"""response_mlp: one honest network from basal state, perturbation, dose and time to the response."""
