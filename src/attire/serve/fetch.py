"""Fetches photos by URL from allowed hosts, protected against server-side request forgery (SSRF).

A host is resolved once, all its addresses must be public, and the connection goes to a checked address, with the name
in `Host` and TLS. So a later DNS answer cannot redirect it. HTTP redirects are not followed.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import httpx

from attire.errors import PhotoError
from attire.serve.address_guard import is_public
from attire.serve.settings import Settings

PORTS = {"http": 80, "https": 443}
PLAIN = re.compile(r"[!-\[\]-~]+")  # printable ASCII without space and backslash, on which URL parsers disagree
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of `host` from the system's resolver."""
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in entries]


class Fetcher:
    """Fetches photos from the hosts in `settings.fetch_hosts`.

    An entry is a host name, `*.name` for subdomains, `name:port` for a non-standard port, or `*` for any public host.
    """

    def __init__(
        self, settings: Settings, resolve: Resolve = resolve, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._hosts, self._max_bytes, self._resolve = settings.fetch_hosts, settings.photo_bytes, resolve
        self._seconds = settings.fetch_s
        self._client = httpx.AsyncClient(
            transport=transport,
            follow_redirects=False,
            trust_env=False,  # a proxy would resolve the host again
            timeout=settings.fetch_s,
            headers={"User-Agent": "attire", "Accept": "image/*", "Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=0),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def __call__(self, url: str) -> bytes:
        """Return the content at `url`; raises `PhotoError`."""
        if not self._hosts:
            raise PhotoError("not fetched: this server fetches no URLs; send the photo itself as base64")
        scheme, host, port, path = self._parse(url)
        try:
            async with asyncio.timeout(self._seconds):
                address = await self._address(host, port)
                return await self._get(scheme, host, address, port, path)
        except TimeoutError:
            raise PhotoError(f"not fetched: it took longer than {self._seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            raise PhotoError(f"not fetched: {type(error).__name__}") from None

    def _parse(self, url: str) -> tuple[str, str, int, str]:
        """Return scheme, host, port and path with query; raises `PhotoError` unless the URL is allowed."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise PhotoError("not a URL") from None
        if parts.scheme not in PORTS or not parts.hostname:
            raise PhotoError("not fetched: expected a URL that starts with https:// or http://")
        if parts.username is not None or parts.password is not None or PLAIN.fullmatch(url) is None:
            raise PhotoError("not fetched: the URL contains a user name or characters that must be percent-encoded")
        host = parts.hostname.rstrip(".")
        standard = port is None or port == PORTS[parts.scheme]
        if not any(self._allows(allowed, host, port, standard) for allowed in self._hosts):
            raise PhotoError(f"not fetched: {parts.netloc} is not one of the hosts this server fetches from")
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return parts.scheme, host, port or PORTS[parts.scheme], path

    @staticmethod
    def _allows(allowed: str, host: str, port: int | None, standard: bool) -> bool:
        name, _, allowed_port = allowed.lower().partition(":")
        if not (standard if not allowed_port else allowed_port == str(port)):
            return False
        return name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:]))

    async def _address(self, host: str, port: int) -> str:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise PhotoError(f"not fetched: the host {host} cannot be resolved") from None
        if not addresses or not all(is_public(address) for address in addresses):
            raise PhotoError(f"not fetched: {host} is not a public host")
        return addresses[0]

    async def _get(self, scheme: str, host: str, address: str, port: int, path: str) -> bytes:
        name = f"[{host}]" if ":" in host else host
        netloc = name if port == PORTS[scheme] else f"{name}:{port}"
        pinned = httpx.URL(scheme=scheme, host=address, port=port, raw_path=path.encode())
        request = self._client.build_request("GET", pinned, headers={"Host": netloc}, extensions={"sni_hostname": host})
        response = await self._client.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise PhotoError(f"not fetched: the host answered {response.status_code}; redirects are not followed")
            content = bytearray()
            async for chunk in response.aiter_raw():  # raw: a compressed body could be a decompression bomb
                content += chunk
                if len(content) > self._max_bytes:
                    raise PhotoError(f"too large: more than {self._max_bytes:,} bytes")
            return bytes(content)
        finally:
            await response.aclose()
