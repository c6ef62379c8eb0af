"""Photos by URL, for allowed hosts only, without becoming a way into the network the server stands in (SSRF).

A name is resolved once; every address it has must be public; the connection goes to the address that was checked, with
the name in `Host` and TLS. So what DNS says a moment later does not matter. Redirects are not followed.
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
PLAIN = re.compile(r"[!-\[\]-~]+")  # printable ASCII without blank and backslash, which parsers read differently
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The addresses that the system gives for `host`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Fetcher:
    """Fetches photos from `settings.fetch_hosts`: names, `*.name` for those below one, `name:port` for another port,
    `*` for every public host."""

    def __init__(
        self, settings: Settings, resolve: Resolve = resolve, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._hosts, self._most, self._resolve = settings.fetch_hosts, settings.photo_bytes, resolve
        self._seconds = settings.fetch_s
        self._client = httpx.AsyncClient(
            transport=transport,
            follow_redirects=False,
            trust_env=False,  # a proxy would resolve the name again
            timeout=settings.fetch_s,
            headers={"User-Agent": "attire", "Accept": "image/*", "Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=0),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def __call__(self, url: str) -> bytes:
        """The content at `url`; raises `PhotoError` with the reason why there is none."""
        if not self._hosts:
            raise PhotoError("URLs are not fetched by this server: send the photo itself, as base64")
        scheme, host, port, path = self._parsed(url)
        try:
            async with asyncio.timeout(self._seconds):
                address = await self._address(host, port)
                return await self._get(scheme, host, address, port, path)
        except TimeoutError:
            raise PhotoError(f"not fetched: it took longer than {self._seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            raise PhotoError(f"not fetched: {type(error).__name__}") from None

    def _parsed(self, url: str) -> tuple[str, str, int, str]:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise PhotoError("not a URL") from None
        if parts.scheme not in PORTS or not parts.hostname:
            raise PhotoError("not fetched: expected a URL that starts with https:// or http://")
        if parts.username is not None or parts.password is not None or PLAIN.fullmatch(url) is None:
            raise PhotoError("not fetched: the URL has a user name, or characters that a URL must encode")
        host = parts.hostname.rstrip(".")
        standard = port is None or port == PORTS[parts.scheme]
        if not any(self._allows(allowed, host, port, standard) for allowed in self._hosts):
            raise PhotoError(f"not fetched: {parts.netloc} is not one of the hosts that this server fetches from")
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
            raise PhotoError(f"not fetched: the host {host} is not known") from None
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
            async for chunk in response.aiter_raw():  # raw: a compressed body could be a bomb
                content += chunk
                if len(content) > self._most:
                    raise PhotoError(f"too large: more than {self._most:,} bytes")
            return bytes(content)
        finally:
            await response.aclose()
