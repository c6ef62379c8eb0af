"""Runs the application in one process, or in several workers on one port under a supervisor that replaces dead ones.

With several workers the supervisor keeps a verified copy of the bundle, and workers load the copy. So all workers use
the same bundle, even if a worker is replaced while the bundle at the original path is broken. This module imports torch
late, because a new worker must answer its supervisor soon.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from functools import partial
from pathlib import Path
from socket import AI_PASSIVE, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, getaddrinfo, socket
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess

from attire.errors import AttireError, ConfigError
from attire.hosts import not_answering
from attire.serve.compute_threads import once
from attire.serve.connections import BoundedProtocol
from attire.serve.logs import log_to_stderr
from attire.serve.settings import Settings
from attire.serve.watched_shelf import WatchedShelf
from attire.shelf import present_bundle

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)
DRAIN_S = 10  # shutdown waits this much longer than a request may take
HUNG_S = 30  # a worker that does not answer its supervisor for this long is replaced; importing torch may take 10 s


def run(settings: Settings, port: int, workers: int = 1) -> None:
    """Serve until SIGINT or SIGTERM, then finish running requests and stop. SIGHUP reloads the bundle.

    Raises `AttireError` before it listens if the bundle is refused or the address is not available.
    """
    if workers == 1:
        from attire.bundle import ModelBundle

        once(ModelBundle.of, settings.bundle)  # load here so that a bad bundle gives a message, not a traceback
        _check_address(settings.host, port)
        uvicorn.Server(_config(settings, port)).run()
        return
    with tempfile.TemporaryDirectory(prefix="attire-serve-") as folder:
        shelf = WatchedShelf(settings.bundle)  # before the bundle is copied, so that no promotion is missed
        copies = Copies(settings.bundle, Path(folder))
        copies.renew()
        _check_address(settings.host, port)
        metrics_folder = Path(folder) / "metrics"
        metrics_folder.mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_folder)  # before prometheus_client is imported
        settings = settings.model_copy(update={"bundle": copies.current, "source": copies.source, "workers": workers})
        config = _config(settings, port, workers)
        Supervisor(config, [config.bind_socket()], copies, shelf).run()


def _check_address(host: str, port: int) -> None:
    """Raise `ConfigError` if the server cannot listen on the address."""
    if not 0 <= port < 2**16:  # the system would use the port modulo 65536
        raise ConfigError(f"--port {port}: expected a number from 0 to 65535.")
    try:
        for family, kind, protocol, _, address in getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE):
            with socket(family, kind, protocol) as probe:
                probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
                probe.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:
        raise not_answering(host, port, error) from None


def _config(settings: Settings, port: int, workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        partial(build, settings),
        http=BoundedProtocol,
        ws="none",
        host=settings.host,
        port=port,
        workers=workers,
        factory=True,
        access_log=False,  # it would log query strings; `RequestLog` does not
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(settings.upload_s + settings.deadline_s) + DRAIN_S,
        timeout_worker_healthcheck=HUNG_S,
    )


def build(settings: Settings) -> FastAPI:
    """Create the application of one process; with several workers each calls it."""
    if settings.source is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the application handles it
        threading.Thread(target=_end_with_parent, args=[settings.bundle.parent], daemon=True).start()
    log_to_stderr()
    from attire.serve.app import create_app

    return create_app(settings)


def _end_with_parent(folder: Path) -> None:
    """Finish running requests and stop when the supervisor is gone, even if it was killed.

    Removes `folder`, the supervisor's temporary folder.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    logger.error("the supervisor is gone: stopping")
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)


class Copies:
    """Keeps a copy of the last valid bundle, which changes at `source` do not affect."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder, self.current, self._number = source, folder, folder / "bundle", 0

    def renew(self) -> str:
        """Copy and verify the bundle at the source, make it current and return its digest; raises `AttireError`."""
        from attire.bundle import ModelBundle

        self._number += 1
        copy = self.folder / f"{self._number}"
        try:
            shutil.copytree(present_bundle(self.source), copy)
            digest = ModelBundle.load(copy).digest
        except AttireError:
            shutil.rmtree(copy, ignore_errors=True)
            ModelBundle.of(self.source)  # raises the same error with the path that the user knows
            raise
        except (OSError, shutil.Error) as error:
            shutil.rmtree(copy, ignore_errors=True)
            raise ConfigError(f"cannot copy the bundle {self.source}: {error}") from None
        link = self.folder / "next"
        link.symlink_to(copy, target_is_directory=True)
        link.replace(self.current)
        for older in self.folder.iterdir():
            # Workers may still be reading the previous copy.
            if older.name.isdigit() and int(older.name) < self._number - 1:
                shutil.rmtree(older, ignore_errors=True)
        return digest


class Supervisor(Multiprocess):
    """uvicorn's supervisor, but on SIGHUP, and when a shelf has another present version, workers reload the bundle.

    A restart would close idle connections.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket], copies: Copies, shelf: WatchedShelf) -> None:
        from attire.serve.metrics import Metrics  # after PROMETHEUS_MULTIPROC_DIR is set

        super().__init__(config, sockets)
        self._copies, self._shelf, self._metrics = copies, shelf, Metrics()

    def handle_signals(self) -> None:
        super().handle_signals()
        if self._shelf.changed():
            self.handle_hup()

    def keep_subprocess_alive(self) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]  # otherwise its metrics are counted forever

    def handle_hup(self) -> None:
        try:
            digest = self._copies.renew()
        except AttireError as error:
            self._metrics.reloads.labels("refused").inc()
            logger.error("bundle refused, the old one stays: %s", error)
            return
        logger.info("%d workers reload bundle %s", len(self.processes), digest[:12])
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGHUP)
