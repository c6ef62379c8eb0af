"""Opens what a review page shows: the catalog, its predictions, the store of decisions and the photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from attire.catalog.store import Catalog
from attire.errors import ConfigError
from attire.review.context import ReviewContext, clean_name
from attire.review.data import ReviewData
from attire.review.learner import Learner
from attire.review.options import Options
from attire.review.photos import Photos
from attire.review.queues import Queues
from attire.review.seen import Seen
from attire.review.store.events import STORE, Store
from attire.review.store.samples import add_sampled


def open_review(catalog: Path, options: Options) -> ReviewContext:
    """Open the catalog, the predictions, the store and the photos.

    Raises `CatalogError`, `FeedError`, `ConfigError`, `ReviewStoreError`, `BundleError`.
    """
    if options.audit < 0:
        raise ConfigError(f"--audit {options.audit}: expected the number of fields to sample, 0 or more.")
    if options.embed and options.bundle is None:
        raise ConfigError("--embed needs the model that is to look at the photos: add --bundle BUNDLE.")
    return _opened(catalog, options, Store(options.store or catalog / STORE))


def go_on(context: ReviewContext, predictions: Path, bundle: Path) -> ReviewContext:
    """The page with the predictions of a bundle that has learned; its decisions and leases stay. Raises as above."""
    assert context.learner is not None
    options = replace(context.learner.options, predictions=predictions, bundle=bundle)
    opened = _opened(context.learner.catalog, options, context.store)
    return replace(opened, closed_pages=context.closed_pages)


def _opened(catalog: Path, options: Options, store: Store) -> ReviewContext:
    opened = Catalog.load(catalog)
    opened = opened.before_review(store.held())  # the page shows what the feed states next to the decisions
    data = ReviewData(opened, options.predictions)
    queues = Queues(data, audit=options.audit, seed=options.seed)
    photos = Photos(opened, options.bundle)
    seen = Seen(opened, photos.bundle, embed=options.embed)
    add_sampled(store, queues.sampled)
    learner = None if photos.bundle is None else Learner(catalog, options, photos.bundle)
    return ReviewContext(data, queues, store, photos, seen, clean_name(options.reviewer), learner)
