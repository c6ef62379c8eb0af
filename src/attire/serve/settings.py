"""Everything a running server can be told. No limit can be switched off; each can be moved."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from attire.errors import ConfigError
from attire.score.calibration import PRECISION

logger = logging.getLogger(__name__)
MIB = 2**20
SHORTEST_KEY = 16  # characters


class Settings(BaseModel):
    """What `attire serve` was started with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    host: str = "127.0.0.1"  # address to listen on
    allow_hosts: tuple[str, ...] = ()  # names under which it may be asked, beside localhost and its address
    name: str = Field("attire", pattern=r"^[A-Za-z0-9._-]+$")  # of the model, in the Open Inference Protocol
    engine: str = "auto"
    precision: float | None = PRECISION  # where a request asks for none; None fills every key that applies

    max_batch: int = Field(32, ge=1)  # photos
    queue_photos: int = Field(512, ge=1)  # admitted and not yet answered; of one client half of what is free
    deadline_s: float = Field(20, gt=0)  # from a request's last byte to its answer
    decoders: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)  # threads

    photos: int = Field(8, ge=1)  # of one product
    products: int = Field(64, ge=1)  # of one batch request
    photo_bytes: int = Field(10 * MIB, ge=1)
    photo_pixels: int = Field(25_000_000, ge=1)
    body_bytes: int = Field(64 * MIB, ge=1)
    bodies_bytes: int = Field(512 * MIB, ge=1)  # of all requests together, and of one client half of what is free
    upload_s: float = Field(30, gt=0)  # for a body to arrive

    fetch_hosts: tuple[str, ...] = ()  # empty: URLs are refused
    fetch_s: float = Field(5, gt=0)

    keys: tuple[SecretStr, ...] = ()  # empty: everybody may ask
    admin_keys: tuple[SecretStr, ...] = ()  # empty: nobody may reload by HTTP
    cors_origins: tuple[str, ...] = ()
    source: Path | None = None  # of a worker of several: where its parent copies `bundle` from, for all of them


def read_keys(file: Path | None, variable: str) -> tuple[SecretStr, ...]:
    """Keys from a file (one a line, `#` for comments), or else from an environment variable (with commas).

    Raises `ConfigError` for a file that cannot be read or holds none, and for a key that could be guessed.
    """
    if file is None:
        words = os.environ.get(variable, "").split(",")
    else:
        try:
            words = [line.split("#")[0] for line in file.read_text(encoding="utf-8").splitlines()]
            exposed = os.name == "posix" and file.stat().st_mode & stat.S_IRWXO  # by accounts outside its group
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the keys in {file}: {error}") from None
        if exposed:
            logger.warning("%s can be read or changed by every account of this machine: chmod o= %s", file, file)
    keys = [word.strip() for word in words if word.strip()]
    if file is not None and not keys:
        raise ConfigError(f"{file} holds no key. Expected one a line, for instance what `openssl rand -hex 24` prints.")
    if any(len(key) < SHORTEST_KEY or not key.isascii() for key in keys):
        where = file or variable
        raise ConfigError(f"{where}: a key has fewer than {SHORTEST_KEY} ASCII characters. Try `openssl rand -hex 24`.")
    return tuple(SecretStr(key) for key in keys)
