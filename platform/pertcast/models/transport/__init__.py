"""Entropic optimal transport between point clouds: what flows pair by and what populations are compared by."""
