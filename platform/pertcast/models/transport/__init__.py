"""Entropic optimal transport between point clouds: flows pair by it, populations are compared by it."""
