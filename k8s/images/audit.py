"""Asks pip-audit for known vulnerabilities of the pinned packages, and takes no silence for a clean answer.

pip-audit ends with 0 where it could look nothing up. Here that is 3; 1 is vulnerabilities; 0 is none in any.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

NOT_TO_BE_HAD = 3


def ask(pins: Path, service: str) -> tuple[list[dict[str, Any]] | None, str]:
    """Return pip-audit's answer for each pin, or None, and what it said beside it."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(pins), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--vulnerability-service", service]
    answer = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(answer.stdout)["dependencies"], answer.stderr
    except (json.JSONDecodeError, KeyError):
        return None, answer.stderr


def verdict(answers: list[dict[str, Any]] | None, said: str) -> tuple[int, list[str]]:
    """Return the exit code and the lines to print."""
    if answers is None:
        last = (said.strip().splitlines() or ["pip-audit said nothing"])[-1]
        return NOT_TO_BE_HAD, [f"NOT AUDITED: advisories could not be had: {last}"]
    vulnerable = [answer for answer in answers if answer.get("vulns")]
    skipped = [answer["name"] for answer in answers if "skip_reason" in answer]
    lines = [
        f"{answer['name']} {answer['version']}: {found['id']}, "
        f"fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for answer in vulnerable
        for found in answer["vulns"]
    ]
    if skipped:
        lines.append(
            f"NOT AUDITED: the service knows nothing of {len(skipped)} of {len(answers)} packages "
            f"({', '.join(skipped[:5])}...): run `make audit` where it can be reached."
        )
    looked_up = len(answers) - len(skipped)
    lines.append(
        f"{looked_up} of {len(answers)} packages looked up, {len(vulnerable)} with known vulnerabilities"
    )
    return (1 if vulnerable else NOT_TO_BE_HAD if skipped or not answers else 0), lines


def main() -> None:
    """Audit a file of pins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pins", type=Path)
    parser.add_argument("--service", choices=["pypi", "osv"], default="pypi", help="whose advisories")
    words = parser.parse_args()
    code, lines = verdict(*ask(words.pins, words.service))
    print(*lines, sep="\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
