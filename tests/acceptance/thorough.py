"""How much is broken: `make acceptance` stays within an hour on two cores, PERTCAST_THOROUGH=1 takes two."""

from __future__ import annotations

import os
from typing import Final

import pytest

THOROUGH: Final = os.environ.get("PERTCAST_THOROUGH") == "1"
only_thorough = pytest.mark.skipif(not THOROUGH, reason="takes long: only with PERTCAST_THOROUGH=1")
