"""A temporary PostgreSQL server for tests, from Debian's binaries."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

USER = "postgres"  # the server refuses to run as root


class Cluster:
    """A running server on a unix socket in a temporary folder, without passwords."""

    def __init__(self, binaries: Path) -> None:
        self.binaries, self._numbers = binaries, itertools.count()
        self.folder = Path(tempfile.mkdtemp(prefix="attire-pg-", dir="/tmp"))  # a socket's path is at most 107 bytes
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "-D", f"{self.folder}/data", "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8")
        settings = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB"
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-o", settings, "-l", f"{self.folder}/log", "-w", "start")

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"t{next(self._numbers)}"
        self._run("createdb", "-h", str(self.folder), "-U", USER, name)
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def stop(self) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        # runuser changes the user, because with subprocess's own `user` Python would fork and run the fork handlers of
        # all loaded libraries, one of which crashes.
        as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*as_user, self.binaries / program, *arguments],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )


def start() -> Cluster:
    """Start a server; skips the test if PostgreSQL is not installed."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not binaries:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    return Cluster(binaries[-1].parent)
