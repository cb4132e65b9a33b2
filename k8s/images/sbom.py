"""Writes the bill of materials of a Python environment: CycloneDX, with licences, hashes, Debian's packages.

Runs with an interpreter that has cyclonedx-bom; the environment that is described may be another one.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Runs inside the described environment: what the installed pertcast needs, without its extras.
CLOSURE = """
import importlib.metadata as metadata, json, re
from packaging.requirements import Requirement
def key(name): return re.sub(r"[-_.]+", "-", name).lower()
found, waiting = set(), [("pertcast", "")]
while waiting:
    name, extra = waiting.pop()
    if (key(name), extra) in found: continue
    found.add((key(name), extra))
    try: requirements = metadata.requires(name) or []
    except metadata.PackageNotFoundError: continue
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            waiting += [(requirement.name, wanted) for wanted in ("", *requirement.extras)]
print(json.dumps(sorted({name for name, _ in found})))
"""


def key(name: str) -> str:
    """Return a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def python_packages(python: str) -> dict[str, Any]:
    """Return cyclonedx-py's document of an environment, the same for the same environment."""
    # Its own validation takes three minutes; a test validates what is written in seconds.
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--no-validate"]
    return json.loads(
        subprocess.run([*command, "--sv", "1.6", python], check=True, capture_output=True).stdout
    )


def required_names(python: str) -> set[str]:
    """Return the names of what a user of pertcast gets, as opposed to what develops it."""
    return set(json.loads(subprocess.run([python, "-c", CLOSURE], check=True, capture_output=True).stdout))


def archive_hashes(reports: list[Path]) -> dict[tuple[str, str], str]:
    """Return SHA-256 of the archives that `pip install --report` downloaded, by name and version."""
    hashes = {}
    for report in reports:
        for item in json.loads(report.read_text(encoding="utf-8"))["install"]:
            known = item["download_info"].get("archive_info", {}).get("hashes", {})
            if "sha256" in known:
                hashes[key(item["metadata"]["name"]), item["metadata"]["version"]] = known["sha256"]
    return hashes


def debian_packages() -> list[dict[str, Any]]:
    """Return the packages of Debian that this system has."""
    fields = "${Package} ${Version} ${Architecture}\n"
    command = ["dpkg-query", "--show", f"--showformat={fields}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    components = []
    for name, version, architecture in map(str.split, lines):
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={architecture}"
        components.append(
            {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        )
    return components


def describe(python: str, reports: list[Path], debian: bool) -> dict[str, Any]:
    """Return the document; `scope` is `required` for what pertcast needs and `excluded` for all else."""
    document = python_packages(python)
    required, hashes = required_names(python), archive_hashes(reports)
    for component in document["components"]:
        component["scope"] = "required" if key(component["name"]) in required else "excluded"
        digest = hashes.get((key(component["name"]), component["version"]))
        if digest:
            component["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if debian:
        document["components"] += debian_packages()
    return document


def main() -> None:
    """Write the document of the environment of an interpreter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", help="interpreter of the environment")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--report", type=Path, action="append", default=[], help="of pip install --report")
    parser.add_argument("--debian", action="store_true", help="with the packages of Debian of this system")
    words = parser.parse_args()
    document = describe(words.python, [path for path in words.report if path.exists()], words.debian)
    words.out.parent.mkdir(parents=True, exist_ok=True)
    words.out.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{words.out}: {len(document['components'])} components")


if __name__ == "__main__":
    main()
