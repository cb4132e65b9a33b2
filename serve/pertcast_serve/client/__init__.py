"""A Python client of the server; importing it loads neither Ray nor torch nor FastAPI."""

from pertcast_serve.client.client import Client
from pertcast_serve.client.errors import (
    Conflict,
    DownloadDamaged,
    NotFound,
    NotPermitted,
    NoValidKey,
    Overloaded,
    RequestRefused,
    ScreenFailed,
    ServerError,
    ServerFailed,
    ServerUnreachable,
    StillRunning,
)
from pertcast_serve.client.predictions import NotPredicted, Predictions
from pertcast_serve.client.questions import Connectivity, Curve, Enrichment, Neighbors
from pertcast_serve.client.screens import ScreenHandle

__all__ = [
    "Client",
    "Conflict",
    "Connectivity",
    "Curve",
    "DownloadDamaged",
    "Enrichment",
    "Neighbors",
    "NoValidKey",
    "NotFound",
    "NotPermitted",
    "NotPredicted",
    "Overloaded",
    "Predictions",
    "RequestRefused",
    "ScreenFailed",
    "ScreenHandle",
    "ServerError",
    "ServerFailed",
    "ServerUnreachable",
    "StillRunning",
]
