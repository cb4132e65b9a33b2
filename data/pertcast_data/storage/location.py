"""What a location is: a local path, or an object store's bucket and key.

Configurations hold locations as paths, and a path has lost one of the two slashes of "s3://": both forms
are read as the same place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pertcast_data.errors import ConfigError

SCHEMES: Final = ("s3", "gs")
_FORM: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/{1,2})(.*)", re.DOTALL)
# Named only to be refused with a word: with one slash, they could be taken for folders.
_OTHER_SCHEMES: Final = frozenset(
    (
        "abfs",
        "abfss",
        "adl",
        "az",
        "azure",
        "file",
        "ftp",
        "gcs",
        "hdfs",
        "http",
        "https",
        "s3a",
        "s3n",
        "wasb",
    )
)


@dataclass(frozen=True, slots=True)
class RemoteLocation:
    """A place in an object store.

    Attributes
    ----------
    scheme
        "s3" or "gs".
    bucket
        The bucket's name.
    key
        Path inside the bucket, without slashes at its ends; "" for the bucket itself.
    """

    scheme: str
    bucket: str
    key: str

    @property
    def url(self) -> str:
        """The location as it is written: s3://bucket/key."""
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    @property
    def name(self) -> str:
        """The last part of the key; the bucket's name where there is no key."""
        return self.key.rpartition("/")[2] or self.bucket

    @property
    def parent(self) -> RemoteLocation:
        """The folder that this place lies in; the bucket is its own."""
        return RemoteLocation(self.scheme, self.bucket, self.key.rpartition("/")[0])

    def __str__(self) -> str:
        return self.url


def is_remote(location: str | Path) -> bool:
    """Whether `location` names a place by a scheme ("s3://b/k", "s3:/b/k"), not a local path.

    True also for schemes that are not supported: `parse_location` refuses them with a word.
    """
    found = _FORM.match(str(location))
    if found is None:
        return False
    scheme, slashes, _ = found.groups()
    return slashes == "//" or scheme.lower() in {*SCHEMES, *_OTHER_SCHEMES}


def parse_location(location: str | Path | RemoteLocation) -> RemoteLocation:
    """Return the place that a remote `location` names.

    Raises
    ------
    ConfigError
        It is a local path, its scheme is not supported, it has no bucket, or its key climbs with "..".
    """
    if isinstance(location, RemoteLocation):
        return location
    text = str(location)
    found = _FORM.match(text)
    supported = "Supported are local paths, s3://BUCKET/KEY and gs://BUCKET/KEY."
    if found is None or not is_remote(location):
        raise ConfigError(f"{text!r} is not a location in an object store. {supported}")
    scheme, _, rest = found.groups()
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        advice = "Write it as a plain path. " if scheme == "file" else "Copy the files to one of these. "
        raise ConfigError(f"{text!r}: the scheme {scheme!r} is not supported. {supported} {advice}".strip())
    bucket, _, key = rest.partition("/")
    parts = [part for part in key.split("/") if part]
    if not bucket:
        raise ConfigError(f"{text!r} names no bucket. Write {scheme}://BUCKET/KEY.")
    if ".." in parts or "." in parts:
        raise ConfigError(f"{text!r}: a key in a bucket cannot hold '.' or '..' as a part. Write it in full.")
    return RemoteLocation(scheme, bucket, "/".join(parts))
