"""Finds out who calls: by a key, or by the user that a trusted proxy names."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from pertcast_serve.access.caller import LOCAL, Caller
from pertcast_serve.access.key_ring import KeyRing, Unauthorized
from pertcast_serve.config import AccessSettings, TrustedProxy

COOKIE: Final = "pertcast_key"
_LONGEST_NAME: Final = 200
_HOW: Final = (
    "Send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`; an administrator makes one with "
    "`pertcast key create`."
)


class Proxy:
    """Users that a proxy names.

    Parameters
    ----------
    settings
        Its header, its addresses and what its users may do.
    """

    def __init__(self, settings: TrustedProxy) -> None:
        self._header = settings.header
        self._networks = [ip_network(network) for network in settings.networks]
        self._scopes = frozenset(settings.scopes)

    def is_peer(self, scope: Scope, headers: Headers) -> bool:
        """Return whether a request comes from one of its addresses.

        Servers put what X-Forwarded-For says in the place of the peer's address where they trust the peer
        (uvicorn: 127.0.0.1). An address that the header itself names is therefore no proof.
        """
        client = scope.get("client")
        host = client[0] if client else ""
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if host in forwarded_hosts(headers):
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def names_user(self, headers: Headers) -> bool:
        """Return whether a request carries its header, from wherever."""
        return self._header in headers

    def caller_of(self, scope: Scope, headers: Headers) -> Caller | None:
        """Return the user that it names; None where the header is absent or comes from elsewhere."""
        names = headers.getlist(self._header)
        # Two headers mean that someone before the proxy sent one too.
        if len(names) != 1 or not self.is_peer(scope, headers):
            return None
        name = names[0].strip()
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            return None
        return Caller(f"proxy:{name}", name, self._scopes)


class Identity:
    """Who calls, by the settings of a server.

    Parameters
    ----------
    settings
        Keys and proxy; raises DamagedKeys where the file of keys cannot be read.
    """

    def __init__(self, settings: AccessSettings) -> None:
        self.is_open = settings.is_open
        self.proxy = None if settings.trusted_proxy is None else Proxy(settings.trusted_proxy)
        self._ring = None if settings.keys is None else KeyRing(settings.keys)

    async def caller_with(self, key: str) -> Caller:
        """Return whom a key stands for; raises Unauthorized."""
        if self._ring is None:
            raise Unauthorized(
                "This server knows no keys: it is open to this machine, or its proxy names who calls."
            )
        return await self._ring.caller_with(key)

    async def caller_of(self, scope: Scope, headers: Headers) -> Caller:
        """Return who makes a request; raises Unauthorized with what to do."""
        if self.is_open:
            return LOCAL
        user = None if self.proxy is None else self.proxy.caller_of(scope, headers)
        key = key_in_headers(headers)
        if key is not None and (user is None or key.startswith("pc_")):
            # A proxy may pass on a token of its own, which is no key of ours, beside the user's name.
            return await self.caller_with(key)
        if user is not None:
            return user
        cookie = key_in_cookie(headers)
        if cookie is not None:
            return await self.caller_with(cookie)
        raise Unauthorized(f"No key was given. {_HOW}")


def forwarded_hosts(headers: Headers) -> set[str]:
    """Return the addresses that X-Forwarded-For names, without their ports."""
    words = ",".join(headers.getlist("x-forwarded-for")).split(",")
    return {_without_port(word.strip()) for word in words}


def comes_from_here(scope: Scope, headers: Headers) -> bool:
    """Return whether a request began on this machine, also where a proxy of this machine passed it on.

    Anyone can say "Host: localhost"; where a server is reached from elsewhere, only addresses tell.
    """
    client = scope.get("client")
    # Without an address it came through a socket of this machine's file system.
    hosts = {client[0]} if client else set()
    return all(_is_loopback(host) for host in hosts | forwarded_hosts(headers) if host)


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _without_port(word: str) -> str:
    if word.startswith("["):
        return word[1:].partition("]")[0]
    return word if word.count(":") > 1 else word.partition(":")[0]


def key_in_headers(headers: Headers) -> str | None:
    """Return the key that a program sends, which no other site can make a browser send."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return headers.get("x-api-key")


def key_in_cookie(headers: Headers) -> str | None:
    """Return the key of a browser's session."""
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)
