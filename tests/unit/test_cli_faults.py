"""What the command line says of a broken attire.toml and of a full disk: a sentence, and exit status 2."""

from __future__ import annotations

import errno
import os
import re
import threading
from pathlib import Path

import pytest

from attire.cli.app import main

BROKEN = {
    "no TOML": (b"x = ", "cannot be read: Invalid value"),
    "not UTF-8": (b'a = "\xe9"', "byte 5 is not UTF-8"),
    "nested": (b"a = " + b"[" * 3000, "cannot be read: its arrays or tables are nested too deeply"),
    "another verb": (b"[trian]\nepochs = 1", "'trian' is not a verb, .* did you mean 'train'"),
    "another option": (b"[split]\nvla = 1", 'Unknown option: "\\[vla\\]"'),
}


@pytest.fixture(autouse=True)
def own_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `main` sets for the process, for this test alone."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


def ends(capsys: pytest.CaptureFixture[str], command: object) -> str:
    """What the command line says on its way out with status 2, in one line."""
    with pytest.raises(SystemExit) as raised:
        main(command)  # type: ignore[arg-type]
    assert raised.value.code == 2
    return re.sub(r"[\s│╰╯╭╮─]+", " ", capsys.readouterr().err)


def split() -> None:
    from attire.cli import app

    app(["split", "nowhere"])


@pytest.mark.parametrize(("content", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_of_options_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attire.toml").write_bytes(content)
    told = ends(capsys, split)
    assert re.search(said, told)
    assert "attire.toml" in told


def test_a_folder_in_place_of_the_file_of_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attire.toml").mkdir()
    assert "Is a directory" in ends(capsys, split)


def test_a_full_disk_ends_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        def write() -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        thread = threading.Thread(target=write)  # as TensorBoard's
        thread.start()
        thread.join()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/log")

    said = ends(capsys, full)
    assert said.strip() == (
        "error: cannot write runs/a/log: No space left on device. "
        "Free space, or choose another place; what was finished is kept."
    )
