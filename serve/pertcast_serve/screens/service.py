"""Screens of the server: submitted, followed, cancelled, found again after a restart."""

from __future__ import annotations


class ScreenService:
    """The screens of one folder."""
