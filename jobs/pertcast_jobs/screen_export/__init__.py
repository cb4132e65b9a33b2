"""Exports of finished screens: h5ad, cell-eval, GCTX, GCT, gene sets, ranked lists and tables."""

from pertcast_jobs.screen_export.choice import Choice
from pertcast_jobs.screen_export.export import FORMATS, ExportOutcome, ExportRequest, export_screen, writer_of

__all__ = ["FORMATS", "Choice", "ExportOutcome", "ExportRequest", "export_screen", "writer_of"]
