"""The verb for the HTTP server: serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attire.cli.app import WANTED, Wanted, app, console, facts
from attire.errors import ConfigError, MissingExtraError
from attire.hosts import host_of, is_local
from attire.records import checked

if TYPE_CHECKING:
    from attire.serve.settings import Settings


@app.command
def serve(
    bundle: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_hosts: list[str] = [],  # noqa: B006
    workers: int = 1,
    engine: str = "auto",
    name: str = "attire",
    fill: Literal["sure", "all"] = "sure",
    max_batch: int = 32,
    queue_photos: int = 512,
    deadline_s: float = 20,
    photos: int = 8,
    photo_mb: float = 10,
    photo_megapixels: float = 25,
    fetch_hosts: list[str] = [],  # noqa: B006
    keys: Path | None = None,
    admin_keys: Path | None = None,
    cors_origins: list[str] = [],  # noqa: B006
    drift_window: int = 2000,
    wanted: Wanted = WANTED,
) -> None:
    """Serve predictions over HTTP: a JSON API, the Open Inference Protocol, metrics, and a page at / to try it.

    SIGTERM finishes open requests and stops; SIGHUP reloads the bundle without dropping a request. In place of a bundle
    it takes a shelf (attire promote), whose present version it follows.

    Parameters
    ----------
    host
        Address to listen on; 0.0.0.0 accepts other machines.
    allow_hosts
        Accepted host names besides localhost and addresses, such as api.example.com. With keys, any name by default.
    workers
        Processes, each with its own network; one that dies is restarted.
    engine
        torch or an exported engine, as in predict --engine; auto takes the fastest here.
    name
        Name of the model in the Open Inference Protocol.
    fill
        all: fill every key that applies, unless a request sets it.
    max_batch
        Maximum photos per batch, from any number of requests.
    queue_photos
        Maximum photos in the queue; one client gets half of what is free. More are refused with 503 and Retry-After.
    deadline_s
        Time limit of a request, after which it fails with 504.
    photos, photo_mb, photo_megapixels
        Limits: photos per product, and size of each photo, checked before it is decoded.
    fetch_hosts
        Hosts from which photos may be fetched by URL; by default none. *.example.com allows all subdomains.
    keys
        File with one API key per line; or the environment variable ATTIRE_API_KEYS, separated by commas.
    admin_keys
        Keys for POST /admin/reload; or ATTIRE_ADMIN_KEYS. Without any, the route does not exist.
    cors_origins
        Origins whose pages may call the API; by default none.
    drift_window
        Products, at least 100, whose answers are compared with the bundle's calibration, for /metrics and the log.
    """
    try:
        from attire.serve.logs import log_to_stderr
        from attire.serve.server import run
        from attire.serve.settings import MIB, Settings, read_keys
    except ImportError:
        raise MissingExtraError("attire serve", "serve") from None

    for host_name in allow_hosts:
        if host_of(host_name) != host_name.lower():
            raise ConfigError(
                f"--allow-hosts {host_name}: expected a name without scheme, port or path, for example api.example.com."
            )
    for host_name in fetch_hosts:
        if "/" in host_name:
            raise ConfigError(f"--fetch-hosts {host_name}: expected a name, for example img.example.com.")
    settings = _checked(
        Settings,
        bundle=bundle,
        host=host,
        allow_hosts=tuple(allow_hosts),
        name=name,
        engine=engine,
        promise=wanted.promise if fill == "sure" else None,
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
        drift_window=drift_window,
    )
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    processes = f", {workers} processes" if workers > 1 else ""
    summary = {
        "bundle": f"{bundle}  (engine {engine}{processes})",
        "try it": f"{address}/",
        "API": f"{address}/v1/predict   description: {address}/openapi.json",
        "limits": f"{photos} photos per product, {photo_mb:g} MB and {photo_megapixels:g} megapixels each",
        "Host names": _accepted_names(settings),
        "keys": f"{len(settings.keys)}" if settings.keys else "none: everybody who reaches this address is answered",
        "URLs": ", ".join(fetch_hosts) or "not fetched",
        "stop, reload": "Ctrl-C or SIGTERM finishes open requests and stops; SIGHUP reloads the bundle",
    }
    console.print(facts(summary), highlight=False)
    log_to_stderr()
    run(settings, port, workers)


def _checked(kind: type[Settings], **fields: object) -> Settings:
    """The settings; raises `ConfigError` for a limit that is not possible."""
    try:
        return checked(fields, kind)
    except ValueError as error:
        raise ConfigError(f"an option is not possible: {error}.") from None


def _accepted_names(settings: Settings) -> str:
    """The host names that `attire.serve.auth.Hosts` accepts."""
    if settings.keys and not settings.allow_hosts:
        return "any name"
    default = "localhost" if is_local(settings.host) else "localhost or an address"
    return ", ".join([default, *settings.allow_hosts])
