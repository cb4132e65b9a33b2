"""One door to files that lie elsewhere: s3:// and gs:// locations, and the local cache of what was read.

Credentials come from the usual environment alone; every failure becomes a `StorageError` with a remedy.
`publish` knows stores and is imported by its own name: stores themselves are opened through this package.
"""

from pertcast_data.storage.cache import Cache
from pertcast_data.storage.fetched import local_copy
from pertcast_data.storage.location import RemoteLocation, is_remote, parse_location
from pertcast_data.storage.objects import ObjectEntry, ObjectFolder

__all__ = [
    "Cache",
    "ObjectEntry",
    "ObjectFolder",
    "RemoteLocation",
    "is_remote",
    "local_copy",
    "parse_location",
]
