"""Settings of a server. Every limit can be changed, and none can be switched off."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from attire.errors import ConfigError
from attire.score.promise import Promise

logger = logging.getLogger(__name__)
MIB = 2**20
SHORTEST_KEY = 16  # characters


class Settings(BaseModel):
    """The settings that `attire serve` was started with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    host: str = "127.0.0.1"  # address to listen on
    allow_hosts: tuple[str, ...] = ()  # accepted Host headers, besides localhost and IP addresses
    name: str = Field("attire", pattern=r"^[A-Za-z0-9._-]+$")  # model name in the Open Inference Protocol
    engine: str = "auto"
    promise: Promise | None = Promise()  # default for requests; None fills every key that applies

    max_batch: int = Field(32, ge=1)  # photos
    queue_photos: int = Field(512, ge=1)  # admitted and not yet answered; a client gets half of the free room
    deadline_s: float = Field(20, gt=0)  # from a request's last byte to its answer
    decoders: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)  # threads

    photos: int = Field(8, ge=1)  # per product
    products: int = Field(64, ge=1)  # per batch request
    photo_bytes: int = Field(10 * MIB, ge=1)
    photo_pixels: int = Field(25_000_000, ge=1)
    body_bytes: int = Field(64 * MIB, ge=1)
    bodies_bytes: int = Field(512 * MIB, ge=1)  # of all requests together; a client gets half of the free room
    upload_s: float = Field(30, gt=0)  # for a body to arrive

    fetch_hosts: tuple[str, ...] = ()  # empty: URLs are refused
    fetch_s: float = Field(5, gt=0)

    drift_window: int = Field(2000, ge=100)  # products whose answers are compared with the calibration
    workers: int = Field(1, ge=1)  # processes, each with a window of its own

    keys: tuple[SecretStr, ...] = ()  # empty: no key is needed
    admin_keys: tuple[SecretStr, ...] = ()  # empty: no reload over HTTP
    cors_origins: tuple[str, ...] = ()
    source: Path | None = None  # with several workers: the path from which the supervisor copies `bundle`


def read_keys(file: Path | None, variable: str) -> tuple[SecretStr, ...]:
    """Read keys from a file (one per line, `#` starts a comment), or else from an environment variable (commas).

    Raises `ConfigError` for a file that is unreadable or has no key, and for a key that is too short.
    """
    if file is None:
        entries = os.environ.get(variable, "").split(",")
    else:
        try:
            entries = [line.split("#")[0] for line in file.read_text(encoding="utf-8").splitlines()]
            exposed = os.name == "posix" and file.stat().st_mode & stat.S_IRWXO
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the keys in {file}: {error}") from None
        if exposed:
            logger.warning("every account of this machine can read or change %s. Run: chmod o= %s", file, file)
    keys = [entry.strip() for entry in entries if entry.strip()]
    if file is not None and not keys:
        raise ConfigError(f"{file} contains no key. Expected one per line, for example from `openssl rand -hex 24`.")
    if any(len(key) < SHORTEST_KEY or not key.isascii() for key in keys):
        raise ConfigError(
            f"{file or variable}: a key has fewer than {SHORTEST_KEY} characters or is not ASCII. "
            "Make one with `openssl rand -hex 24`."
        )
    return tuple(SecretStr(key) for key in keys)
