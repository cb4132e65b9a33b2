"""What a path to a model means: a bundle, a run that holds one, or an error with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from pertcast.training.bundle import find_bundle
from pertcast_data.errors import ConfigError


def test_a_bundle_is_found_from_its_own_folder_and_from_its_run(tmp_path: Path) -> None:
    bundle = tmp_path / "run" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}")
    assert find_bundle(tmp_path / "run") == bundle
    assert find_bundle(str(bundle)) == bundle


def test_a_run_that_did_not_end_says_how_to_continue_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"did not end.*--resume"):
        find_bundle(tmp_path)


def test_what_is_neither_run_nor_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a run nor a bundle"):
        find_bundle(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        find_bundle(tmp_path / "nowhere")
