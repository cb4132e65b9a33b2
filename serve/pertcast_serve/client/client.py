"""The client: everything that a server answers, as Python functions with arrays and tables."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from pertcast_serve.client.catalog import Catalog
from pertcast_serve.client.predicting import Predicting
from pertcast_serve.client.questions import Questions
from pertcast_serve.client.screens import Screening
from pertcast_serve.client.transport import PATIENCE_S, Transport

TIMEOUT_S: Final = 120.0


class Client(Predicting, Catalog, Questions, Screening):
    """A server of predictions.

    Threads may share one. Answers 429 and 503 are asked again after the time that the server names.

    Parameters
    ----------
    url
        Address, for example "http://127.0.0.1:8000", with the path that a proxy serves it under.
    key
        Key of `pertcast key create`; none where the server needs none.
    timeout
        Seconds to wait for an answer.
    patience_s
        Longest time in seconds that an overloaded server is asked again.

    Raises
    ------
    ConfigError
        `url` is no address, or `key` no key.

    Examples
    --------
    >>> with Client("http://127.0.0.1:8000") as client:
    ...     found = client.predict([{"cell_iname": "A375", "pert_id": "drug-1", "pert_dose": 10.0}])
    ...     adata = found.to_anndata()
    """

    def __init__(
        self, url: str, key: str | None = None, timeout: float = TIMEOUT_S, patience_s: float = PATIENCE_S
    ) -> None:
        super().__init__(Transport(url, key, timeout, patience_s))

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._transport.url!r})"
