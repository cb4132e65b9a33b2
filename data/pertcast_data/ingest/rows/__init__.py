"""Rows of a file: names, kinds, doses, times and structures become a store's canonical columns."""
