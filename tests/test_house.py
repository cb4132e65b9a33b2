"""The layout and the import directions of ARCHITECTURE.md, held by tests."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOMS = {
    "data/pertcast_data": {"pertcast_data"},
    "platform/pertcast": {"pertcast_data", "pertcast"},
    "jobs/pertcast_jobs": {"pertcast_data", "pertcast", "pertcast_jobs"},
    "serve/pertcast_serve": {"pertcast_data", "pertcast", "pertcast_serve"},
}
PACKAGES = {"pertcast_data", "pertcast", "pertcast_jobs", "pertcast_serve"}

# Inside platform: a folder may import only what stands below it.
PLATFORM_FLOORS = {
    "models": {"models"},
    "training": {"models", "training"},
    "encoding": {"models", "training", "encoding"},
    "evaluation": {"models", "training", "encoding", "evaluation"},
    "analysis": {"analysis"},
    "report": {"analysis", "evaluation", "report"},
    "screens": {"models", "training", "analysis", "screens"},
}
LIGHT = {
    "torch",
    "numpy",
    "pydantic",
    "safetensors",
    "torch_geometric",
    "deepspeed",
    "pertcast",
    "pertcast_data",
}
LIGHT_DATA = {"pertcast_data.errors", "pertcast_data.vocabulary"}


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            yield node.module


def sources(root: Path) -> list[Path]:
    found = sorted(root.rglob("*.py"))
    assert found, f"no source below {root}"
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_it_may_know(repository: Path, room: str) -> None:
    strangers = [
        f"{path.relative_to(repository)} imports {module}"
        for path in sources(repository / room)
        for module in imported_modules(path)
        if module.split(".")[0] in PACKAGES - ROOMS[room]
    ]
    assert not strangers


@pytest.mark.parametrize("floor", PLATFORM_FLOORS)
def test_a_floor_of_the_platform_imports_only_what_stands_below_it(repository: Path, floor: str) -> None:
    strangers = []
    for path in sources(repository / "platform/pertcast" / floor):
        for module in imported_modules(path):
            parts = module.split(".")
            above = parts[0] == "pertcast" and len(parts) > 1 and parts[1] in PLATFORM_FLOORS
            if above and parts[1] not in PLATFORM_FLOORS[floor]:
                strangers.append(f"{path.relative_to(repository)} imports {module}")
    assert not strangers


def test_the_rooms_of_evaluation_form_no_circle(repository: Path) -> None:
    house = repository / "platform/pertcast/evaluation"
    knows: dict[str, set[str]] = {}
    for path in sources(house):
        place = path.relative_to(house).with_suffix("").parts
        for module in imported_modules(path):
            if module.startswith("pertcast.evaluation."):
                knows.setdefault(place[0], set()).add(module.split(".")[2])
    for room in knows:
        knows[room].discard(room)
    free = {room for rooms in knows.values() for room in rooms} - knows.keys()
    while ready := [room for room, needed in knows.items() if needed <= free]:
        free.update(ready)
        for room in ready:
            del knows[room]
    assert not knows


@pytest.mark.parametrize("floor", ["models", "training"])
def test_models_and_training_name_only_light_libraries(repository: Path, floor: str) -> None:
    strangers = []
    for path in sources(repository / "platform/pertcast" / floor):
        for module in imported_modules(path):
            root = module.split(".")[0]
            known = module in LIGHT_DATA if root == "pertcast_data" else root in LIGHT
            if not known and root not in sys.stdlib_module_names:
                strangers.append(f"{path.relative_to(repository)} imports {module}")
    assert not strangers


@pytest.mark.parametrize("room", ["data", "jobs", "serve"])
def test_ray_stays_out_of_the_platform_and_the_notebook_interface(repository: Path, room: str) -> None:
    allowed = {"data": False, "jobs": True, "serve": True}[room]
    uses_ray = any(
        module.split(".")[0] == "ray"
        for path in sources(repository / room)
        for module in imported_modules(path)
    )
    assert uses_ray == allowed
    assert not any(
        module.split(".")[0] == "ray"
        for path in sources(repository / "platform")
        for module in imported_modules(path)
    )


@pytest.mark.parametrize("folder", ["platform", "tests/platform", "data", "jobs", "serve", "tests"])
def test_a_room_itself_is_no_package(repository: Path, folder: str) -> None:
    assert not (repository / folder / "__init__.py").exists(), (
        "it would shadow the standard library's platform"
    )


def test_the_top_level_is_the_one_the_project_promises(repository: Path) -> None:
    for name in (
        "README.md",
        "pyproject.toml",
        "constraints.txt",
        "Makefile",
        "LICENSE",
        "CHANGELOG.md",
        ".ci/run",
    ):
        assert (repository / name).is_file(), name
    for name in ("data", "platform", "jobs", "serve", "k8s", "tests", "benchmarks", "docs"):
        assert (repository / name).is_dir(), name


def test_every_dependency_is_pinned(repository: Path) -> None:
    import re
    import tomllib

    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (repository / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    names = {re.split(r"[\[<>=!~ ]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    assert names <= pinned, names - pinned


def test_no_file_names_a_package_index_or_downloads_at_run_time(repository: Path) -> None:
    words = ("--index-url", "--extra-index-url", "pypi.org", "--find-links")
    for name in ("Makefile", "constraints.txt", "pyproject.toml", ".ci/run", "README.md"):
        text = (repository / name).read_text()
        assert not [word for word in words if word in text], name


def test_no_process_of_ray_pays_for_formats_of_json_that_nobody_uses() -> None:
    # jsonschema imports it where it is installed, and Ray imports jsonschema: 1.4 s of every process.
    assert find_spec("rfc3987_syntax") is None
