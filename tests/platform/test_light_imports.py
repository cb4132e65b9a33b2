"""Models and training run on a bare machine: every module imports without Ray, Zarr, Polars and the like."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BLOCKED = (
    "ray", "zarr", "polars", "pyarrow", "deepspeed", "rdkit", "anndata", "scipy", "h5py", "pandas",
)  # fmt: skip

PROGRAM = """
import importlib, sys
from importlib.machinery import PathFinder

BLOCKED = set(sys.argv[1].split(","))

class WithoutBlocked:
    # As on a machine without them: libraries that look before they import find nothing.
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else PathFinder.find_spec(name, path, target)

for name in BLOCKED:
    assert name not in sys.modules, name
sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutBlocked
for name in sys.argv[2].split(","):
    importlib.import_module(name)
print(len(sys.argv[2].split(",")))
"""


def modules(repository: Path) -> list[str]:
    root = repository / "platform"
    files = [file for room in ("models", "training") for file in (root / "pertcast" / room).rglob("*.py")]
    names = [".".join(file.relative_to(root).with_suffix("").parts) for file in files]
    return sorted(name.removesuffix(".__init__") for name in names)


def run(names: list[str]) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", PROGRAM, ",".join(BLOCKED), ",".join(names)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_every_module_of_models_and_training_imports_without_the_heavy_engines(repository: Path) -> None:
    names = modules(repository)
    assert "pertcast.models.registry" in names and "pertcast.training.bundle" in names
    done = run(names)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(names)


def test_the_blocker_really_blocks() -> None:
    done = run(["polars"])
    assert done.returncode != 0 and "No module named 'polars'" in done.stderr
