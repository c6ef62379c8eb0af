"""Prediction of one product at a time from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from attire.bundle import ModelBundle
from attire.engines.engine import AUTO, Engine, open_engine
from attire.errors import PhotoError
from attire.inference.decoding import Photo, ProductPhotos
from attire.inference.logits import stream, title_reader
from attire.photos.image import open_photo
from attire.prediction import Prediction
from attire.score.promise import PRECISION, Promise

SIZE = (160, 160)  # maximum thumbnail size, in px


class Predictor:
    """Answers category and attributes of a product from its photos.

    engine: a name ("auto", the default, is the fastest that works here) or an engine. precision: a key is filled only
    if its answer is confident enough for this precision, and left open otherwise; None fills every key that applies. A
    precision that the bundle cannot promise is logged as a warning.
    """

    def __init__(
        self,
        bundle: ModelBundle | str | Path,
        engine: str | Engine = AUTO,
        *,
        precision: Promise | float | None = PRECISION,
    ) -> None:
        self.bundle = ModelBundle.of(bundle)
        self.promise = None if precision is None else Promise.of(precision)
        self.bundle.check_promise(self.promise)
        self.engine = open_engine(self.bundle, engine)

    def __call__(
        self,
        photos: str | Photo | Sequence[str | Photo],
        *,
        id: str = "",
        title: str = "",
        category: str | None = None,
    ) -> Prediction:
        """Answer for one product with one or several photos (paths, encoded bytes or Pillow images).

        A known `category` overrules the network's. Raises `PhotoError` naming every photo if one cannot be read,
        `TaxonomyError` for a category that is not in the taxonomy, and `ConfigError` for a title that the bundle
        cannot read.
        """
        sequence = [photos] if isinstance(photos, str | Photo) else photos
        product = ProductPhotos(
            id, [Path(photo) if isinstance(photo, str) else photo for photo in sequence], title=title
        )
        known = None if category is None else self.bundle.taxonomy.category(category)
        reader = title_reader(self.bundle, "both" if title else "photo")
        (logits,) = stream(self.engine, self.bundle.preprocess, [product], reader=reader)
        if logits.faults or logits.category is None or logits.attributes is None:
            raise PhotoError("; ".join(logits.faults) or "expected at least one photo")
        answer = self.bundle.answer(logits.category, logits.attributes, self.promise, known_category=known, id=id)
        return replace(answer, thumbnail=partial(_thumbnail, product.photos[0]))


def _thumbnail(photo: Photo) -> bytes:
    """A small JPEG of the photo, for notebooks."""
    image = (
        photo
        if isinstance(photo, Image.Image)
        else open_photo(photo if isinstance(photo, Path | bytes) else photo.read(), SIZE)
    )
    small = image.convert("RGB")
    small.thumbnail(SIZE)
    content = BytesIO()
    small.save(content, "JPEG")
    return content.getvalue()
