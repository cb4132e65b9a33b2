"""`pertcast job check`: manifests judged by named rules before they are applied."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def check(
    manifests: Annotated[
        list[str], typer.Argument(help="YAML files, folders (a kustomization is rendered), or - for input.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check manifests by named rules before they are applied; exit code 1 where a rule is broken.

    Objects together with their Namespace are judged as a whole: what they refer to must be among them.

    Example: pertcast job check k8s/overlays/gpu
    """
    # The rules import Serve; the other commands about jobs shall not wait for it.
    from pertcast_jobs.cluster.kube.check import check_manifests
    from pertcast_jobs.cluster.kube.documents import read_documents

    documents = read_documents(*manifests)
    rows = [finding.row() for finding in check_manifests(documents)]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print("{rule}  {kind}/{name}  {path}: {what}; {remedy}".format_map(row))
        print(f"{len(documents)} objects, {len(rows)} findings", file=sys.stderr)
    if rows:
        raise typer.Exit(1)
