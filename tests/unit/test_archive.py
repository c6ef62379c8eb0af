"""Damaged, truncated, hostile and unusual archives: reported with name and position, and never read as complete."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from attire.errors import CatalogError
from attire.photos import archive as archive_module
from attire.photos.archive import Member, looks_like_archive, members
from attire.photos.remote import Remote

COUNT = 20
Compress = Callable[[bytes], bytes]
COMPRESS: dict[str, Compress] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def content(number: int) -> bytes:
    return random.Random(number).randbytes(700)


def a_tar(count: int = COUNT, **fields: object) -> bytes:
    """A tar of `count` photos of 700 bytes; each member takes 1,536 bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(count):
            entry = tarfile.TarInfo(f"{number:02d}.jpg")
            entry.size = 700
            for name, value in fields.items():
                setattr(entry, name, value)
            tar.addfile(entry, io.BytesIO(content(number)))
    return buffer.getvalue()


def read(path: Path) -> list[Member]:
    return list(members(str(path), path.parent, Remote()))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("at", [0, 3 * 1536 + 2, 3 * 1536 + 130, 19 * 1536 + 150])
def test_a_flipped_bit_in_a_header_is_damage(tmp_path: Path, at: int) -> None:
    data = bytearray(a_tar())
    data[at] ^= 4
    with pytest.raises(CatalogError, match=rf"a.tar is damaged: the header at byte {at // 1536 * 1536:,} is invalid"):
        read(write(tmp_path / "a.tar", bytes(data)))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (3 * 1536, "it ends at byte 4,608 without an end marker"),
        (3 * 1536 + 100, "the header at byte 4,608 is invalid"),
        (3 * 1536 + 512 + 300, "03.jpg, from byte 5,120, is cut off"),
        (3 * 1536 + 512, "03.jpg, from byte 5,120, is cut off"),
        (COUNT * 1536, "it ends at byte 30,720 without an end marker"),
        (0, "it ends at byte 0"),
    ],
)
def test_a_truncated_tar_is_damaged(tmp_path: Path, size: int, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read(write(tmp_path / "a.tar", a_tar()[:size]))


def test_a_hole_of_zeros_is_not_the_end(tmp_path: Path) -> None:
    data = bytearray(a_tar())
    data[4608:6144] = bytes(1536)
    with pytest.raises(CatalogError, match="data follows the end marker"):
        read(write(tmp_path / "a.tar", bytes(data)))
    with pytest.raises(CatalogError, match="archives were joined"):
        read(write(tmp_path / "b.tar", a_tar() + a_tar()))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_compressed_tar_is_read_to_its_checksum(tmp_path: Path, suffix: str) -> None:
    data = COMPRESS[suffix](a_tar())
    assert len(read(write(tmp_path / f"complete.tar.{suffix}", data))) == COUNT
    for size in (len(data) - 4, len(data) // 2):
        with pytest.raises(CatalogError, match="is damaged"):
            read(write(tmp_path / f"cut.tar.{suffix}", data[:size]))


def test_a_wrong_checksum_of_a_gzip_is_damage(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(a_tar()))
    data[-6] ^= 1
    with pytest.raises(CatalogError, match="is damaged: CRC check failed"):
        read(write(tmp_path / "a.tar.gz", bytes(data)))


def test_every_single_byte_counts(tmp_path: Path) -> None:
    """Whichever byte of a tar header is changed, no member is lost silently."""
    data, silent = a_tar(3), set()
    expected = read(write(tmp_path / "a.tar", data))
    for at in range(1536, 1536 + 512):
        changed = bytearray(data)
        changed[at] ^= 0xFF
        try:
            result = read(write(tmp_path / "a.tar", bytes(changed)))
        except CatalogError:
            continue
        assert result == expected
        silent.add(at - 1536)
    assert silent <= {154, 155}, "only the terminator of the checksum may change unnoticed"


def test_a_header_may_not_claim_memory_or_run_backwards(tmp_path: Path) -> None:
    for kind, size in ((tarfile.XHDTYPE, 10**10), (tarfile.GNUTYPE_LONGNAME, 10**10), (tarfile.REGTYPE, -512)):
        header = tarfile.TarInfo("x.jpg")
        header.size, header.type = size, kind
        data = header.tobuf(tarfile.GNU_FORMAT) + bytes(10240)
        with pytest.raises(CatalogError, match="a header states a size of"):
            read(write(tmp_path / "a.tar", data))


def test_a_sparse_file_whose_map_never_ends_is_damage(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("x.jpg")
        entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "100"}
        entry.size = 512
        tar.addfile(entry, io.BytesIO(b"9" * 512))
    with pytest.raises(CatalogError, match="is damaged"):
        read(write(tmp_path / "a.tar", buffer.getvalue()))


def test_a_tar_with_a_date_in_the_far_future_is_read(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "a.tar", a_tar(mtime=1_100_000_000_000)))) == COUNT


