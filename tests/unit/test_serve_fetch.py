"""Fetching by URL reaches only allowed public hosts, whatever the URL, the DNS or the host answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest

from attire.errors import PhotoError
from attire.serve.address_guard import is_public
from attire.serve.fetch import Fetcher
from attire.serve.settings import Settings

PUBLIC = "93.184.216.34"
PRIVATE = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0",
    "fc00::1", "fd12:3456::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
    "2002:7f00:1::", "2001:0:53aa:64c:0:fbff:8080:8080", "2001:db8::1", "fec0::1", "not an address", "",
    "192.0.0.192", "192.0.0.9", "192.88.99.1", "168.63.129.16", "192.31.196.1", "192.52.193.1", "192.175.48.1",
    "64:ff9b:1::1", "64:ff9b::808:808", "2002:808:808::1", "100::1", "100:0:0:1::1", "2001:2::1", "2001:20::1",
    "2001:30::1", "3fff::1", "5f00::1", "2620:4f:8000::1", "4000::1", "fd00:ec2::254", "::ffff:93.184.216.34",
]  # fmt: skip


class Host:
    """Answers every request and records it."""

    def __init__(self, *responses: httpx.Response) -> None:
        self.responses, self.seen = list(responses), list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.responses.pop(0) if self.responses else httpx.Response(200, content=_chunks(0, 1))


class Names:
    """A resolver that returns one list of addresses after the other and records the hosts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.hosts = list(answers), list[str]()

    async def __call__(self, host: str, port: int) -> Sequence[str]:  # noqa: ARG002
        self.hosts.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def fetch(url: str, hosts: Sequence[str] = ("*",), names: Names | None = None, host: Host | None = None) -> bytes:
    settings = Settings(bundle=Path(), fetch_hosts=tuple(hosts), photo_bytes=1000, fetch_s=0.5)

    async def run() -> bytes:
        fetcher = Fetcher(settings, names or Names([PUBLIC]), httpx.MockTransport(host or Host()))
        try:
            return await fetcher(url)
        finally:
            await fetcher.close()

    return asyncio.run(run())


def test_the_connection_goes_to_the_address_that_was_checked_under_the_hosts_name() -> None:
    # A rebinding DNS server would give the second answer to a second query.
    host, names = Host(), Names([PUBLIC], ["127.0.0.1"])
    assert fetch("https://img.example.com/a%20b.jpg?v=1", ("img.example.com",), names, host) == b"x" * 300
    (request,) = host.seen
    assert request.url.host == PUBLIC
    assert request.url.raw_path == b"/a%20b.jpg?v=1"
    assert request.headers["host"] == "img.example.com"
    assert request.extensions["sni_hostname"] == "img.example.com"
    assert names.hosts == ["img.example.com"]


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "192.0.1.1", "2606:4700::1111", "2a00:1450::1", "2001:4860::1"])
def test_ordinary_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_whatever_else_the_name_has(address: str) -> None:
    assert not is_public(address)
    for answer in ([address], [PUBLIC, address]):
        host = Host()
        with pytest.raises(PhotoError, match="not a public host"):
            fetch("http://rebind.example/", names=Names(answer), host=host)
        assert not host.seen


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://2130706433/", "http://0177.0.0.1/", "http://0x7f.0.0.1/", "http://0x7f000001/",
        "http://127.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::]/",
        "http://0/", "http://localhost/", "http://localhost./", "http://[fe80::1]/",
    ],
)  # fmt: skip
def test_spellings_of_this_machine_are_refused_with_the_systems_resolver(url: str) -> None:
    settings, host = Settings(bundle=Path(), fetch_hosts=("*",)), Host()

    async def run() -> None:
        fetcher = Fetcher(settings, transport=httpx.MockTransport(host))
        with pytest.raises(PhotoError):
            await fetcher(url)
        await fetcher.close()

    asyncio.run(run())
    assert not host.seen


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://img.example.com/", "gopher://img.example.com/", "//img.example.com/", "data:,x",
        "",         "http://", "http:///x", "http://[", "http://img.example.com:x/", "http://img.example.com:99999/",
        "http://user@img.example.com/", "http://user:pw@img.example.com/", "http://img.example.com@evil.example/",
        "http://img.example.com\\@evil.example/", "http://img.example.com:22/", "https://img.example.com:80/",
        "http://evil.example/", "http://ximg.example.com/", "http://img.example.com.evil.example/", "http://ïmg.example.com/",
        "http://img.example.com/\r\nX: y", "http://evil.example#img.example.com", "http://evil.example?img.example.com",
    ],
)  # fmt: skip
def test_urls_of_other_hosts_schemes_and_ports_are_refused(url: str) -> None:
    host = Host()
    with pytest.raises(PhotoError):
        fetch(url, ("img.example.com",), host=host)
    assert not any(request.headers["host"] != "img.example.com" for request in host.seen)
    assert not any("x" in request.headers for request in host.seen)


def test_hosts_are_allowed_by_name_below_a_name_and_with_a_port() -> None:
    assert fetch("http://a.b.example.com/", ("*.example.com",))
    assert fetch("http://IMG.example.com:8080/", ("img.example.com:8080",))
    for url, hosts in (("http://example.com/", "*.example.com"), ("http://img.example.com/", "img.example.com:8080")):
        with pytest.raises(PhotoError, match="not one of the hosts"):
            fetch(url, (hosts,))


def test_redirects_are_not_followed() -> None:
    host = Host(httpx.Response(302, headers={"Location": "http://169.254.169.254/latest/meta-data"}))
    with pytest.raises(PhotoError, match="302"):
        fetch("http://img.example.com/", host=host)
    assert len(host.seen) == 1


async def _chunks(seconds: float, chunks: int) -> AsyncIterator[bytes]:
    for _ in range(chunks):
        await asyncio.sleep(seconds)
        yield b"x" * 300


def test_size_and_time_are_limited_while_the_photo_arrives() -> None:
    with pytest.raises(PhotoError, match="more than 1,000 bytes"):
        fetch("http://img.example.com/", host=Host(httpx.Response(200, content=_chunks(0, 1000))))
    with pytest.raises(PhotoError, match="took longer"):
        fetch("http://img.example.com/", host=Host(httpx.Response(200, content=_chunks(0.3, 3))))


def test_an_unknown_host_is_reported() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError(f"{host}:{port}")

    async def run() -> None:
        fetcher = Fetcher(Settings(bundle=Path(), fetch_hosts=("*",)), unknown)
        with pytest.raises(PhotoError, match="cannot be resolved"):
            await fetcher("http://nowhere.example/")
        await fetcher.close()

    asyncio.run(run())
