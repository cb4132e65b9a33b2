"""AnnData, in HDF5 files (h5ad) and Zarr folders."""
