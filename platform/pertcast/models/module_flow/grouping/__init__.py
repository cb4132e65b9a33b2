"""Gene-relation clustering: genes grouped into modules from embeddings, networks and training controls."""
