"""Finding photos by name in folders and archives: the right photo, or an error."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from attire.errors import CatalogError, PhotoError
from attire.photos import index as index_module
from attire.photos.index import Listed, PhotoIndex, find_photos, remove_unlisted

FILES = {"front/1.jpg": b"one", "front/2.JPG": b"two", "back/1.jpg": b"back", "notes.txt": b"no photo"}


def as_folder(path: Path) -> Path:
    for name, content in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_tar(path: Path, mode: str = "w", files: Mapping[str, bytes] = FILES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def as_zip(path: Path, files: Mapping[str, bytes] = FILES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def of_folder(*names: str) -> PhotoIndex:
    return PhotoIndex([("/shop/photos", [Listed(name, Path(f"/shop/photos/{name}")) for name in names])])


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_every_container_gives_the_same_photos(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"in.{kind}"
    make: dict[str, Callable[[Path], Path]] = {
        "folder": as_folder,
        "tar": as_tar,
        "tar.gz": lambda path: as_tar(path, "w:gz"),
        "tar.bz2": lambda path: as_tar(path, "w:bz2"),
        "tar.xz": lambda path: as_tar(path, "w:xz"),
        "zip": as_zip,
    }
    make[kind](archive)
    for _ in range(2):  # the second time, everything is already unpacked
        index = find_photos([archive], tmp_path / "out")
        assert {name: path.read_bytes() for name, path in index} == {
            name: content for name, content in FILES.items() if name != "notes.txt"
        }


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("back/1.jpg", "back/1.jpg"),
        ("./../data/front/1.jpg", "front/1.jpg"),  # the feed's path is longer
        ("2.png", "back/2.png"),  # or shorter
        ("back\\2.png", "back/2.png"),
        ("2", "back/2.png"),
        ("photos/top.jpg", "top.jpg"),  # the path includes the source folder
        ("elsewhere/top.jpg", "top.jpg"),
        ("photos/back/2", "back/2.png"),
        ("3.png", "3.png"),  # and not 3.png.jpg without its suffix
    ],
)
def test_names_match_by_their_end(wanted: str, expected: str) -> None:
    index = of_folder("front/1.jpg", "back/1.jpg", "back/2.png", "top.jpg", "3.png.jpg", "3.png")
    assert index[wanted] == Path("/shop/photos", expected)


def test_an_ambiguous_name_is_refused() -> None:
    index = of_folder("front/1.jpg", "back/1.jpg")
    with pytest.raises(PhotoError, match=r"2 photos have this name \(back/1.jpg, front/1.jpg\): give more of the path"):
        index["1.jpg"]
    with pytest.raises(PhotoError, match=r"^not found in --images$"):
        index["3.jpg"]


def test_a_photo_in_another_folder_does_not_match() -> None:
    with pytest.raises(PhotoError, match=r"not found in --images: women/1.jpg is in another folder"):
        of_folder("women/1.jpg")["men/1.jpg"]


@pytest.mark.parametrize("make", [as_tar, as_zip])
def test_archives_with_one_name_are_distinguished(tmp_path: Path, make: Callable[..., Path]) -> None:
    old = make(tmp_path / "2024" / "photos.arc", files={"1.jpg": b"old", "2.jpg": b"same", "3.jpg": b"three"})
    new = make(tmp_path / "2025" / "photos.arc", files={"1.jpg": b"new", "2.jpg": b"same"})
    index = find_photos([old, new], tmp_path / "out")
    with pytest.raises(PhotoError, match=r"2 photos have this name \(.*2024/photos.arc/1.jpg, .*2025/photos.arc/1.jpg"):
        index["1.jpg"]
    assert index["2024/photos.arc/1.jpg"].read_bytes() == b"old"
    assert index["2025/photos.arc/1.jpg"].read_bytes() == b"new"
    assert index["2.jpg"].read_bytes() == b"same", "the same photo in both is not ambiguous"
    assert index["3.jpg"].read_bytes() == b"three"


@pytest.mark.parametrize("make", [as_tar, as_zip])
def test_a_replaced_photo_of_the_same_size_is_unpacked(tmp_path: Path, make: Callable[..., Path]) -> None:
    archive = tmp_path / "photos.arc"
    for content in (b"old", b"new"):
        make(archive, files={"1.jpg": content})
        os.utime(archive, (0, 0))
        assert find_photos([archive], tmp_path / "out")["1.jpg"].read_bytes() == content


def test_photos_of_earlier_archives_are_removed(tmp_path: Path) -> None:
    archive, out = tmp_path / "photos.zip", tmp_path / "out"
    find_photos([as_zip(archive, files={"1.jpg": b"old", "2.jpg": b"same"})], out)
    index = find_photos([as_zip(archive, files={"1.jpg": b"new", "2.jpg": b"same"})], out)
    (out / "by hand.jpg").write_bytes(b"mine")
    assert len(list(out.glob("??/*"))) == 3
    remove_unlisted(out, [file for _, file in index])
    assert {file.read_bytes() for file in out.glob("??/*")} == {b"new", b"same"}
    assert (out / "by hand.jpg").exists()


def test_a_repeated_name_in_an_archive_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for content in (b"first", b"second"):
            entry = tarfile.TarInfo("1.jpg")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    with pytest.raises(PhotoError, match=r"2 photos have this name"):
        find_photos([tmp_path / "in.tar"], tmp_path / "out")["1.jpg"]


def test_archives_cannot_write_outside_their_folder(tmp_path: Path) -> None:
    archive = as_tar(tmp_path / "evil.tar", files={"../../evil.jpg": b"x", "/etc/evil.jpg": b"y"})
    index = find_photos([archive], tmp_path / "a" / "b" / "photos")
    assert all((tmp_path / "a" / "b" / "photos") in path.parents for _, path in index)
    assert {path.read_bytes() for _, path in index} == {b"x", b"y"}


def test_unusable_files_are_reported_by_name(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(PhotoError, match="a link"):
        find_photos([tmp_path / "in.tar"], tmp_path / "out")["link.jpg"]
    (tmp_path / "photos").mkdir()
    Path(os.fsdecode(bytes(tmp_path / "photos") + b"/caf\xe9.jpg")).write_bytes(b"x")
    (tmp_path / "photos" / "good.jpg").write_bytes(b"x")
    index = find_photos([tmp_path / "photos"], tmp_path / "out")
    assert len(index) == 2
    assert [name for name, _ in index] == ["good.jpg"], "one bad name does not stop the others"


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "BOMB_BYTES", 100_000)
    bomb = as_zip(tmp_path / "bomb.zip", {f"{n}.jpg": bytes(n + 1_000_000) for n in range(9)})
    with pytest.raises(CatalogError, match=r"bomb.zip unpacks to more than 100 times its size"):
        find_photos([bomb], tmp_path / "out")


def test_other_files_are_refused_as_sources(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"no archive")
    with pytest.raises(CatalogError, match="not a folder or a tar or zip"):
        find_photos([tmp_path / "x.csv"], tmp_path / "out")
    with pytest.raises(CatalogError, match="does not exist"):
        find_photos([tmp_path / "none"], tmp_path / "out")


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(CatalogError, match="cannot be listed: Permission denied"):
        find_photos([tmp_path], tmp_path / "out")
