"""Enrichment, connectivity and neighbours of single profiles, over the libraries that the server holds."""
