"""Photos to a network's pixels, by threads that run ahead of the engine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attire.errors import PhotoError
from attire.photos.folder import text_of
from attire.photos.image import open_photo
from attire.photos.remote import RemotePhoto
from attire.pixels.preprocess import Preprocess

# Pillow decodes outside Python's lock, and a photo costs far less than its logits: more threads would only take the
# cores from an engine that computes on the CPU.
DECODERS = max(1, (os.cpu_count() or 2) // 2)
FETCHERS = 16  # they wait for servers, not for cores

Item = TypeVar("Item")
Pixels = NDArray[np.uint8]


@runtime_checkable
class Readable(Protocol):
    """A photo whose bytes are yet to come; `read` raises `PhotoError` where they do not."""

    @property
    def name(self) -> str: ...

    def read(self) -> bytes: ...


Photo = Path | bytes | Image.Image | Readable


@dataclass(frozen=True, slots=True)
class ProductPhotos:
    """A product to be answered.

    `faults` are reasons, known before, why some of its photos cannot be used. An empty `title` is none; `category` is
    the known one, in the taxonomy's word.
    """

    id: str
    photos: Sequence[Photo]
    faults: tuple[str, ...] = ()
    title: str = ""
    category: str | None = None


def decoded(
    preprocess: Preprocess, products: Iterable[ProductPhotos], photos_ahead: int
) -> Iterator[ProductPhotos | Pixels | str]:
    """Each product, followed by the pixels uint8[3, H, W] of each of its photos, or the reason why there are none.

    Products are read, and their photos fetched and decoded, by at most `photos_ahead` before they are wanted.
    """
    with ThreadPoolExecutor(DECODERS, "decode") as decoders, ThreadPoolExecutor(FETCHERS, "fetch") as fetchers:

        def submitted() -> Iterator[ProductPhotos | Future[Pixels | str]]:
            for product in products:
                yield product
                for photo in product.photos:
                    fetching = fetchers.submit(photo.read) if isinstance(photo, RemotePhoto) else None
                    yield decoders.submit(_pixels, preprocess, photo, fetching)

        for item in ahead(submitted(), photos_ahead):
            yield item if isinstance(item, ProductPhotos) else item.result()


def ahead(items: Iterable[Item], size: int) -> Iterator[Item]:
    """`items`, read by a thread of its own at most `size` ahead; what it raises is raised here."""
    queue: Queue[tuple[Item] | BaseException | None] = Queue(size)
    unwanted = Event()

    def put(item: tuple[Item] | BaseException | None) -> None:
        while not unwanted.is_set():
            with suppress(Full):
                queue.put(item, timeout=0.1)
                return

    def fill() -> None:
        try:
            for item in items:
                put((item,))
                if unwanted.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    reader = Thread(target=fill, name="ahead", daemon=True)
    reader.start()
    try:
        while (found := queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found[0]
    finally:
        unwanted.set()
        with suppress(Empty):
            while True:
                queue.get_nowait()
        reader.join(timeout=1)  # it may wait for a server


def _pixels(preprocess: Preprocess, photo: Photo, fetching: Future[bytes] | None) -> Pixels | str:
    """The network's pixels, or the reason why there are none."""
    if isinstance(photo, Image.Image):
        return preprocess.resize(photo.convert("RGB"))
    try:
        if isinstance(photo, Path | bytes):
            content: Path | bytes = photo
        else:
            content = fetching.result() if fetching else photo.read()
        return preprocess.resize(open_photo(content, target_px=preprocess.size_px))
    except PhotoError as error:
        return str(error) if isinstance(photo, bytes) else f"{text_of(photo.name)}: {error}"
