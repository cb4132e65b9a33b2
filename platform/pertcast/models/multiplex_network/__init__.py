"""Multiplex network: gene networks integrated into features, and responses to RNAi, CRISPR and over-expression.

The integration knows networks alone; the response model knows the features that it leaves.
"""
