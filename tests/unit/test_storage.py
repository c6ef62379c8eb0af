"""Full disks are reported whichever library raises the error; new files have the permissions of the umask."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers.full_disk import little_room
from safetensors.torch import save_file

from attire.errors import ConfigError, StorageError
from attire.files import replacing
from attire.storage import storage_fault, storing


def write_torch(path: Path) -> None:
    with path.open("wb") as file:
        torch.save({"weight": torch.rand(50_000)}, file)


WRITERS: dict[str, Callable[[Path], object]] = {
    "python": lambda path: path.write_bytes(bytes(50_000)),
    "numpy": lambda path: np.save(path, np.zeros(50_000)),
    "torch": write_torch,
    "safetensors": lambda path: save_file({"weight": torch.rand(50_000)}, path),
    "polars": lambda path: pl.DataFrame({"x": np.random.default_rng(0).random(50_000)}).write_parquet(path),
    "polars, streaming": lambda path: pl.LazyFrame({"x": np.random.default_rng(0).random(50_000)}).sink_csv(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_reported_whichever_library_raises(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(StorageError, match=r"(File too large|No space left on device)\. Free space") as raised,
        little_room(4096),
        storing(tmp_path),
    ):
        WRITERS[name](tmp_path / "file.npy")
    assert str(tmp_path) in str(raised.value)


def test_other_errors_are_unchanged() -> None:
    for error in (ZeroDivisionError("division by zero"), ConfigError("No space left on device, said a user")):
        with pytest.raises(type(error)), storing(Path("x")):
            raise error
    assert storage_fault(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "x")) is None


def test_missing_permissions_are_reported() -> None:
    fault = storage_fault(PermissionError(errno.EACCES, "Permission denied", "runs/a"), Path("x"))
    assert fault == ("cannot read or write runs/a: Permission denied. Give this user access, or choose another path.")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_new_files_have_the_permissions_of_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "weights.safetensors") as temporary:
            save_file({"weight": torch.zeros(3)}, temporary)  # readable by its owner only
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights.safetensors").stat().st_mode) == mode
