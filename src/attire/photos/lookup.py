"""Find the photo that a cell of a feed names: a file, a member of an archive, or a photo at a URL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attire.errors import ConfigError, FeedError, PhotoError
from attire.photos.archive import is_archive
from attire.photos.index import PhotoIndex, find_photos
from attire.photos.remote import Remote, RemotePhoto, is_url


class PhotoLookup:
    """Finds photos by the name in a feed: a URL, a file in `images`, or a file in the remote folder in `images`."""

    def __init__(self, images: Sequence[str | Path], unpack_to: Path, downloads: Path, remote: Remote) -> None:
        """Local archives are unpacked to `unpack_to`, remote ones are first downloaded to the folder `downloads`."""
        self.sources, self.remote = images, remote
        folders = [str(source) for source in images if is_url(source) and not is_archive(source)]
        if len(folders) > 1:
            raise ConfigError(
                f"--images has {len(folders)} remote folders, {' and '.join(folders)}. Expected at most one."
            )
        self.folder = folders[0].rstrip("/") if folders else None
        files = [
            remote.fetch(str(source), downloads) if is_url(source) else source
            for source in images
            if str(source) not in folders
        ]
        self.files = find_photos(files, unpack_to) if files else PhotoIndex([])

    def __call__(self, name: str) -> Path | RemotePhoto:
        """The photo; raises `PhotoError` if there is none or more than one."""
        if is_url(name):
            return self.remote.photo(name)
        try:
            return self.files[name]
        except PhotoError:
            if self.folder is None:
                raise
        return self.remote.photo(f"{self.folder}/{name}")  # a missing file is reported when it is fetched


def no_images(source: str | Path) -> FeedError:
    """The error for a feed whose photos cannot be looked up anywhere."""
    return FeedError(f"{source} needs --images for its photos: a folder, archives or a URL. None of them are URLs.")
