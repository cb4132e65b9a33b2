"""From the landmark genes that were measured to all genes: tables of weights, and stores inferred by them."""
