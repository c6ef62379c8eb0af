"""The embedding cache: a damaged file is reported and ignored."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from attire.catalog.store import Catalog
from attire.pixels.embedding_cache import EmbeddingCache
from attire.pixels.preprocess import Preprocess

PREPROCESS = Preprocess(size_px=(32, 24), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@pytest.mark.parametrize("length", [0, 7, 150, -40])
def test_damaged_embeddings_are_computed_again(catalog: Catalog, length: int, caplog: pytest.LogCaptureFixture) -> None:
    cache = EmbeddingCache(catalog, f"test {length}", PREPROCESS)
    assert cache.read(5) is None
    cache.write(np.ones((5, 8), np.float32))
    embeddings = cache.read(5)
    assert embeddings is not None
    assert embeddings.shape == (5, 8)
    cache.path.write_bytes(cache.path.read_bytes()[:length])
    with caplog.at_level(logging.WARNING, "attire"):
        assert cache.read(5) is None
    assert "is damaged" in caplog.text


def test_embeddings_of_other_photos_are_not_read(catalog: Catalog) -> None:
    cache = EmbeddingCache(catalog, "test of another number", PREPROCESS)
    cache.write(np.ones((4, 8), np.float32))
    assert cache.read(5) is None
