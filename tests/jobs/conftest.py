"""A small simulated screen, as a store with a split, made once for all job tests that train."""

from __future__ import annotations

import pytest
from small_screen import ScreenFiles, make_screen


@pytest.fixture(scope="session")
def small_screen(tmp_path_factory: pytest.TempPathFactory) -> ScreenFiles:
    return make_screen(tmp_path_factory.mktemp("small_screen"))
