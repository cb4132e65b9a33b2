"""What settings name is opened before it is served: what cannot be searched is refused by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pertcast_data.errors import ConfigError
from pertcast_serve.builder import build
from pertcast_serve.config import ServeConfig


@pytest.mark.parametrize(
    ("setting", "content"), [("libraries", None), ("libraries", "no store"), ("gene_sets", "one\n")]
)
def test_what_cannot_be_searched_is_refused_by_its_name(
    tiny_bundle: Path, tmp_path: Path, setting: str, content: str | None
) -> None:
    place = tmp_path / "somewhere"
    place.mkdir() if content is None else place.write_text(content)
    config = ServeConfig(models={"default": tiny_bundle}, **{setting: {"first": place}})
    with pytest.raises(ConfigError, match=f"^{setting}, first: .*somewhere"):
        build(config)


def test_what_is_not_there_is_refused_by_its_name(tiny_bundle: Path, tmp_path: Path) -> None:
    for setting in ("libraries", "gene_sets"):
        config = ServeConfig(models={"default": tiny_bundle}, **{setting: {"first": tmp_path / "nowhere"}})
        with pytest.raises(ConfigError, match=f"^{setting}, first: .*nowhere"):
            build(config)
