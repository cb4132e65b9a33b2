"""What is asked of a library, and by what signature."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pertcast.analysis.connectivity import QueryOptions, Signature
from pertcast_data.errors import ConfigError
from pertcast_data.signatures import read_gene_list

from pertcast_jobs.screen.objective import weighted_signature


@dataclass(frozen=True)
class QueryRequest:
    """A query; exactly one library and exactly one signature.

    Attributes
    ----------
    screen, store
        The library: a finished screen, or a store of measured responses.
    up, down
        Files of genes that rise and that fall.
    signature
        File of a value a gene.
    sig_id
        A profile of the library itself.
    gene_table
        Table of gene names that translates ids and older symbols.
    score
        How profiles are compared; what fits the signature where None.
    cells, types
        Cell lines and types that are searched; all where None.
    options
        What is reported.
    """

    screen: Path | None = None
    store: Path | None = None
    up: Path | None = None
    down: Path | None = None
    signature: Path | None = None
    sig_id: str | None = None
    gene_table: Path | None = None
    score: str | None = None
    cells: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    options: QueryOptions = field(default_factory=QueryOptions)

    def check(self) -> None:
        """Raise ConfigError unless there is exactly one library and one signature."""
        if (self.screen is None) == (self.store is None):
            raise ConfigError(
                "Search one library: --screen SCREEN (predicted) or --store STORE (measured). The two are "
                "never mixed in one table."
            )
        has_sets = self.up is not None or self.down is not None
        if has_sets + (self.signature is not None) + (self.sig_id is not None) != 1:
            raise ConfigError(
                "Ask with one signature: --up FILE --down FILE, or --signature FILE, or --sig-id ID."
            )
        if has_sets and (self.up is None or self.down is None):
            raise ConfigError("A signature of sets needs both, --up FILE and --down FILE.")


def read_signature(request: QueryRequest) -> Signature:
    """Read the signature of files; raises as `pertcast_data.signatures`."""
    if request.signature is not None:
        return weighted_signature(request.signature, request.score)
    assert request.up is not None and request.down is not None
    return Signature.of_lists([read_gene_list(request.up, "up"), read_gene_list(request.down, "down")])
