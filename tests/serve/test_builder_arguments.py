"""The arguments of a serve configuration, as a cluster gives them to the builder."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
from pertcast_serve.builder import build
from ray.serve import Application
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as built_by_ray


def test_ray_serve_makes_settings_of_a_configurations_arguments(tiny_bundle: Path) -> None:
    given = {"models": {"default": str(tiny_bundle)}, "predictor": {"max_replicas": 3}}
    assert isinstance(built_by_ray(build, given), Application)


def test_ray_serve_refuses_an_argument_that_is_no_setting(tiny_bundle: Path) -> None:
    with pytest.raises(pydantic.ValidationError, match="replica_count"):
        built_by_ray(build, {"models": {"default": str(tiny_bundle)}, "replica_count": 3})