def test_links_and_special_files_are_reported_as_members(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (
            ("hard.jpg", tarfile.LNKTYPE),
            ("soft.jpg", tarfile.SYMTYPE),
            ("pipe.jpg", tarfile.FIFOTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
    assert [
        (member.name, "expected the photo itself" in str(member.content)) for member in read(tmp_path / "a.tar")
    ] == [
        ("hard.jpg", True),
        ("soft.jpg", True),
        ("pipe.jpg", True),
    ]


def test_a_member_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_BYTES", 600)
    assert read(write(tmp_path / "a.tar", a_tar(1))) == [Member("00.jpg", "too large: 700 bytes, at most 600 are read")]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("00.jpg", content(0))
    assert read(tmp_path / "a.zip") == [Member("00.jpg", "too large: 700 bytes, at most 600 are read")]


def a_zip(path: Path, method: int = zipfile.ZIP_STORED) -> bytearray:
    with zipfile.ZipFile(path, "w", method) as file:
        for number in range(3):
            file.writestr(f"{number}.jpg", content(number))
    return bytearray(path.read_bytes())


def test_one_bad_member_of_a_zip_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    data = a_zip(tmp_path / "a.zip")
    data[100] ^= 1
    contents = [member.content for member in read(write(tmp_path / "a.zip", bytes(data)))]
    assert contents == ["cannot be unpacked: Bad CRC-32 for file '0.jpg'", content(1), content(2)]


@pytest.mark.parametrize(("at", "value", "message"), [(6, 1, "encrypted"), (8, 97, "compression")])
def test_encrypted_members_and_unknown_compression_are_reported(
    tmp_path: Path, at: int, value: int, message: str
) -> None:
    data = a_zip(tmp_path / "a.zip")
    entry = data.index(b"PK\x01\x02")
    data[at] |= value
    data[entry + at + 2] |= value
    result = read(write(tmp_path / "a.zip", bytes(data)))
    assert message in str(result[0].content)
    assert result[1].content == content(1)


def test_a_truncated_zip_is_damaged(tmp_path: Path) -> None:
    data = a_zip(tmp_path / "a.zip")
    for size in (10, len(data) // 2, len(data) - 30):
        with pytest.raises(CatalogError, match="is damaged: the table of contents"):
            read(write(tmp_path / "a.zip", bytes(data[:size])))


def test_names_that_are_not_utf8_are_written_as_text(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "b.tar", "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as tar:
        entry = tarfile.TarInfo("café.jpg")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    assert [member.name for member in read(tmp_path / "b.tar")] == [r"caf\xe9.jpg"]


def test_a_pipe_is_not_an_archive(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(CatalogError, match="not a regular file"):
        read(tmp_path / "pipe.tar")
    assert looks_like_archive(write(tmp_path / "no suffix", a_tar(1)))
    assert not looks_like_archive(write(tmp_path / "text", b"id,image"))
