"""A tiny catalog of real files for every test that needs one, made by attire's own ingest."""

from __future__ import annotations

import pytest
from drawing import draw_feed

from attire.catalog.ingest import ingest
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.pixels import ops  # noqa: F401  (before any test imports timm or torchvision)


@pytest.fixture(scope="session")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """90 products of 3 categories, with the keys `colour` (one) and `tags` (many, shirts only)."""
    folder = tmp_path_factory.mktemp("catalog")
    return ingest(draw_feed(folder), folder / "photos", folder / "catalog")


@pytest.fixture(scope="session")
def splits(catalog: Catalog) -> Splits:
    """The catalog's split, 30% val."""
    return split(catalog, val=0.3, seed=1)
