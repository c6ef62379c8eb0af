"""Photos that look different from those that a model knows: the changes that drift is measured on."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.engines.engine import open_engine
from attire.photos.image import open_photo
from attire.progress import track

BATCH = 32


def _jpeg(photo: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    photo.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")


def _grey_background(photo: Image.Image, level: int = 200) -> Image.Image:
    """White pixels become grey."""
    pixels = np.asarray(photo).copy()
    pixels[(pixels > 240).all(axis=2)] = level
    return Image.fromarray(pixels)


def _cropped(photo: Image.Image, share: float = 0.75) -> Image.Image:
    width, height = photo.size
    left, top = round(width * (1 - share) / 2), round(height * (1 - share) / 2)
    return photo.crop((left, top, width - left, height - top))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "plain": lambda photo: photo,
    "slight blur": lambda photo: photo.filter(ImageFilter.GaussianBlur(1)),
    "strong blur": lambda photo: photo.filter(ImageFilter.GaussianBlur(2.5)),
    "darker": lambda photo: ImageEnhance.Brightness(photo).enhance(0.6),
    "grey background": _grey_background,
    "JPEG quality 10": lambda photo: _jpeg(photo, 10),
    "cropped": _cropped,
}


def changed_logits(
    bundle: ModelBundle, catalog: Catalog, rows: NDArray[np.int64], change: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits float32[N, C] and float32[N, K] of the first photo of each product, changed."""
    engine, alter = open_engine(bundle, "torch"), CHANGES[change]
    paths: list[Path] = [photos[0] for photos in catalog.photo_paths(rows)]
    category: list[NDArray[np.float32]] = []
    attributes: list[NDArray[np.float32]] = []
    for start in track(range(0, len(paths), BATCH), change, "batches"):
        photos = [bundle.preprocess.resize(alter(open_photo(path))) for path in paths[start : start + BATCH]]
        for part, logits in zip((category, attributes), engine.logits(np.stack(photos)), strict=True):
            part.append(logits)
    return np.concatenate(category), np.concatenate(attributes)
