"""Models: the contract, the registry, the baselines and the trained families.

Imports only torch, numpy, pydantic and safetensors, so that models run on a machine without
Ray, Zarr or Polars.
"""
