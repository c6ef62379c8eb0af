"""What is known of a catalog's fields: which have labels, which may be asked for, and how unsure a model is of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from attire.acquisition.design import Bools, Fields, Floats
from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.config import Recipe
from attire.embeddings import catalog_embeddings
from attire.errors import ConfigError
from attire.labels import State, Targets
from attire.model.input_size import data_config
from attire.pixels.embedding_cache import EmbeddingCache
from attire.pixels.preprocess import Preprocess
from attire.score.decisions import Decisions, applicability
from attire.taxonomy import CATEGORY, Taxonomy
from attire.training.backbone_defaults import with_backbone_defaults
from attire.training.data import default_workers
from attire.training.initial_weights import initial_network

DIMENSIONS = 64  # principal components of the embeddings that stand for a product
SURE_CATEGORY = 0.9  # the category is asked for with any other field if the model is less sure of it
GATE = 0.5  # a key is taken to apply from this probability


class Photos:
    """The embeddings of the photos of N products, P photos in all.

    rows: int64[N], the products' rows in `Catalog.products`. of_photos: float32[P, E], the photos of each product end
    to end. counts: int64[N], the number of each product's photos.
    """

    def __init__(self, catalog: Catalog, ids: Sequence[str], cache: EmbeddingCache) -> None:
        digests = catalog.photo_digests()
        self.rows = catalog.rows_of(ids)
        self.counts = np.array([len(digests[row]) for row in self.rows.tolist()])
        self.of_photos = np.asarray(cache[[photo for row in self.rows.tolist() for photo in digests[row]]], np.float32)

    def mean(self, values: Floats) -> Floats:
        """float32[N, ...]: the means over each product's photos of values float32[P, ...]."""
        sums = np.add.reduceat(values, np.cumsum(self.counts) - self.counts, axis=0)
        return np.asarray(sums / self.counts[:, None], dtype=np.float32)


def embedded_by_bundle(catalog: Catalog, ids: Sequence[str], bundle: ModelBundle, workers: int | None) -> Photos:
    """The products' embeddings by the bundle's network, which are computed once and cached.

    Raises `ConfigError` if the bundle does not fit the catalog, or does not answer from a single embedding of a photo.
    """
    architecture = bundle.spec.network
    if not architecture.shared or architecture.spatial:
        raise ConfigError(
            f"{bundle.path} does not answer from one vector for each photo (head = {architecture.head}, shared = "
            f"{str(architecture.shared).lower()}). Use a bundle of the recipe frozen, tuned or base, or none."
        )
    if not bundle.taxonomy.has_words_of(catalog.taxonomy):
        raise ConfigError(
            f"{bundle.path} was trained with other words, or in another order, than {catalog.path / 'taxonomy.toml'}. "
            "Use a bundle that was trained on this catalog, or none."
        )
    workers = default_workers() if workers is None else workers
    return Photos(
        catalog, ids, catalog_embeddings(catalog, bundle.network, architecture.backbone, bundle.preprocess, workers)
    )


def embedded_by_backbone(
    catalog: Catalog, ids: Sequence[str], recipe: Recipe, weights: str | Path | None, workers: int | None
) -> Photos:
    """The products' embeddings by a pretrained backbone: those that a run of the recipe `frozen` trains on."""
    recipe = with_backbone_defaults(recipe)
    network, _ = initial_network(recipe, catalog.taxonomy, weights, None)
    preprocess = Preprocess.for_backbone(data_config(network.backbone), recipe.input_px, recipe.fit)
    workers = default_workers() if workers is None else workers
    return Photos(catalog, ids, catalog_embeddings(catalog, network, recipe.backbone, preprocess, workers))


def fields_of(catalog: Catalog, photos: Photos, bundle: ModelBundle | None) -> Fields:
    """The fields of the products: open are those that have no label, and that no reviewer has decided."""
    taxonomy, targets = catalog.taxonomy, Targets(*(column[photos.rows] for column in catalog.targets()))
    known_category = targets.category >= 0
    labels = np.column_stack([known_category, targets.state == State.KNOWN])
    if bundle is None:
        applies = np.where(known_category[:, None], taxonomy.applies[targets.category], False)
        doubt, sure = np.ones(labels.shape, np.float32), known_category
    else:
        free, decisions = _decisions(catalog, photos, bundle, targets)
        applies = applicability(taxonomy, decisions.category_probability) > GATE
        doubt = doubts(taxonomy, free.category_probability, decisions.probability, bundle.taught)
        sure = decisions.category_probability.max(axis=1) >= SURE_CATEGORY
    applies = np.column_stack([np.ones(len(labels), dtype=bool), applies])
    return Fields(
        features=principal_components(photos.mean(photos.of_photos)),
        doubt=doubt,
        applies=applies | labels,
        labelled=labels,
        open=applies & ~labels & ~_decided(catalog, photos),
        unsure_category=~sure,
    )


def principal_components(embeddings: Floats, dimensions: int = DIMENSIONS) -> Floats:
    """float32[N, D]: the first principal components of embeddings float32[N, E], each number of which is standardised.

    All numbers count the same, because features of different stages of a backbone have different scales.
    """
    values = embeddings.astype(np.float64)
    deviation = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    _, directions = np.linalg.eigh(values.T @ values)
    return np.asarray(values @ directions[:, ::-1][:, :dimensions], dtype=np.float32)


def _decisions(catalog: Catalog, photos: Photos, bundle: ModelBundle, targets: Targets) -> tuple[Decisions, Decisions]:
    """The bundle's answers without and with the known categories."""
    text = None
    if (reader := bundle.title_reader) is not None:
        titles = catalog.products["title"].gather(photos.rows).to_list()
        text = torch.from_numpy(np.repeat(reader(titles), photos.counts, axis=0))
    with torch.inference_mode():
        logits = bundle.network.heads.eval()(torch.from_numpy(photos.of_photos), text)
    means = [photos.mean(values.float().numpy()) for values in logits]
    return bundle.decide(means[0], means[1]), bundle.decide(means[0], means[1], targets.category)


def doubts(taxonomy: Taxonomy, category: Floats, values: Floats, taught: Bools) -> Floats:
    """float32[N, F]: how unsure answers are, from float32[N, C] of categories and float32[N, K] of values.

    Of the category and of a key of arity one, the probability that two draws from the answer differ (Gini impurity); of
    a key of arity many, that of the value in most doubt; 1 for keys that the model was not taught (bool[A]).
    """
    one = 1 - np.add.reduceat(values**2, taxonomy.starts, axis=1)
    many = np.maximum.reduceat(2 * values * (1 - values), taxonomy.starts, axis=1)
    of_keys = np.where(taught, np.where(taxonomy.one, one, many), 1)
    return np.column_stack([1 - (category**2).sum(axis=1), of_keys]).astype(np.float32)


def _decided(catalog: Catalog, photos: Photos) -> Bools:
    """bool[N, F]: the fields that a reviewer decided; those without a label were cleared, or are not applicable."""
    numbers = {CATEGORY: 0, **{key: number for number, key in enumerate(catalog.taxonomy.keys, 1)}}
    decided = np.zeros((len(catalog), len(numbers)), dtype=bool)
    reviewed = catalog.reviewed.select("id", "key")
    for row, key in zip(catalog.rows_of(reviewed["id"].to_list()).tolist(), reviewed["key"], strict=True):
        if key in numbers:
            decided[row, numbers[key]] = True
    return decided[photos.rows]
