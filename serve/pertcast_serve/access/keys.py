"""Keys of the server: how they are made, and the file that holds what is needed to recognise them.

A key is `pc_<id>_<secret>`. Its secret has 256 random bits, so the file holds its plain SHA-256: slow
hashes exist for passwords that can be guessed, which 2^256 secrets cannot, and would cost every request
what they cost an attacker.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pertcast.errors import ConfigError, PertcastError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pertcast_serve.access.caller import Caller, Scope

KEY_PATTERN: Final = re.compile(r"pc_([0-9a-f]{12})_([0-9a-f]{64})")
KeyState = Literal["active", "expired", "revoked"]

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_OWNER_ONLY: Final = 0o600


class DamagedKeys(PertcastError):
    """A file of keys that cannot be read or is not what `pertcast key` writes."""


class Key(BaseModel):
    """One key as the file holds it.

    Attributes
    ----------
    id
        Public part of the key; logs name it.
    name
        Whom it was made for.
    sha256
        SHA-256 of the secret, hexadecimal.
    scopes
        What it may do.
    created, expires, revoked
        Times in UTC; None where it does not expire, or was not revoked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None

    def state(self, now: datetime) -> KeyState:
        """Return whether it may be used at a time."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "active"

    def is_secret(self, secret: str) -> bool:
        """Return whether a secret is this key's, in a time that does not depend on where they differ."""
        return hmac.compare_digest(sha256_of(secret), self.sha256)

    @property
    def caller(self) -> Caller:
        """Whom a request with it stands for."""
        return Caller(self.id, self.name, frozenset(self.scopes))


class _KeyFile(BaseModel):
    """The file; `format` tells a later version what it reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["pertcast-keys-1"] = "pertcast-keys-1"
    keys: tuple[Key, ...] = ()

    @model_validator(mode="after")
    def _names_each_id_once(self) -> _KeyFile:
        ids = [key.id for key in self.keys]
        if len(set(ids)) < len(ids):
            raise ValueError("an id stands twice")
        return self


def sha256_of(secret: str) -> str:
    """Return the SHA-256 of a secret, hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_key(
    name: str, scopes: Sequence[Scope], expires: datetime | None = None, now: datetime | None = None
) -> tuple[str, Key]:
    """Return a new key's text, which is kept nowhere, and what the file holds of it."""
    identity, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    key = Key(
        id=identity,
        name=name,
        sha256=sha256_of(secret),
        scopes=tuple(dict.fromkeys(scopes)),
        created=now or datetime.now(UTC),
        expires=expires,
    )
    return f"pc_{identity}_{secret}", key


def read_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file, in order.

    Raises
    ------
    DamagedKeys
        It cannot be read, or its content is not what `pertcast key` writes; the message says what to do.
    """
    remedy = (
        f"Restore {path} from a copy, or move it away and make new keys: "
        f"pertcast key create --keys {path} --name NAME --scope predict"
    )
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedKeys(
            f"{path}: there is no such file of keys. Make one: "
            f"pertcast key create --keys {path} --name NAME --scope predict"
        ) from error
    except OSError as error:
        raise DamagedKeys(f"{path}: cannot be read ({error.strerror}). {remedy}") from error
    try:
        return _KeyFile.model_validate_json(text).keys
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise DamagedKeys(
            f"{path}: the file of keys is damaged ({place}: {first['msg']}). {remedy}"
        ) from error


def change_keys(
    path: Path, change: Callable[[tuple[Key, ...]], tuple[Key, ...]], *, may_create: bool = False
) -> None:
    """Replace the keys of a file by what `change` makes of them: wholly or not at all, one change at a time.

    Raises
    ------
    DamagedKeys
        The file is damaged; it is left as it is.
    ConfigError
        Its folder is missing or cannot be written.
    """
    try:
        with _locked(path):
            keys = () if may_create and not path.exists() else read_keys(path)
            _write(path, _KeyFile(keys=change(keys)))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror}). Choose a folder that exists and is yours."
        ) from error


def _write(path: Path, content: _KeyFile) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content.model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep a second `pertcast key` waiting, which would otherwise write over what this one changes."""
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
