"""Files: locks that end with their process, invalid JSON, disk errors of polars, leftovers of killed processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from attire.files import (
    LockedError,
    locked,
    read_json,
    regular,
    remove_temporary,
    replace_text,
    replacing,
    temporary_folder,
)

HOLD = """
import sys, time
from pathlib import Path
from attire.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_does_not_survive_its_process(tmp_path: Path) -> None:
    path = tmp_path / "l[1]"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(LockedError), locked(path):
        pass
    holder.kill()
    holder.communicate()
    with locked(path):
        with pytest.raises(LockedError), locked(path):
            pass
        assert path.exists(), "a refused process does not remove the lock file"
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"1" * 5000, b"\xff", b'{"a": 1'])
def test_json_that_cannot_be_parsed_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"\S"):
        read_json(tmp_path / "x.json")


def test_disk_errors_of_polars_are_os_errors(tmp_path: Path) -> None:
    def write(message: str) -> None:
        with replacing(tmp_path / "t.parquet"):
            raise pl.exceptions.ComputeError(message)

    with pytest.raises(OSError, match="No space left on device") as caught:
        write("parquet: File out of specification: underlying IO error: No space left on device (os error 28)")
    assert caught.value.errno == 28
    with pytest.raises(pl.exceptions.ComputeError):
        write("another fault")
    assert not list(tmp_path.iterdir())


def test_only_regular_files_are_accepted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert regular(tmp_path / "link").read_bytes() == b""
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="it is a pipe or device, not a file"):
            regular(path)
    with pytest.raises(IsADirectoryError):
        regular(tmp_path)


def test_a_temporary_folder_removes_those_of_killed_processes(tmp_path: Path) -> None:
    for name in (".out-left", ".other-kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with temporary_folder(tmp_path, ".out-") as folder:
        (folder / "file").touch()
        assert not (tmp_path / ".out-left").exists()
    assert [path.name for path in tmp_path.iterdir()] == [".other-kept"]


def test_temporary_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    replace_text(tmp_path / "a[1].csv", "complete")
    for name in (".a[1].csv.7.tmp", ".a1.csv.7.tmp"):
        (tmp_path / name).touch()
    remove_temporary(tmp_path / "a[1].csv")
    assert {path.name for path in tmp_path.iterdir()} == {"a[1].csv", ".a1.csv.7.tmp"}
