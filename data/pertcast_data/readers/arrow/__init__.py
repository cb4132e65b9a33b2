"""Parquet and Arrow tables of profiles: wide, long, or vectors in a column."""
