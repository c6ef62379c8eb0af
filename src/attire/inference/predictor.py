"""One product at a time, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attire.bundle import ModelBundle
from attire.engines.engine import Engine, TorchEngine
from attire.errors import PhotoError
from attire.inference.decoding import Photo, ProductPhotos
from attire.inference.logits import stream, title_reader
from attire.prediction import Prediction
from attire.score.calibration import PRECISION
from attire.score.decisions import prediction


class Predictor:
    """Says category and attributes of a product from its photos.

    `precision`: keys whose answer is not sure enough for it are abstained from; None answers every key that applies.
    A precision that the bundle cannot promise is logged as a warning.
    """

    def __init__(
        self, bundle: ModelBundle | str | Path, engine: Engine | None = None, *, precision: float | None = PRECISION
    ) -> None:
        self.bundle = ModelBundle.of(bundle)
        self.bundle.check_precision(precision)
        self.engine, self.precision = engine or TorchEngine(self.bundle), precision

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
        several = [photos] if isinstance(photos, str | Photo) else photos
        paths = [Path(photo) if isinstance(photo, str) else photo for photo in several]
        reader = title_reader(self.bundle, "both" if title else "photo")
        taxonomy = self.bundle.taxonomy
        known = None if category is None else np.array([taxonomy.category_index[taxonomy.category(category)]])
        product = ProductPhotos(id, paths, title=title)
        (found,) = stream(self.engine, self.bundle.preprocess, [product], reader=reader)
        if found.faults or found.category is None or found.attributes is None:
            raise PhotoError("; ".join(found.faults) or "expected at least one photo")
        decisions = self.bundle.decide(found.category[None], found.attributes[None], known)
        accepted = self.bundle.accepted(decisions, self.precision)
        return prediction(taxonomy, decisions, accepted, 0, id, self.bundle.digest)
