"""The view "signature"."""

from __future__ import annotations

from collections.abc import Mapping

from pertcast_serve.page.view import View

VIEWS: Mapping[str, View] = {}
