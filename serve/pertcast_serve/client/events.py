"""Server-sent events, line by line (the part of the standard that servers of screens use)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes
    ----------
    name, id, data
        Its fields; `name` is "message" where the server gives none.
    """

    name: str
    id: str
    data: str


def parsed_events(lines: Iterable[str]) -> Iterator[Event | None]:
    """Yield the events of a stream's lines, and None for each sign of life between them.

    An event that the stream's end cuts off is not yielded, as the standard demands.
    """
    fields: dict[str, str] = {}
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield Event(fields.get("event", "message"), fields.get("id", ""), "\n".join(data))
            fields, data = {}, []
        elif line.startswith(":"):
            yield None
        else:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            else:
                fields[name] = value
