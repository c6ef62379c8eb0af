"""Feeds, photos and archives by URL (`s3://`, `https://` and whatever else fsspec knows), with bounded patience.

Credentials and endpoints are fsspec's and the services' own: AWS_PROFILE, AWS_ENDPOINT_URL, FSSPEC_S3_ANON=true, ...
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from attire.errors import CatalogError, ConfigError, MissingExtraError, PhotoError

ATTEMPTS, WAIT_S = 3, 0.5  # the wait doubles from attempt to attempt
CONNECT_S, READ_S = 10.0, 30.0  # a server that is silent for longer counts as a fault
MAX_BYTES = 64 * 2**20  # of one photo: what is larger is no product photo, and would be held in memory
CHUNK = 2**20
STAMPS = ("size", "ETag", "LastModified", "mtime")  # what tells two contents of one URL apart, as far as servers say

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class RemotePhoto:
    """A photo that is fetched when it is read."""

    url: str

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
        except (MissingExtraError, ConfigError):
            raise
        except Exception as error:  # each service has exceptions of its own
            raise PhotoError(f"cannot be fetched: {_said(error)}") from None

    def _read(self) -> bytes:
        content = bytearray()
        with closing(open_url(self.url)) as file:
            while len(content) <= MAX_BYTES and (chunk := file.read(CHUNK)):
                content += chunk
        if len(content) > MAX_BYTES:
            raise PhotoError(f"too large: more than {MAX_BYTES // 2**20} MB")
        return bytes(content)


def is_url(source: str | Path) -> bool:
    """Whether this is fetched, not a path."""
    return "://" in str(source)


def open_url(url: str) -> IO[bytes]:
    """What the URL leads to, to be read from the start."""
    system, path = _system(url)
    if url.startswith(("http://", "https://")):  # one request, whatever the server says of sizes and ranges
        return system.open(path, "rb", block_size=0, size=1)  # type: ignore[no-any-return]
    return system.open(path, "rb", cache_type="readahead")  # type: ignore[no-any-return]


def fetch(url: str, to: Path) -> Path:
    """The whole file, in the folder `to`; raises `CatalogError` where it does not come."""
    target = to / PurePosixPath(url.split("?")[0]).name
    temporary = target.with_name(f".{target.name}.tmp")

    def copy() -> None:
        with closing(open_url(url)) as remote, temporary.open("wb") as file:
            shutil.copyfileobj(remote, file, CHUNK)

    to.mkdir(parents=True, exist_ok=True)
    asked(url, copy)
    return temporary.replace(target)


def stamp(url: str) -> dict[str, str]:
    """What tells the content from another one at the same URL; raises `CatalogError` where there is none."""
    system, path = _system(url)
    about = asked(url, lambda: system.info(path))
    return {name: str(about[name]) for name in STAMPS if about.get(name) is not None}


def matching(pattern: str) -> list[str]:
    """The URLs that a pattern with `*` stands for, sorted."""
    system, path = _system(pattern)
    return sorted(system.unstrip_protocol(found) for found in asked(pattern, lambda: system.glob(path)))


def below(url: str) -> list[tuple[str, str]]:
    """(path within it, URL) of every file below the folder at `url`, sorted."""
    system, path = _system(url)
    top = f"{path.rstrip('/')}/"
    found = sorted(file for file in asked(url, lambda: system.find(path)) if file.startswith(top))
    return [(file.removeprefix(top), system.unstrip_protocol(file)) for file in found]


def asked(url: str, ask: Callable[[], Found]) -> Found:
    """What `ask` finds, with bounded retries; raises `CatalogError` that names the URL."""
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
    if isinstance(error, FileNotFoundError | PermissionError | ValueError | PhotoError | MissingExtraError):
        return False
    status = getattr(error, "status", 500)
    return not isinstance(status, int) or status >= 500 or status in (408, 429)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__  # time-outs often have no text


def _system(url: str) -> tuple[Any, str]:
    """fsspec's file system for the URL, and the path in it."""
    scheme = url.partition("://")[0]
    try:
        import fsspec

        return fsspec.url_to_fs(url, **_OPTIONS.get(scheme, dict)())  # type: ignore[no-any-return]
    except ImportError:
        raise MissingExtraError(f"{scheme}://", "remote") from None
    except ValueError as error:
        raise ConfigError(f"{url} leads nowhere: {error}. Expected s3://, https:// or another URL of fsspec.") from None


def _http() -> dict[str, Any]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)  # an archive takes its time
    return {"client_kwargs": {"timeout": timeout}}


def _s3() -> dict[str, Any]:
    patience = {"connect_timeout": CONNECT_S, "read_timeout": READ_S, "retries": {"max_attempts": ATTEMPTS}}
    return {"config_kwargs": patience, "default_fill_cache": False}


_OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {"http": _http, "https": _http, "s3": _s3}
