"""What predicted profiles mean: gene sets, enrichment, hits, neighbours.

Works on plain arrays and tables of results; knows no model and no cluster.
"""
