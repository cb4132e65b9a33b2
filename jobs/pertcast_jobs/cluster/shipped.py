"""The program of a job whose code was shipped: `pertcast`, after it has said what runs.

The code is the sender's, the libraries are the image's: where they do not fit, the log says so first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from pertcast_jobs.cli import main
from pertcast_jobs.run_folder import code_version, git_revision


def unmet_requirements(requirements: list[str]) -> Iterator[str]:
    """Yield what of the requirements (PEP 508) this Python's installation does not meet."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement} is not installed"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield f"{requirement} is wanted, {found} is installed"


def _say_what_runs() -> None:
    revision = git_revision()
    print(
        f"pertcast {code_version()}{f' ({revision[:12]})' if revision else ''}: code sent with the job, in "
        f"{Path(__file__).resolve().parents[2]}",
        file=sys.stderr,
    )
    for problem in unmet_requirements(metadata.requires("pertcast") or []):
        print(f"warning: the image does not fit this code: {problem}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    _say_what_runs()
    main()
