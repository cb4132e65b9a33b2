"""What Ray reads from the environment when it is imported, set in one place for every room.

Nothing here imports Ray, so that it can be called before anything that does.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import MutableMapping


def prepare_environment(environment: MutableMapping[str, str] | None = None) -> None:
    """Set what Ray reads at import; values that are set already stay.

    Usage statistics are off. A local Ray gets a private token; where an address of a cluster is given
    (``RAY_ADDRESS``), its own settings are left alone.

    Parameters
    ----------
    environment
        Variables to change; those of this process where None.
    """
    env = os.environ if environment is None else environment
    env.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_ADDRESS" in env:
        return
    if env.setdefault("RAY_AUTH_MODE", "token") == "token":
        env.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
