"""Running the application: one process, or several on one port under a supervisor that replaces those that die.

With several workers the supervisor keeps a verified copy of the bundle, and workers load that. So a worker that is
replaced while a broken bundle stands at the path starts as the others did, and all of them answer from the same one.
Nothing here imports torch before it must: a worker that starts has to answer its supervisor soon.
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

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)
DRAIN_S = 10  # beyond the longest that a request may take
HUNG_S = 30  # a worker that does not answer its supervisor for so long is replaced; importing torch may take ten


def run(settings: Settings, port: int, workers: int = 1) -> None:
    """Serve until SIGINT or SIGTERM, then answer what is in flight and stop. SIGHUP reloads the bundle.

    Raises `AttireError` where the bundle is refused or the address cannot be had, before anything listens.
    """
    if workers == 1:
        from attire.bundle import ModelBundle

        # Here a refusal is a message; in the server's start it were a traceback.
        once(ModelBundle.load, settings.bundle)
        _check_address(settings.host, port)
        uvicorn.Server(_config(settings, port)).run()
        return
    with tempfile.TemporaryDirectory(prefix="attire-serve-") as folder:
        copies = Copies(settings.bundle, Path(folder))
        copies.renew()
        _check_address(settings.host, port)
        figures = Path(folder) / "metrics"
        figures.mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(figures)  # before any worker imports prometheus_client
        settings = settings.model_copy(update={"bundle": copies.current, "source": copies.source})
        config = _config(settings, port, workers)
        Supervisor(config, [config.bind_socket()], copies).run()


def _check_address(host: str, port: int) -> None:
    """Raise `ConfigError` where nobody can listen on an address."""
    if not 0 <= port < 2**16:  # the system would take what is left of it
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
        access_log=False,  # it would log query strings; attire.serve.logs writes ours
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(settings.upload_s + settings.deadline_s) + DRAIN_S,
        timeout_worker_healthcheck=HUNG_S,
    )


def build(settings: Settings) -> FastAPI:
    """The application of one process."""
    if settings.source is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the application listens to it
        threading.Thread(target=_end_with_parent, args=[settings.bundle.parent], daemon=True).start()
    log_to_stderr()
    from attire.serve.app import create_app

    return create_app(settings)


def _end_with_parent(folder: Path) -> None:
    """Drain and stop when the supervisor is gone, however it went; else a worker would serve for ever.

    `folder`: what it made for its workers, and cannot remove any more.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    logger.error("the supervisor is gone: stopping")
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)


class Copies:
    """The last good bundle, out of reach of whoever replaces the one at `source`."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder, self.current, self._number = source, folder, folder / "bundle", 0

    def renew(self) -> str:
        """Copy and verify what is at the source, and make it current; returns its digest, raises `AttireError`."""
        from attire.bundle import ModelBundle

        self._number += 1
        copy = self.folder / f"{self._number}"
        try:
            shutil.copytree(self.source, copy)
            digest = ModelBundle.load(copy).digest
        except AttireError:
            shutil.rmtree(copy, ignore_errors=True)
            ModelBundle.load(self.source)  # the same refusal, naming the path that people know
            raise
        except (OSError, shutil.Error) as error:
            shutil.rmtree(copy, ignore_errors=True)
            raise ConfigError(f"cannot copy the bundle {self.source}: {error}") from None
        link = self.folder / "next"
        link.symlink_to(copy, target_is_directory=True)
        link.replace(self.current)
        for older in self.folder.iterdir():
            # Workers may still be reading the one before.
            if older.name.isdigit() and int(older.name) < self._number - 1:
                shutil.rmtree(older, ignore_errors=True)
        return digest


class Supervisor(Multiprocess):
    """uvicorn's, but SIGHUP lets workers swap bundles in place: a restart would cut idle connections."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket], copies: Copies) -> None:
        from attire.serve.metrics import Metrics  # not before the folder of figures is known

        super().__init__(config, sockets)
        self._copies, self._metrics = copies, Metrics()

    def keep_subprocess_alive(self) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]  # else its figures would count for ever

    def handle_hup(self) -> None:
        try:
            digest = self._copies.renew()
        except AttireError as error:
            self._metrics.reloads.labels("refused").inc()
            logger.error("bundle refused, the old one stays: %s", error)
            return
        logger.info("bundle %s goes to %d workers", digest[:12], len(self.processes))
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGHUP)
