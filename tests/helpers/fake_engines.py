"""Engines without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


class Answers:
    """Logits by a photo's mean colour: +10 for the given words (-10 for others), +0.5 for words that end in "?".

    `words` maps an RGB colour to the category and values of photos of about that colour.
    """

    name = "answers"

    def __init__(self, taxonomy: Taxonomy, words: Mapping[tuple[int, int, int], Sequence[str]]) -> None:
        self.colours = np.array(list(words), np.float32)
        values = [value for key in taxonomy.keys.values() for value in key.values]
        self.category = np.stack([_logits(taxonomy.categories, given) for given in words.values()])
        self.attributes = np.stack([_logits(values, given) for given in words.values()])
        self.photos = 0

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        self.photos += len(pixels)
        colour = pixels.mean(axis=(2, 3), dtype=np.float32)
        nearest = np.linalg.norm(self.colours - colour[:, None], axis=2).argmin(axis=1)
        return self.category[nearest], self.attributes[nearest]


def _logits(words: Sequence[str], given: Sequence[str]) -> Floats:
    scores = [10.0 if word in given else 0.5 if f"{word}?" in given else -10.0 for word in words]
    return np.array(scores, np.float32)
