"""A PostgreSQL of one's own for tests, from Debian's binaries, gone when they end."""

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
    """A running server on a unix socket in a temporary folder; its user is trusted."""

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
        """The URL of an empty database."""
        name = f"t{next(self._numbers)}"
        self._run("createdb", "-h", str(self.folder), "-U", USER, name)
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def stop(self) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        # A program changes the user, for subprocess would have to fork, with whatever the libraries of all tests have
        # asked to be run at a fork: one of them then crashes.
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
    """Start one; skips the test where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    return Cluster(found[-1].parent)
