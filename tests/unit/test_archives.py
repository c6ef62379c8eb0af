"""Photos by name, in folders and archives; archives that would write elsewhere do not."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from attire.catalog.archives import PhotoIndex, find_photos
from attire.errors import CatalogError, PhotoError

FILES = {"front/1.jpg": b"one", "front/2.JPG": b"two", "back/1.jpg": b"back", "notes.txt": b"no photo"}


def as_folder(path: Path) -> Path:
    for name, content in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_tar(path: Path, mode: str = "w", files: dict[str, bytes] = FILES) -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def as_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in FILES.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "zip"])
def test_every_container_gives_the_same_photos(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"in.{kind}"
    make: dict[str, Callable[[Path], Path]] = {
        "folder": as_folder,
        "tar": as_tar,
        "tar.gz": lambda path: as_tar(path, "w:gz"),
        "zip": as_zip,
    }
    make[kind](archive)
    for _ in range(2):  # the second time everything is there already
        index = find_photos([archive], tmp_path / "out")
        assert {name: path.read_bytes() for name, path in index} == {
            name: content for name, content in FILES.items() if name != "notes.txt"
        }


def test_names_match_by_their_end() -> None:
    index = PhotoIndex([("front/1.jpg", Path("f1")), ("back/1.jpg", Path("b1")), ("back/2.png", Path("b2"))])
    assert index["back/1.jpg"] == Path("b1")
    assert index["./../data/front/1.jpg"] == Path("f1")
    assert index["elsewhere\\2.png"] == Path("b2")
    assert index["2"] == Path("b2")
    with pytest.raises(PhotoError, match=r"2 photos have this name \(back/1.jpg, front/1.jpg\)"):
        index["1.jpg"]
    with pytest.raises(PhotoError, match="not found"):
        index["3.jpg"]


def test_archives_cannot_write_elsewhere(tmp_path: Path) -> None:
    archive = as_tar(tmp_path / "evil.tar", files={"../../evil.jpg": b"x", "/etc/evil.jpg": b"y"})
    index = find_photos([archive], tmp_path / "a" / "b" / "photos")
    assert all((tmp_path / "a" / "b" / "photos") in path.parents for _, path in index)
    assert not (tmp_path / "evil.jpg").exists()
    assert not (tmp_path / "a" / "evil.jpg").exists()


def test_what_is_no_container_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no archive")
    with pytest.raises(CatalogError, match="neither a folder nor a tar or zip"):
        find_photos([tmp_path / "x.tar"], tmp_path / "out")
    with pytest.raises(CatalogError, match="does not exist"):
        find_photos([tmp_path / "none"], tmp_path / "out")
    cut = as_tar(tmp_path / "cut.tar.gz", "w:gz")
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(CatalogError, match=r"cut.tar.gz is damaged: .* Fetch the archive again"):
        find_photos([cut], tmp_path / "out")
