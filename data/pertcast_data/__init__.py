"""The expression store and all that fills, checks, splits and reads it.

Nothing is imported here: `pertcast_data.errors` and `pertcast_data.vocabulary` must stay
importable on machines without Zarr, Polars or Arrow.
"""
