"""Puts access control around the interface, in the one order that works."""

from __future__ import annotations

from fastapi import FastAPI

from pertcast_serve.access.audit import AuditLog
from pertcast_serve.access.body_limit import BodyLimit
from pertcast_serve.access.compression import Compression
from pertcast_serve.access.documented import document_keys
from pertcast_serve.access.gate import Gate
from pertcast_serve.access.identity import Identity
from pertcast_serve.access.key_ring import KeyRing
from pertcast_serve.access.limits import CallerLimits, TimeLimit
from pertcast_serve.access.record import Record
from pertcast_serve.config import AccessSettings, ServeConfig
from pertcast_serve.metrics import is_in_ray_actor


def require_usable(settings: AccessSettings) -> None:
    """Check keys and audit log before anything is started.

    Raises
    ------
    DamagedKeys
        The file of keys is missing or damaged.
    ConfigError
        The audit log cannot be written.
    """
    if settings.keys is not None:
        KeyRing(settings.keys)
    if settings.audit is not None:
        AuditLog(settings.audit).close()


def install_access(api: FastAPI, config: ServeConfig) -> None:
    """Guard `api`; raises as `require_usable`.

    From the outside in: what every answer carries, compression, who may pass, what one may have in flight,
    how long it may take, how large its body may be.
    """
    audit = None if config.access.audit is None else AuditLog(config.access.audit)
    identity = Identity(config.access)
    api.state.identity = identity
    if not identity.is_open:
        document_keys(api)
    # The last one added is the outermost.
    api.add_middleware(BodyLimit, max_bytes=config.limits.body_bytes)
    api.add_middleware(TimeLimit, seconds=config.limits.request_s)
    api.add_middleware(CallerLimits, concurrent_requests=config.limits.concurrent_requests)
    api.add_middleware(Gate, identity=identity, root_path=config.root_path)
    api.add_middleware(Compression)
    api.add_middleware(Record, audit=audit, is_behind_serve=is_in_ray_actor())
