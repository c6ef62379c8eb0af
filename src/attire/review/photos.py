"""Photos for the page, addressed by product and number, so that no other file can be requested."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from attire.catalog.store import Catalog
from attire.errors import CatalogError
from attire.photos.image import open_photo

if TYPE_CHECKING:
    from attire.bundle import ModelBundle

SHOWN_BY_BROWSERS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
THUMB_PX, LARGE_PX = 240, 1600
Encoded = tuple[bytes, str]  # content and its media type


class Photos:
    """A catalog's photos, and heat maps if there is a bundle."""

    def __init__(self, catalog: Catalog, bundle: Path | None = None) -> None:
        self._catalog = catalog
        self._bundle = None if bundle is None else _load(bundle)
        self._paths = dict(zip(catalog.ids, catalog.photo_paths(), strict=True))
        self._heat_lock = threading.Lock()  # a heat map uses gradients and all cores
        self.thumb: Callable[[str, int], Encoded] = lru_cache(maxsize=2000)(self._thumb)
        self.heat: Callable[[str, int, str | None, str], Encoded] = lru_cache(maxsize=200)(self._heat)

    @property
    def bundle(self) -> ModelBundle | None:
        return self._bundle

    @property
    def explains(self) -> bool:
        return self._bundle is not None

    def photo(self, product: str, index: int) -> Encoded:
        """Return the photo's file, or a JPEG if browsers cannot show the format or the photo is very large.

        Raises `CatalogError` for an unknown photo, `PhotoError` for a file that can no longer be read.
        """
        path = self._path(product, index)
        try:
            with Image.open(path) as image:
                media, large = SHOWN_BY_BROWSERS.get(image.format or ""), max(image.size) > 2 * LARGE_PX
            if media is not None and not large:
                return path.read_bytes(), media
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
            pass  # `open_photo` below raises the reason
        return _jpeg(ImageOps.contain(open_photo(path, target_px=(LARGE_PX, LARGE_PX)), (LARGE_PX, LARGE_PX)), 90)

    def _thumb(self, product: str, index: int) -> Encoded:
        photo = open_photo(self._path(product, index), target_px=(THUMB_PX, THUMB_PX))
        photo.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
        return _jpeg(photo, 85)

    def _heat(self, product: str, index: int, key: str, value: str) -> Encoded:
        """Return the photo with a heat map of the evidence for the value; `key` may be `CATEGORY`."""
        from attire.explanation.explain import explain
        from attire.explanation.picture import overlay

        if self._bundle is None:
            raise CatalogError("heat maps need a model. Start the page with attire review ... --bundle BUNDLE.")
        with self._heat_lock:
            explanation = explain(self._bundle, self._path(product, index), key, value)
        return _jpeg(overlay(explanation.photo, explanation.heat), 88)

    def _path(self, product: str, index: int) -> Path:
        paths = self._paths.get(product, ())
        if not 0 <= index < len(paths):
            raise CatalogError(f"product '{product}' has no photo {index}; it has {len(paths)}, numbered from 0.")
        return paths[index]


def _load(bundle: Path) -> ModelBundle:
    from attire.bundle import ModelBundle  # imports torch, which is needed only for heat maps

    return ModelBundle.of(bundle)


def _jpeg(photo: Image.Image, quality: int) -> Encoded:
    content = io.BytesIO()
    photo.save(content, "JPEG", quality=quality)
    return content.getvalue(), "image/jpeg"
