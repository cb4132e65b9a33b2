"""Queries of a library: which predicted or measured profiles mimic or reverse a signature."""

from pertcast.screens.library import SearchedLibrary, open_measured, open_screen

from pertcast_jobs.query.request import QueryRequest
from pertcast_jobs.query.run import ask, write_result

__all__ = ["QueryRequest", "SearchedLibrary", "ask", "open_measured", "open_screen", "write_result"]
