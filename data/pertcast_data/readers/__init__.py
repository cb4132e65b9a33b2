"""Readers: raw profile files of several formats behind one contract, found by content.

`open_source(path)` is the way in; a file's name never decides what it is.
"""

from pertcast_data.readers.registry import READERS, open_source
from pertcast_data.readers.source import ProfileBatch, ProfileSource, SourceSchema

__all__ = ["READERS", "ProfileBatch", "ProfileSource", "SourceSchema", "open_source"]
