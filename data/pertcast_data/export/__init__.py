"""Export: a store as one file that other tools read: h5ad, GCTX or a wide Parquet table."""

from pertcast_data.export.gctx import export_gctx
from pertcast_data.export.h5ad import export_h5ad
from pertcast_data.export.parquet import export_parquet
from pertcast_data.export.registry import EXPORTERS, export_store

__all__ = ["EXPORTERS", "export_gctx", "export_h5ad", "export_parquet", "export_store"]
