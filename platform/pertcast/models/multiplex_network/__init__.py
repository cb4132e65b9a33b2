"""Multiplex network: gene networks integrated into features, and responses of every gene and type to them.

The integration knows networks alone; the response model knows the features that it leaves.
"""
