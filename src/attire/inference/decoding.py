"""Decodes photos to the network's pixels, in threads that run ahead of the engine."""

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
from attire.photos.remote import FETCHERS, RemotePhoto
from attire.pixels.preprocess import Preprocess

# Pillow decodes without the GIL, and decoding costs far less than inference: more threads would only take cores from
# an engine that runs on the CPU.
DECODERS = max(1, (os.cpu_count() or 2) // 2)

Item = TypeVar("Item")
Pixels = NDArray[np.uint8]


@runtime_checkable
class Readable(Protocol):
    """A photo that is not loaded yet; `read` raises `PhotoError` if it cannot be."""

    @property
    def name(self) -> str: ...

    def read(self) -> bytes: ...


Photo = Path | bytes | Image.Image | Readable


@dataclass(frozen=True, slots=True)
class ProductPhotos:
    """A product to predict.

    faults: why some of its photos cannot be used, as far as that is known before they are opened; title: "" if there is
    none; category: the known category, in the taxonomy's spelling; group: "" if it is not known.
    """

    id: str
    photos: Sequence[Photo]
    faults: tuple[str, ...] = ()
    title: str = ""
    category: str | None = None
    group: str = ""


def decode(
    preprocess: Preprocess, products: Iterable[ProductPhotos], photos_ahead: int
) -> Iterator[ProductPhotos | Pixels | str]:
    """Yield each product, followed by the pixels uint8[3, H, W] of each photo, or the reason why it cannot be read.

    At most `photos_ahead` items are read, fetched and decoded in advance.
    """
    with ThreadPoolExecutor(DECODERS, "decode") as decoders, ThreadPoolExecutor(FETCHERS, "fetch") as fetchers:

        def submit() -> Iterator[ProductPhotos | Future[Pixels | str]]:
            for product in products:
                yield product
                for photo in product.photos:
                    fetching = fetchers.submit(photo.read) if isinstance(photo, RemotePhoto) else None
                    yield decoders.submit(_pixels, preprocess, photo, fetching)

        for item in read_ahead(submit(), photos_ahead):
            yield item if isinstance(item, ProductPhotos) else item.result()


def read_ahead(items: Iterable[Item], size: int) -> Iterator[Item]:
    """Yield `items`, read in another thread at most `size` in advance; its exceptions are raised here."""
    queue: Queue[tuple[Item] | BaseException | None] = Queue(size)
    cancelled = Event()

    def put(item: tuple[Item] | BaseException | None) -> None:
        while not cancelled.is_set():
            with suppress(Full):
                queue.put(item, timeout=0.1)
                return

    def fill() -> None:
        try:
            for item in items:
                put((item,))
                if cancelled.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    reader = Thread(target=fill, name="read-ahead", daemon=True)
    reader.start()
    try:
        while (entry := queue.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]
    finally:
        cancelled.set()
        with suppress(Empty):
            while True:
                queue.get_nowait()
        reader.join(timeout=1)  # it may be waiting for the network


def _pixels(preprocess: Preprocess, photo: Photo, fetching: Future[bytes] | None) -> Pixels | str:
    """The network's pixels, or the reason why the photo cannot be read."""
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
