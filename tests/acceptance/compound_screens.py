"""A screen of a small library with a wide network: long enough to be disturbed, and its files to compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from pertcast_data.simulate import AtlasFiles
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training
from small_screen import make_screen

SIZES = {"n_genes": 200, "n_compounds": 24, "n_unprofiled": 8, "n_plates": 5}


def doses(n: int) -> tuple[float, ...]:
    """Return so many rising doses, uM."""
    return tuple(round(0.1 * 1.015**i, 5) for i in range(n))


def train_wide(folder: Path, width: int, depth: int) -> AtlasFiles:
    """Train a network of this size in FOLDER/run; returns the files of its atlas."""
    screen = make_screen(folder, **SIZES)
    size = [f"model.config.width={width}", f"model.config.depth={depth}", "train.epochs=1"]
    run_training(load_config("response_mlp", [*screen.overrides, *size]), folder / "run")
    return screen.atlas


def screen_words(folder: Path, n_doses: int, shard_rows: int) -> list[str]:
    """Train a network of 6 layers of 512; returns the command of its screen over so many doses."""
    files = train_wide(folder, 512, 6)
    words = ["screen", "compounds", str(files.library), "--model", str(folder / "run")]
    given = ",".join(str(dose) for dose in doses(n_doses))
    return [*words, "--gmt", str(files.gene_sets), "--doses", given, "--shard-rows", str(shard_rows)]


def contents(folder: Path) -> Mapping[str, str]:
    """The SHA-256 of every file; of the manifest without the code's revision, which others may move on."""
    found = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        if path == folder / "manifest.json":
            content = json.dumps({**json.loads(content), "git_revision": None}).encode()
        found[path.relative_to(folder).as_posix()] = sha256(content).hexdigest()
    return found
