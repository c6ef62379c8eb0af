"""Shared fixtures: a tiny catalog of real files, its splits, an untrained bundle, and a PostgreSQL server."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import torch
from helpers import postgres as servers
from helpers.bundles import save_bundle
from helpers.drawn_feed import draw_feed

from attire.bundle import ModelBundle
from attire.catalog.ingest import ingest
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.config import Architecture
from attire.model.network import build_network

os.environ.setdefault("COLUMNS", "200")  # the width of consoles, which is otherwise that of whatever runs the tests


@pytest.fixture(autouse=True)
def _warnings_are_logged() -> None:
    """Libraries that earlier tests imported may have silenced loggers or handlers of the whole process."""
    root = logging.getLogger()
    logging.disable(logging.NOTSET)
    for logger in (root, logging.getLogger("attire")):
        logger.setLevel(min(logger.level, logging.WARNING))
    for handler in root.handlers:
        handler.setLevel(min(handler.level, logging.WARNING))


@pytest.fixture(scope="session")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """90 products of 3 categories, with the keys `colour` (one) and `tags` (many, shirts only)."""
    folder = tmp_path_factory.mktemp("catalog")
    return ingest(draw_feed(folder), folder / "photos", folder / "catalog")


@pytest.fixture(scope="session")
def splits(catalog: Catalog) -> Splits:
    """The catalog's split, 30% val."""
    return split(catalog, val=0.3, seed=1)


@pytest.fixture(scope="session")
def untrained(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A bundle with a random network for the catalog's taxonomy."""
    torch.manual_seed(0)
    architecture = Architecture(backbone="test_resnet", hidden=8, shared=True)
    network = build_network(architecture, catalog.taxonomy)
    return save_bundle(tmp_path_factory.mktemp("untrained") / "bundle", network, architecture, catalog.taxonomy)


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Cluster]:
    """A PostgreSQL server; skips the test if it is not installed."""
    cluster = servers.start()
    yield cluster
    cluster.stop()
