"""Read photos and archives from addresses (`https://`, `s3://`), with timeouts and a limited number of retries.

Only `SCHEMES` and schemes named by the user are allowed, each with its fsspec file system. Otherwise the author of a
feed could make fsspec follow chains (`reference::https://...`) or read local files (`file://`). Credentials and
endpoints are set as for other tools: AWS_PROFILE, AWS_ENDPOINT_URL, FSSPEC_S3_ANON=true, ...
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from attire.errors import AttireError, CatalogError, ConfigError, MissingExtraError, PhotoError, PhotoMissingError
from attire.files import replacing
from attire.photos.silent_hosts import SilentHosts

SCHEMES = ("http", "https", "s3")
ATTEMPTS, WAIT_S = 3, 0.5  # the wait doubles after each attempt
CONNECT_S, READ_S = 10.0, 30.0  # timeouts for connecting and for each read
PHOTO_S = 120.0  # timeout for a whole photo, however slowly the server sends
MAX_BYTES = 64 * 2**20  # limit for one photo, which is held in memory
FETCHERS = 16  # threads that wait for the network
CHUNK = 2**20
HTTP = ("http://", "https://")
CONDITIONS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}  # of an answer -> of the next request
NOT_MODIFIED = 304
STAMPS = ("size", "ETag", "LastModified", "mtime")  # properties that identify a version of the content, if available

Result = TypeVar("Result")


def is_url(source: str | Path) -> bool:
    """Whether `source` is an address, not a path."""
    return "://" in str(source)


@dataclass(frozen=True, slots=True)
class Remote:
    """Opens addresses whose scheme is in `SCHEMES` or `more`; raises `ConfigError` for other schemes.

    Photos of a host that never answers are given up (`SilentHosts`).
    """

    more: tuple[str, ...] = ()
    hosts: SilentHosts = field(default_factory=SilentHosts, compare=False, repr=False)

    def photo(self, url: str) -> RemotePhoto:
        """The photo at an address in a feed; raises `PhotoError` for a scheme that is not allowed."""
        try:
            self._scheme(url)
        except ConfigError as error:
            raise PhotoError(str(error)) from None
        return RemotePhoto(url, self)

    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
        """Open an address for sequential reading, as a file of fsspec; `headers` are for HTTP only."""
        system, path = self._system(url)
        if url.startswith(HTTP):  # stream in one request, without asking for the size first
            more = {"headers": {**system.kwargs.get("headers", {}), **headers}} if headers else {}
            return system.open(path, "rb", block_size=0, size=1, **more)
        return system.open(path, "rb", cache_type="readahead")

    def fetch(self, url: str, to: Path) -> Path:
        """Download a file to the folder `to`; raises `CatalogError` if that fails."""
        name = PurePosixPath(url.split("?")[0]).name[-100:]
        target = to / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"  # unique per address

        def copy() -> None:
            with (
                replacing(target, durable=False) as temporary,
                closing(self.open(url)) as remote,
                temporary.open("wb") as file,
            ):
                shutil.copyfileobj(remote, file, CHUNK)

        to.mkdir(parents=True, exist_ok=True)
        _request(url, copy)
        return target

    def stamp(self, url: str) -> dict[str, str]:
        """Properties that identify the version of the content; raises `CatalogError` if the file does not exist."""
        system, path = self._system(url)
        info = _request(url, lambda: system.info(path))
        return {name: str(info[name]) for name in STAMPS if info.get(name) is not None}

    def matching(self, pattern: str) -> list[str]:
        """The addresses that match a pattern with `*`, sorted."""
        system, path = self._system(pattern)
        return sorted(system.unstrip_protocol(match) for match in _request(pattern, lambda: system.glob(path)))

    def below(self, url: str) -> list[tuple[str, str]]:
        """(path within the folder, address) of every file below the folder at `url`, sorted."""
        system, path = self._system(url)
        top = f"{path.rstrip('/')}/"
        files = sorted(file for file in _request(url, lambda: system.find(path)) if file.startswith(top))
        return [(file.removeprefix(top), system.unstrip_protocol(file)) for file in files]

    def _scheme(self, url: str) -> str:
        scheme = url.partition("://")[0]
        allowed = (*SCHEMES, *self.more)
        if scheme not in allowed:
            raise ConfigError(
                f"addresses that start with '{scheme}://' are not allowed: expected one of {', '.join(allowed)}, "
                "or a scheme allowed with --schemes"
            )
        return scheme

    def _system(self, url: str) -> tuple[Any, str]:
        """The fsspec file system of an address, and the path in it."""
        scheme = self._scheme(url)
        try:
            import fsspec

            system = fsspec.filesystem(scheme, **_OPTIONS.get(scheme, dict)())
        except ImportError as error:
            if scheme not in SCHEMES:
                raise ConfigError(f"{scheme}:// needs a package that is not installed: {error}") from None
            raise MissingExtraError(f"{scheme}://", "remote") from None
        except ValueError as error:
            raise ConfigError(f"--schemes {scheme} is not a file system of fsspec: {error}") from None
        return system, system._strip_protocol(url)


class Download(NamedTuple):
    """The content of a photo. `stamp` identifies this version of it for a later request; "" if the server cannot."""

    content: bytes
    stamp: str


@dataclass(frozen=True, slots=True)
class RemotePhoto:
    """A photo at an address, downloaded when it is read."""

    url: str
    remote: Remote

    @property
    def name(self) -> str:
        return self.url

    def __str__(self) -> str:
        return self.url

    def read(self) -> bytes:
        """Download the photo; raises `PhotoError` if that fails or the photo has more than `MAX_BYTES`."""
        download = self.download()
        assert download is not None  # only a request with a stamp can be answered by "not modified"
        return download.content

    def download(self, stamp: str = "") -> Download | None:
        """Download the photo, as `read` does; None if it is still the version with this `stamp`."""
        hosts = self.remote.hosts
        try:
            return _retry(lambda: self._download(stamp))
        except FileNotFoundError:
            hosts.answered(self.url)
            raise PhotoMissingError("not found") from None
        except AttireError:
            raise
        except Exception as error:  # each service raises its own exceptions
            hosts.failed(self.url, error)
            raise PhotoError(f"cannot be downloaded: {_reason(error)}") from None

    def _download(self, known: str) -> Download | None:
        self.remote.hosts.check(self.url)  # before each attempt: other photos may have found out meanwhile
        content, end = bytearray(), time.monotonic() + PHOTO_S
        before = json.loads(known or "{}")
        headers = {CONDITIONS[name]: text for name, text in before.items() if name in CONDITIONS}
        with closing(self.remote.open(self.url, headers)) as file:
            self.remote.hosts.answered(self.url)
            if self.url.startswith(HTTP):
                if file.r.status == NOT_MODIFIED:
                    return None
                stamp = {name: file.r.headers[name] for name in CONDITIONS if name in file.r.headers}
            else:
                details = getattr(file, "details", {})
                stamp = {name: str(details[name]) for name in STAMPS if details.get(name) is not None}
                if stamp.keys() - {"size"} and stamp == before:
                    return None
            while len(content) <= MAX_BYTES and (chunk := file.read(CHUNK)):
                content += chunk
                if time.monotonic() > end:
                    raise PhotoError(f"the download takes more than {PHOTO_S:g} s")
        if len(content) > MAX_BYTES:
            raise PhotoError(f"too large: more than {MAX_BYTES // 2**20} MB")
        return Download(bytes(content), json.dumps(stamp) if stamp else "")


def _request(url: str, request: Callable[[], Result]) -> Result:
    """Call `request` with retries; raises `CatalogError` with the address."""
    try:
        return _retry(request)
    except FileNotFoundError:
        raise CatalogError(f"{url} does not exist, or these credentials give no access to it.") from None
    except (MissingExtraError, ConfigError):
        raise
    except Exception as error:
        raise CatalogError(
            f"{url} cannot be downloaded: {_reason(error)}. Run the command again to continue: finished work is kept."
        ) from error


def _retry(request: Callable[[], Result]) -> Result:
    """Call `request`, and again after errors that may be temporary."""
    for attempt in range(1, ATTEMPTS):
        try:
            return request()
        except Exception as error:
            if not _is_temporary(error):
                raise
        time.sleep(WAIT_S * 2 ** (attempt - 1))
    return request()


def _is_temporary(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError | ValueError | AttireError):
        return False
    status = getattr(error, "status", 500)
    return not isinstance(status, int) or status >= 500 or status in (408, 429)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__  # timeouts often have no text


def _http() -> dict[str, Any]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)  # archives may take hours
    return {"client_kwargs": {"timeout": timeout}}


def _s3() -> dict[str, Any]:
    config = {"connect_timeout": CONNECT_S, "read_timeout": READ_S, "retries": {"max_attempts": ATTEMPTS}}
    return {"config_kwargs": config, "default_fill_cache": False}


_OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {"http": _http, "https": _http, "s3": _s3}
