"""Enrichment, connectivity and neighbours."""

from __future__ import annotations

from fastapi import FastAPI

from pertcast_serve.config import ServeConfig
from pertcast_serve.services import Services


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject."""
