"""A broken attire.toml and a full disk give a message and exit status 2."""

from __future__ import annotations

import errno
import os
import re
import threading
from pathlib import Path

import pytest

from attire.cli.app import main

BROKEN = {
    "not TOML": (b"x = ", "cannot be read: Invalid value"),
    "not UTF-8": (b'a = "\xe9"', "byte 5 is not UTF-8"),
    "nested": (b"a = " + b"[" * 3000, "cannot be read: its arrays or tables are nested too deeply"),
    "another verb": (b"[trian]\nepochs = 1", "'trian' is not a verb, .* did you mean 'train'"),
    "another option": (b"[split]\nvla = 1", 'Unknown option: "\\[vla\\]"'),
}


@pytest.fixture(autouse=True)
def restore_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the process-wide hook that `main` sets."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


def error_output(capsys: pytest.CaptureFixture[str], command: object) -> str:
    """Run a command that exits with status 2, and return its error output on one line."""
    with pytest.raises(SystemExit) as raised:
        main(command)  # type: ignore[arg-type]
    assert raised.value.code == 2
    return re.sub(r"[\s│╰╯╭╮─]+", " ", capsys.readouterr().err)


def split() -> None:
    from attire.cli import app

    app(["split", "nowhere"])


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_options_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attire.toml").write_bytes(content)
    output = error_output(capsys, split)
    assert re.search(message, output)
    assert "attire.toml" in output


def test_a_folder_instead_of_the_options_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attire.toml").mkdir()
    assert "Is a directory" in error_output(capsys, split)


def test_a_full_disk_gives_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        def write() -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        thread = threading.Thread(target=write)  # like the one of TensorBoard
        thread.start()
        thread.join()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/log")

    output = error_output(capsys, full)
    assert output.strip() == (
        "error: cannot write runs/a/log: No space left on device. "
        "Free space, or choose another path; finished work is kept."
    )
