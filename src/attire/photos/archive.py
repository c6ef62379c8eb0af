"""Read tar and zip archives, from disk or from an address.

Photos and sidecars are read one at a time, each up to a size limit. Damage is never mistaken for the end of an archive.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

from attire.errors import CatalogError, PhotoError
from attire.photos.folder import is_photo, open_regular, text_of
from attire.photos.remote import ATTEMPTS, CHUNK, MAX_BYTES, WAIT_S, Remote, is_url

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
SIDECAR_BYTES = 2**20  # a larger sidecar is other data of a sample
HEADER_BYTES = 2**20  # limit for extended headers (long names), which are held in memory
DECOMPRESSORS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)
UNREADABLE = (*DAMAGE, zipfile.BadZipFile, struct.error, RuntimeError)  # RuntimeError: encrypted, unknown compression
SPECIAL = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive. `content` is its bytes, or a message that says why it cannot be used."""

    name: str
    content: bytes | str

    def read(self) -> bytes:
        """Return the bytes; raises `PhotoError` if the file cannot be used."""
        if isinstance(self.content, str):
            raise PhotoError(self.content)
        return self.content


def is_archive(source: str | Path) -> bool:
    """Whether the name has the suffix of an archive."""
    return str(source).split("?")[0].lower().endswith(SUFFIXES)


def looks_like_archive(file: Path) -> bool:
    """Whether the suffix or the content is that of an archive."""
    if is_archive(file):
        return True
    with open_regular(file) as stream:
        head = stream.read(512)
    return head.startswith((*DECOMPRESSORS, b"PK")) or head[257:262] == b"ustar" or zipfile.is_zipfile(file)


def members(archive: str, scratch: Path, remote: Remote) -> Iterator[Member]:
    """Yield photos and small other files in the order of the archive, without hidden files.

    A remote zip is downloaded to `scratch` first, because its table of contents is at its end. If a remote tar ends
    early, it is opened again, and the members already read are skipped. A member that cannot be used is yielded with
    the reason. Raises `CatalogError` if the archive itself is damaged, with the byte (in the decompressed tar).
    """
    if is_url(archive):
        if archive.split("?")[0].lower().endswith(".zip"):
            copy = remote.fetch(archive, scratch)
            yield from _read_zip(archive, copy)
            copy.unlink()
        else:
            yield from _read_remote_tar(archive, remote)
    elif _is_zip(Path(archive)):
        yield from _read_zip(archive, Path(archive))
    else:
        try:
            with _open(Path(archive)) as file:
                yield from _read_tar(file)
        except DAMAGE as error:
            raise CatalogError(f"{archive} is damaged: {error}. Download the archive again.") from None


def _open(path: Path) -> IO[bytes]:
    try:
        return open_regular(path)
    except PhotoError as error:
        raise CatalogError(
            f"{path} cannot be read: {error}. Expected a .tar, .tar.gz or .zip file of photos."
        ) from None


def _is_zip(path: Path) -> bool:
    with _open(path) as file:
        return file.read(2) == b"PK" or zipfile.is_zipfile(file)


def _read_remote_tar(archive: str, remote: Remote) -> Iterator[Member]:
    done = 0
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with closing(remote.open(archive)) as file:
                for member in islice(_read_tar(file), done, None):
                    yield member
                    done += 1
            return
        except FileNotFoundError:
            raise CatalogError(f"{archive} does not exist.") from None
        except Exception as error:  # each service raises its own exceptions
            fault = error
        time.sleep(WAIT_S * attempt)
    raise CatalogError(
        f"{archive} cannot be read completely: {fault}. Run the command again to continue, or replace the archive."
    )


class _Header(tarfile.TarInfo):
    """A tar header that raises on damage; after the first member, `tarfile` takes damage for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        position = tar.fileobj.tell()
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the regular end-of-archive marker
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"it ends at byte {position:,} without an end marker, so data is missing") from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"the header at byte {position:,} is invalid ({error})") from None

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in SPECIAL and header.size > HEADER_BYTES):
            raise tarfile.ReadError(f"a header states a size of {header.size:,} bytes")
        return header


def _read_tar(file: IO[bytes]) -> Iterator[Member]:
    content = _decompressed(file)
    with tarfile.open(fileobj=content, mode="r|", bufsize=CHUNK, tarinfo=_Header) as tar:
        while header := tar.next():
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all headers in memory
            name = text_of(header.name.removeprefix("./"))
            if header.isdir() or _is_hidden(name):
                continue
            if not header.isreg() or header.issparse():
                yield Member(name, "a link, sparse or special file: expected the photo itself")
                continue
            if fault := _too_large(name, header.size):
                yield Member(name, fault)
                continue
            try:
                yield Member(name, tar.extractfile(header).read())  # type: ignore[union-attr]
            except tarfile.ReadError:
                raise tarfile.ReadError(f"{name}, from byte {header.offset_data:,}, is cut off") from None
        _check_padding(tar.fileobj)  # type: ignore[arg-type]


def _check_padding(file: IO[bytes]) -> None:
    """Raise unless only zeros follow the end marker. Reading to the end also verifies a decompressor's checksum."""
    while padding := file.read(CHUNK):
        if padding.count(0) < len(padding):
            raise tarfile.ReadError(
                f"data follows the end marker, before byte {file.tell():,}: data was zeroed, or archives were joined"
            )


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    """Open the decompressed content, by the first bytes; `tarfile`'s own streams do not verify a gzip's checksum."""
    head = file.read(6)
    content: Any = _Joined(head, file)
    return next((opener(content) for magic, opener in DECOMPRESSORS.items() if head.startswith(magic)), content)


class _Joined:
    """A sequential reader of a file whose first bytes (`head`) were already read."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self.head, self.file = head, file

    def read(self, size: int = -1) -> bytes:
        if not self.head:
            return self.file.read(size)
        end = len(self.head) if size < 0 else size
        head, self.head = self.head[:end], self.head[end:]
        return head


def _read_zip(archive: str, path: Path) -> Iterator[Member]:
    try:
        file = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise CatalogError(
            f"{archive} is damaged: the table of contents at its end cannot be read ({error}). Download it again."
        ) from None
    with file:
        for entry in file.infolist():
            name = text_of(entry.filename)
            if entry.is_dir() or _is_hidden(name):
                continue
            try:
                yield Member(name, _too_large(name, entry.file_size) or file.read(entry))
            except UNREADABLE as error:
                yield Member(name, f"cannot be unpacked: {error}")


def _is_hidden(name: str) -> bool:
    return PurePosixPath(name).name.startswith(".")


def _too_large(name: str, size: int) -> str:
    limit = MAX_BYTES if is_photo(name) else SIDECAR_BYTES
    return f"too large: {size:,} bytes, at most {limit:,} are read" if size > limit else ""
