"""Finding photos by the name that a feed gives them: in folders, tar and zip archives."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from rich.progress import track

from attire.errors import CatalogError, PhotoError

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


class PhotoIndex:
    """Photos by name. Raises `PhotoError` for a name that leads nowhere or to several photos."""

    def __init__(self, photos: Sequence[tuple[str, Path]]) -> None:
        """`photos`: (path within its folder or archive, with slashes; the file) of each photo."""
        self.photos = list(photos)
        self._by_end: dict[str, list[int]] = defaultdict(list)  # base name, and base name without suffix
        for i, (name, _) in enumerate(self.photos):
            base = PurePosixPath(name)
            for end in {base.name, base.stem}:
                self._by_end[end].append(i)

    def __getitem__(self, name: str) -> Path:
        """The photo of that path, or the only one whose path ends alike; the suffix may be left out."""
        wanted = PurePosixPath(name.replace("\\", "/"))
        found = self._by_end.get(wanted.name, [])
        if not found:
            raise PhotoError("not found in --images")
        agreement = [_common_end(wanted, PurePosixPath(self.photos[i][0])) for i in found]
        best = [self.photos[i] for i, n in zip(found, agreement, strict=True) if n == max(agreement)]
        if len({path for _, path in best}) > 1:
            names = ", ".join(sorted(name for name, _ in best)[:3])
            raise PhotoError(f"{len(best)} photos have this name ({names}): give more of the path in the feed")
        return best[0][1]


def find_photos(sources: Sequence[str | Path], unpack_to: Path) -> PhotoIndex:
    """All photos below folders, and in archives, which are unpacked to `unpack_to` (only what is not there yet)."""
    photos: list[tuple[str, Path]] = []
    for source in map(Path, sources):
        if source.is_dir():
            photos += photos_below(source)
        elif source.is_file() and (tarfile.is_tarfile(source) or zipfile.is_zipfile(source)):
            photos += _unpacked(source, unpack_to / source.name.replace(".", "_"))
        else:
            what = "is neither a folder nor a tar or zip archive" if source.exists() else "does not exist"
            raise CatalogError(f"--images {source} {what}. Expected folders, .tar, .tar.gz or .zip files of photos.")
    return PhotoIndex(photos)


def photos_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """(path within the folder, file) of each photo, in a stable order."""
    folder = folder.resolve()
    for where, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = Path(where, file)
            if path.suffix.lower() in SUFFIXES:
                yield path.relative_to(folder).as_posix(), path


def _unpacked(archive: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Photos of an archive as files in `folder`; a file is there only once it is complete."""
    try:
        for name, size, modified, content in track(_members(archive), description=f"unpacking {archive.name}"):
            target = folder / _safe(name)
            if not target.is_file() or target.stat().st_size != size:
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(f".{target.name}.tmp")
                with content, temporary.open("wb") as file:
                    shutil.copyfileobj(content, file)
                os.utime(temporary, (modified, modified))
                temporary.replace(target)
            yield name, target
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise CatalogError(f"--images {archive} is damaged: {error}. Fetch the archive again.") from None


def _members(archive: Path) -> Iterator[tuple[str, int, float, IO[bytes]]]:
    """(name, bytes, modification time, content) of each photo; links and other suffixes are passed over."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                if not entry.is_dir() and Path(entry.filename).suffix.lower() in SUFFIXES:
                    yield entry.filename, entry.file_size, 0.0, file.open(entry)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None and Path(member.name).suffix.lower() in SUFFIXES:
                yield member.name, member.size, float(member.mtime), content


def _safe(name: str) -> Path:
    """A relative path below the target, whatever an archive's author wrote."""
    return Path(*[part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")])


def _common_end(a: PurePosixPath, b: PurePosixPath) -> int:
    """How many folders above the base name agree."""
    agreed = 0
    for left, right in zip(reversed(a.parts[:-1]), reversed(b.parts[:-1]), strict=False):
        if left != right:
            break
        agreed += 1
    return agreed
