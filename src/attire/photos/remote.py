"""Feeds, photos and archives by address (`https://`, `s3://`), with bounded patience.

Each scheme is opened by its own file system of fsspec, and only those of `SCHEMES` and those that the user has named
are: fsspec alone would follow chains (`reference::https://...`) and read this machine (`file://`) for whoever writes
a feed. Credentials and endpoints are the services' own: AWS_PROFILE, AWS_ENDPOINT_URL, FSSPEC_S3_ANON=true, ...
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from attire.errors import AttireError, CatalogError, ConfigError, MissingExtraError, PhotoError
from attire.files import replacing

SCHEMES = ("http", "https", "s3")
ATTEMPTS, WAIT_S = 3, 0.5  # the wait doubles from attempt to attempt
CONNECT_S, READ_S = 10.0, 30.0  # a server that is silent for longer counts as a fault
PHOTO_S = 120.0  # until when a photo is there, however little a server sends at a time
MAX_BYTES = 64 * 2**20  # of one photo: what is larger is no product photo, and would be held in memory
CHUNK = 2**20
STAMPS = ("size", "ETag", "LastModified", "mtime")  # what tells two contents of one address apart, if servers say

Found = TypeVar("Found")


def is_url(source: str | Path) -> bool:
    """Whether this is fetched, not a path."""
    return "://" in str(source)


@dataclass(frozen=True, slots=True)
class Remote:
    """Opens addresses whose scheme is one of `SCHEMES` or of `more`; raises `ConfigError` for every other."""

    more: tuple[str, ...] = ()

    def photo(self, url: str) -> RemotePhoto:
        """The photo at an address that stands in a feed; raises `PhotoError` for another scheme."""
        try:
            self._scheme(url)
        except ConfigError as error:
            raise PhotoError(str(error)) from None
        return RemotePhoto(url, self)

    def open(self, url: str) -> IO[bytes]:
        """What the address leads to, to be read from the start."""
        system, path = self._system(url)
        if url.startswith(("http://", "https://")):  # one request, whatever the server says of sizes and ranges
            return system.open(path, "rb", block_size=0, size=1)  # type: ignore[no-any-return]
        return system.open(path, "rb", cache_type="readahead")  # type: ignore[no-any-return]

    def fetch(self, url: str, to: Path) -> Path:
        """The whole file, in the folder `to`; raises `CatalogError` where it does not come."""
        name = PurePosixPath(url.split("?")[0]).name[-100:]
        target = to / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"  # two sites may have one name

        def copy() -> None:
            with (
                replacing(target, durable=False) as temporary,
                closing(self.open(url)) as remote,
                temporary.open("wb") as file,
            ):
                shutil.copyfileobj(remote, file, CHUNK)

        to.mkdir(parents=True, exist_ok=True)
        _asked(url, copy)
        return target

    def stamp(self, url: str) -> dict[str, str]:
        """What tells the content from another one at the same address; raises `CatalogError` where there is none."""
        system, path = self._system(url)
        about = _asked(url, lambda: system.info(path))
        return {name: str(about[name]) for name in STAMPS if about.get(name) is not None}

    def matching(self, pattern: str) -> list[str]:
        """The addresses that a pattern with `*` stands for, sorted."""
        system, path = self._system(pattern)
        return sorted(system.unstrip_protocol(found) for found in _asked(pattern, lambda: system.glob(path)))

    def below(self, url: str) -> list[tuple[str, str]]:
        """(path within it, address) of every file below the folder at `url`, sorted."""
        system, path = self._system(url)
        top = f"{path.rstrip('/')}/"
        found = sorted(file for file in _asked(url, lambda: system.find(path)) if file.startswith(top))
        return [(file.removeprefix(top), system.unstrip_protocol(file)) for file in found]

    def _scheme(self, url: str) -> str:
        scheme = url.partition("://")[0]
        known = (*SCHEMES, *self.more)
        if scheme not in known:
            raise ConfigError(
                f"an address that starts with '{scheme}://' is not read: expected one of {', '.join(known)}, "
                "or another that is named by --schemes"
            )
        return scheme

    def _system(self, url: str) -> tuple[Any, str]:
        """fsspec's file system of the scheme, and the path in it."""
        scheme = self._scheme(url)
        try:
            import fsspec

            system = fsspec.filesystem(scheme, **_OPTIONS.get(scheme, dict)())
        except ImportError as error:
            if scheme not in SCHEMES:
                raise ConfigError(f"{scheme}:// needs a package that is not installed: {error}") from None
            raise MissingExtraError(f"{scheme}://", "remote") from None
        except ValueError as error:
            raise ConfigError(f"--schemes {scheme} is none of fsspec's file systems: {error}") from None
        return system, system._strip_protocol(url)


@dataclass(frozen=True, slots=True)
class RemotePhoto:
    """A photo that is fetched when it is read."""

    url: str
    remote: Remote

    @property
    def name(self) -> str:
        return self.url

    def __str__(self) -> str:
        return self.url

    def read(self) -> bytes:
        """Its bytes; raises `PhotoError` where they do not come, or are more than `MAX_BYTES`."""
        try:
            return _patiently(self._read)
        except FileNotFoundError:
            raise PhotoError("not found") from None
        except AttireError:
            raise
        except Exception as error:  # each service has exceptions of its own
            raise PhotoError(f"cannot be fetched: {_said(error)}") from None

    def _read(self) -> bytes:
        content, end = bytearray(), time.monotonic() + PHOTO_S
        with closing(self.remote.open(self.url)) as file:
            while len(content) <= MAX_BYTES and (chunk := file.read(CHUNK)):
                content += chunk
                if time.monotonic() > end:
                    raise PhotoError(f"takes more than {PHOTO_S:g} s to come")
        if len(content) > MAX_BYTES:
            raise PhotoError(f"too large: more than {MAX_BYTES // 2**20} MB")
        return bytes(content)


def _asked(url: str, ask: Callable[[], Found]) -> Found:
    """What `ask` finds, with bounded retries; raises `CatalogError` that names the address."""
    try:
        return _patiently(ask)
    except FileNotFoundError:
        raise CatalogError(f"{url} does not exist, or cannot be seen with these credentials.") from None
    except (MissingExtraError, ConfigError):
        raise
    except Exception as error:
        raise CatalogError(f"{url} cannot be fetched: {_said(error)}. Call again: what was done is kept.") from error


def _patiently(ask: Callable[[], Found]) -> Found:
    """What `ask` finds, asked again after a fault that may pass."""
    for attempt in range(1, ATTEMPTS):
        try:
            return ask()
        except Exception as error:
            if not _may_pass(error):
                raise
        time.sleep(WAIT_S * 2 ** (attempt - 1))
    return ask()


def _may_pass(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError | ValueError | AttireError):
        return False
    status = getattr(error, "status", 500)
    return not isinstance(status, int) or status >= 500 or status in (408, 429)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__  # time-outs often have no text


def _http() -> dict[str, Any]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)  # an archive takes its time
    return {"client_kwargs": {"timeout": timeout}}


def _s3() -> dict[str, Any]:
    patience = {"connect_timeout": CONNECT_S, "read_timeout": READ_S, "retries": {"max_attempts": ATTEMPTS}}
    return {"config_kwargs": patience, "default_fill_cache": False}


_OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {"http": _http, "https": _http, "s3": _s3}
