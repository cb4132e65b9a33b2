"""Findings of an audit, and how they are told: errors refuse, warnings are printed and reported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

from pertcast_data.errors import LeakageError

Severity = Literal["error", "warning"]
SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that one check found.

    Attributes
    ----------
    check
        Name of the check.
    severity
        "error": train and evaluate refuse. "warning": it is printed and stands in the report.
    message
        What is wrong, where, and what to do.
    examples
        Up to three cases.
    """

    check: str
    severity: Severity
    message: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found.

    Attributes
    ----------
    where
        The fold and split that were audited.
    findings
        In the order of the checks.
    checked
        Names of the checks that ran.
    not_checked
        Check -> why it did not run, or not on everything.
    """

    where: str
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    not_checked: tuple[tuple[str, str], ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that refuse."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings that do not refuse, as sentences for a report."""
        return tuple(finding.message for finding in self.findings if finding.severity == "warning")

    def require_clean(self) -> None:
        """Raise LeakageError with every error of the report; do nothing where there is none."""
        if self.errors:
            raise LeakageError("\n".join(finding.message for finding in self.errors))

    def lines(self) -> list[str]:
        """Return the report for a terminal, the verdict first."""
        n_errors, n_warnings = len(self.errors), len(self.warnings)
        counts = f"{counted(n_errors, 'error')}, {counted(n_warnings, 'warning')}"
        verdict = f"leaks: {counts}" if n_errors else f"clean: {len(self.checked)} checks, {counts}"
        lines = [f"{self.where}  {verdict}"]
        for finding in self.findings:
            lines.append(f"  {finding.severity} ({finding.check}): {finding.message}")
            lines += [f"    {example}" for example in finding.examples]
        how = {True: "partly checked", False: "not checked"}
        return lines + [f"  {how[name in self.checked]} ({name}): {why}" for name, why in self.not_checked]

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return json.dumps(asdict(self), indent=2)


def few(names: Sequence[str]) -> str:
    """Return the first names in quotes, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more


def counted(count: int, word: str) -> str:
    """Return "1 fold", "2 folds"."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
