"""Answering over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from attire.cli.app import app, console, facts
from attire.errors import ConfigError, MissingExtraError
from attire.hosts import host_of, is_local

if TYPE_CHECKING:
    from attire.serve.settings import Settings

Names = Annotated[list[str], Parameter(negative="")]


@app.command
def serve(
    bundle: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_hosts: Names = [],  # noqa: B006
    workers: int = 1,
    engine: str = "auto",
    name: str = "attire",
    precision: float = 0.95,
    fill: Literal["sure", "all"] = "sure",
    max_batch: int = 32,
    queue_photos: int = 512,
    deadline_s: float = 20,
    photos: int = 8,
    photo_mb: float = 10,
    photo_megapixels: float = 25,
    fetch_hosts: Names = [],  # noqa: B006
    keys: Path | None = None,
    admin_keys: Path | None = None,
    cors_origins: Names = [],  # noqa: B006
) -> None:
    """Answer over HTTP: a JSON API, the Open Inference Protocol, metrics, and a page at / to try it.

    SIGTERM answers what is in flight and stops; SIGHUP loads the bundle again, without losing a request.

    Parameters
    ----------
    host
        Address to listen on; 0.0.0.0 lets other machines in.
    allow_hosts
        Names by which it may be asked, such as api.example.com, beside localhost and addresses. Needed without keys.
    workers
        Processes, each with a network of its own; one that dies is replaced.
    engine
        torch, or what export made, as predict's --engine; auto takes the fastest of them.
    name
        Of the model, in the Open Inference Protocol.
    precision
        How often an answered key is to be right, where a request does not say: 0.9, 0.95 or 0.99.
    fill
        all: answer every key that applies, where a request does not say.
    max_batch
        Photos, of whichever requests, that go through the network at once.
    queue_photos
        Photos that may wait, of one client half of what is free; more are refused with 503 and Retry-After.
    deadline_s
        Until when a request is answered, or given up with 504.
    photos, photo_mb, photo_megapixels
        Most photos of a product, and the largest photo, before it is decoded.
    fetch_hosts
        Hosts from which photos may be fetched by URL; none unless given. *.example.com allows those below it.
    keys
        File with API keys, one a line; or the environment variable ATTIRE_API_KEYS, with commas.
    admin_keys
        The same for POST /admin/reload; or ATTIRE_ADMIN_KEYS. Without one that route is not there.
    cors_origins
        Origins whose pages may call the API; none unless given.
    """
    try:
        from attire.serve.logs import log_to_stderr
        from attire.serve.server import run
        from attire.serve.settings import MIB, Settings, read_keys
    except ImportError:
        raise MissingExtraError("attire serve", "serve") from None

    for host_name in allow_hosts:
        if host_of(host_name) != host_name.lower():
            raise ConfigError(f"--allow-hosts {host_name}: expected a name alone, for instance api.example.com.")
    for host_name in fetch_hosts:
        if "/" in host_name:
            raise ConfigError(f"--fetch-hosts {host_name}: expected a name, for instance img.example.com.")
    settings = Settings(
        bundle=bundle,
        host=host,
        allow_hosts=tuple(allow_hosts),
        name=name,
        engine=engine,
        precision=precision if fill == "sure" else None,
        max_batch=max_batch,
        queue_photos=queue_photos,
        deadline_s=deadline_s,
        photos=photos,
        photo_bytes=int(photo_mb * MIB),
        photo_pixels=int(photo_megapixels * 1e6),
        body_bytes=int(photos * photo_mb * MIB * 4 / 3) + MIB,
        fetch_hosts=tuple(fetch_hosts),
        keys=read_keys(keys, "ATTIRE_API_KEYS"),
        admin_keys=read_keys(admin_keys, "ATTIRE_ADMIN_KEYS"),
        cors_origins=tuple(cors_origins),
    )
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    many = f", {workers} processes" if workers > 1 else ""
    said = {
        "bundle": f"{bundle}  (engine {engine}{many})",
        "try it": f"{address}/",
        "API": f"{address}/v1/predict   description: {address}/openapi.json",
        "limits": f"{photos} photos a product, {photo_mb:g} MB and {photo_megapixels:g} megapixels each",
        "asked as": _names(settings),
        "keys": f"{len(settings.keys)}" if settings.keys else "none: everybody who reaches this address may ask",
        "URLs": ", ".join(fetch_hosts) or "not fetched",
        "stop, reload": "Ctrl-C or SIGTERM drains and stops; SIGHUP loads the bundle again",
    }
    console.print(facts(said), highlight=False)
    log_to_stderr()
    run(settings, port, workers)


def _names(settings: Settings) -> str:
    """Under which names it may be asked, as `attire.serve.auth.Hosts` has it."""
    if settings.keys and not settings.allow_hosts:
        return "any name"
    own = "localhost" if is_local(settings.host) else "localhost or an address"
    return ", ".join([own, *settings.allow_hosts])
