"""What 10x Genomics' CellRanger writes: Matrix Market folders, HDF5 files, calls of guides."""
