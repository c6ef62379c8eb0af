"""Opening tar and zip archives, from disk or from an address: the only place that does.

Photos and sidecars come one after the other, each held to a size. Damage is never taken for the end of an archive.
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
SIDECAR_BYTES = 2**20  # a larger sidecar is a sample's other data
HEADER_BYTES = 2**20  # of the name and other facts of one member: what is larger would be held in memory
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
    """A file in an archive: its bytes, or the reason why they cannot be used."""

    name: str
    content: bytes | str

    def read(self) -> bytes:
        """Its bytes; raises `PhotoError` with the reason where there are none."""
        if isinstance(self.content, str):
            raise PhotoError(self.content)
        return self.content


def is_archive(source: str | Path) -> bool:
    """Whether the name is an archive's."""
    return str(source).split("?")[0].lower().endswith(SUFFIXES)


def looks_like_archive(file: Path) -> bool:
    """Whether the name or the content is an archive's."""
    if is_archive(file):
        return True
    with open_regular(file) as opened:
        head = opened.read(512)
    return head.startswith((*DECOMPRESSORS, b"PK")) or head[257:262] == b"ustar" or zipfile.is_zipfile(file)


def members(archive: str, scratch: Path, remote: Remote) -> Iterator[Member]:
    """Photos and small other files in the order of the archive; hidden files are left out.

    A remote zip is fetched to `scratch` first, for its table of contents is at its end. A remote tar that breaks off is
    opened again, and what was read is passed over. What is wrong with one member is said in its place; raises
    `CatalogError` with the byte (of the tar, as unpacked) where the archive itself is damaged.
    """
    if is_url(archive):
        if archive.split("?")[0].lower().endswith(".zip"):
            fetched = remote.fetch(archive, scratch)
            yield from _of_zip(archive, fetched)
            fetched.unlink()
        else:
            yield from _of_remote_tar(archive, remote)
    elif _is_zip(Path(archive)):
        yield from _of_zip(archive, Path(archive))
    else:
        try:
            with _open(Path(archive)) as file:
                yield from _of_tar(file)
        except DAMAGE as error:
            raise CatalogError(f"{archive} is damaged: {error}. Fetch the archive again.") from None


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


def _of_remote_tar(archive: str, remote: Remote) -> Iterator[Member]:
    done = 0
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with closing(remote.open(archive)) as file:
                for member in islice(_of_tar(file), done, None):
                    yield member
                    done += 1
            return
        except FileNotFoundError:
            raise CatalogError(f"{archive} does not exist.") from None
        except Exception as error:  # each service has exceptions of its own
            fault = error
        time.sleep(WAIT_S * attempt)
    raise CatalogError(f"{archive} breaks off: {fault}. Call again, and it goes on from there; or fetch it again.")


class _Header(tarfile.TarInfo):
    """A tar's header, damage to which is an error; `tarfile` takes it for the end after the first member."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        at = tar.fileobj.tell()
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the end mark, as it should be
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"it ends at byte {at:,} without an end mark, so its end is missing") from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"the header at byte {at:,} is wrong ({error})") from None

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in SPECIAL and header.size > HEADER_BYTES):
            raise tarfile.ReadError(f"a header states a size of {header.size:,} bytes")
        return header


def _of_tar(file: IO[bytes]) -> Iterator[Member]:
    content = _decompressed(file)
    with tarfile.open(fileobj=content, mode="r|", bufsize=CHUNK, tarinfo=_Header) as tar:
        while header := tar.next():
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep each header until the end
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
        _check_rest(tar.fileobj)  # type: ignore[arg-type]


def _check_rest(rest: IO[bytes]) -> None:
    """Raise unless zeros follow the end mark. To read on also makes a decompressor look at its checksum."""
    while more := rest.read(CHUNK):
        if more.count(0) < len(more):
            raise tarfile.ReadError(
                f"more follows the end mark, before byte {rest.tell():,}: a part was lost, or archives were joined"
            )


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    """What the file holds, by its first bytes: `tarfile`'s own streams do not look at a gzip's checksum."""
    head = file.read(6)
    whole: Any = _Joined(head, file)
    return next((made(whole) for magic, made in DECOMPRESSORS.items() if head.startswith(magic)), whole)


class _Joined:
    """A file whose first bytes were read already; it can only be read on."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self.head, self.file = head, file

    def read(self, size: int = -1) -> bytes:
        if not self.head:
            return self.file.read(size)
        end = len(self.head) if size < 0 else size
        head, self.head = self.head[:end], self.head[end:]
        return head


def _of_zip(archive: str, path: Path) -> Iterator[Member]:
    try:
        file = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise CatalogError(
            f"{archive} is damaged: the table of contents at its end cannot be read ({error}). Fetch the archive again."
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
