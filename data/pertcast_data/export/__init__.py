"""Export: a store as one file that other tools read: h5ad, GCTX, GCT or a wide Parquet table."""

from pertcast_data.export.registry import EXPORTERS, export_store

__all__ = ["EXPORTERS", "export_store"]
