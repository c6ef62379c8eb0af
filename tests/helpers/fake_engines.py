"""Engines without a network."""

from __future__ import annotations

import numpy as np

from attire.engines.engine import Bytes, Floats
from attire.taxonomy import Taxonomy


class MeanColour:
    """Logits are a fixed linear map of a photo's mean colour. Counts photos and records the largest batch."""

    name = "mean colour"

    def __init__(self, taxonomy: Taxonomy) -> None:
        random = np.random.default_rng(0)
        self.category = random.normal(size=(3, len(taxonomy.categories))).astype(np.float32)
        self.attributes = random.normal(size=(3, taxonomy.width)).astype(np.float32)
        self.photos, self.largest = 0, 0

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        self.photos += len(pixels)
        self.largest = max(self.largest, len(pixels))
        colour = pixels.mean(axis=(2, 3), dtype=np.float32) / 255
        return colour @ self.category, colour @ self.attributes
