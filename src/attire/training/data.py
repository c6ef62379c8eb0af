"""Training data: products with a readable photo, in seeded random batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe
from attire.embeddings import catalog_embeddings, catalog_views
from attire.errors import CatalogError
from attire.labels import Targets
from attire.learned import Learned
from attire.model.losses import balanced_weight
from attire.model.network import Network
from attire.pixels import torchvision_ops  # noqa: F401
from attire.pixels.augment import AUGMENTS
from attire.pixels.dataset import CachedViews, DrawSampler, EmbeddingDataset, PhotoDataset, PhotoFiles
from attire.pixels.embedding_cache import EmbeddingCache
from attire.pixels.photo_cache import CachedPhotos, PhotoCache, cache_photos, cached_px, caches
from attire.pixels.preprocess import Preprocess
from attire.titles import TitleReader
from attire.training.folds import EarlierFold, divide, divide_again, shuffled_groups

import lightning as L  # isort: skip  (after ops)

Examples = PhotoDataset | CachedViews | EmbeddingDataset
Batch = tuple[torch.Tensor, Targets] | tuple[torch.Tensor, Targets, torch.Tensor]  # inputs, targets, titles if read


class Subset:
    """Photos, targets and titles of those products of a catalog that have a readable photo.

    ids, photos: the id and the photos of each product; digests: SHA-256 of the photos; targets: `Targets` of N
    products; text: the titles encoded by `reader`, or None.
    """

    def __init__(self, catalog: Catalog, ids: Sequence[str], name: str, reader: TitleReader | None = None) -> None:
        """`name` is the split's name, for messages. Raises `CatalogError` if none of `ids` has a readable photo."""
        photos, digests, targets = _of_products(catalog)
        rows = np.array([row for row in catalog.rows_of(ids).tolist() if photos[row]], dtype=np.int64)
        if not len(rows):
            raise CatalogError(
                f"{catalog.path}: the {name} split has no product with a readable photo. Split it again."
            )
        self.ids = [catalog.ids[row] for row in rows.tolist()]
        self.photos: list[tuple[Path, ...]] = [photos[row] for row in rows.tolist()]
        self.digests = [digests[row] for row in rows.tolist()]
        self.targets = Targets(*(column[rows] for column in targets))
        self.text = reader(catalog.products["title"].gather(rows).to_list()) if reader else None

    def photo_examples(self, preprocess: Preprocess, augment: str, cache: PhotoCache | None = None) -> PhotoDataset:
        """Examples from the photos, from `cache` or decoded from their files."""
        photos = (
            PhotoFiles([path for views in self.photos for path in views], preprocess.size_px)
            if cache is None
            else CachedPhotos(cache, self._all_digests())
        )
        counts = [len(views) for views in self.photos]
        return PhotoDataset(photos, counts, self.targets, preprocess, AUGMENTS[augment](preprocess), self.text)

    def embedding_examples(self, cache: EmbeddingCache) -> EmbeddingDataset:
        """Examples from the embeddings of the photos (`catalog_embeddings`)."""
        counts = [len(views) for views in self.photos]
        return EmbeddingDataset(cache[self._all_digests()], counts, self.targets, self.text)

    def view_examples(self, views: Sequence[EmbeddingCache]) -> CachedViews:
        """Examples from cached views of the photos (`catalog_views`)."""
        return CachedViews(views, self._all_digests(), [len(photos) for photos in self.photos], self.targets, self.text)

    @property
    def learned(self) -> Learned:
        """The photos of the products."""
        return Learned.of(self._all_digests())

    def _all_digests(self) -> list[str]:
        return [digest for views in self.digests for digest in views]


@lru_cache(1)  # of the catalog at hand, from which a run takes a subset for each part of each fold
def _of_products(catalog: Catalog) -> tuple[list[tuple[Path, ...]], list[tuple[str, ...]], Targets]:
    """Photos, their digests and the labels of all products."""
    return catalog.photo_paths(), catalog.photo_digests(), catalog.targets()


class StageData(L.LightningDataModule):
    """Random train batches and ordered val batches; each process gets its share of both.

    With `sampling` in the recipe, products of rare categories are drawn more often (Mahajan et al., "Exploring the
    Limits of Weakly Supervised Pretraining", ECCV 2018, use 0.5).
    """

    def __init__(
        self, train: Examples, val: Examples, calibration: Examples | None, recipe: Recipe, workers: int
    ) -> None:
        """`calibration` is not trained on; None if the recipe has no calibration set."""
        super().__init__()
        self.train, self.val, self.calibration = train, val, calibration
        self.recipe, self.workers = recipe, workers

    def train_dataloader(self) -> DataLoader[Batch]:
        sampling = self.recipe.sampling
        expected = _expected_draws(self.train.targets.category, sampling) if sampling else None
        return self._loader(self.train, self.recipe.seed, expected)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.val, None)

    def _loader(
        self, examples: Examples, seed: int | None, expected: NDArray[np.float64] | None = None
    ) -> DataLoader[Batch]:
        world, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        workers = (
            self.workers if isinstance(examples, PhotoDataset) else 0
        )  # a lookup is cheaper than a message between processes
        sampler = DrawSampler(len(examples), seed, rank, world, expected)
        batch_size = max(1, self.recipe.batch_size // world)
        return DataLoader(
            examples,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Batch norm fails on a batch of one example, so a single leftover is dropped, another one each epoch.
            drop_last=seed is not None and len(sampler) % batch_size == 1 < len(sampler),
        )


class Parts(NamedTuple):
    """Products to train on, and those to calibrate on (None for no calibration)."""

    train: Subset
    calibration: Subset | None


@dataclass(frozen=True, slots=True)
class RunData:
    """The products of a run: for training and calibration, and for scores after each epoch.

    whole: what the network is trained on. folds: what the networks are trained on that only serve calibration; their
    calibration products together are those of `whole.train`. photos_px: the photo cache to use, None to decode files.
    """

    catalog: Catalog
    recipe: Recipe
    whole: Parts
    folds: tuple[Parts, ...]
    val: Subset | None
    photos_px: int | None
    workers: int

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        splits: Splits,
        recipe: Recipe,
        cache: bool | None,
        workers: int,
        earlier: Sequence[EarlierFold] = (),
    ) -> RunData:
        """The folds continue `earlier` ones, if there are any.

        Raises `CatalogError` if a split has no product with a readable photo, or too few to calibrate on.
        """
        # The split's seed, not the recipe's, so that a run that starts from another one has the same calibration set.
        train, calibration = (
            without_audited(catalog, ids) for ids in hold_out(catalog, splits.train, recipe.calibration, splits.seed)
        )
        folds: Iterable[tuple[list[str], list[str]]] = ()
        if earlier:
            folds = divide_again(catalog, train, earlier, splits.seed)
        elif recipe.folds:
            folds = divide(catalog, train, recipe.folds, splits.seed)
        val = Subset(catalog, splits.val, "val", TitleReader.of(recipe))
        return cls._of(catalog, recipe, (train, calibration), folds, val, cache, workers)

    @classmethod
    def of_all(
        cls, catalog: Catalog, splits: Splits, recipe: Recipe, folds: int, cache: bool | None, workers: int
    ) -> RunData:
        """All products of train and val in `folds` folds, in place of those of the recipe.

        Products of `Catalog.audited` are answered in their fold, and not trained on.
        """
        ids = sorted((*splits.train, *splits.val))
        parts = divide(catalog, ids, folds, splits.seed)
        answered = ((without_audited(catalog, others), own) for others, own in parts)
        return cls._of(catalog, recipe, (without_audited(catalog, ids), ()), answered, None, cache, workers)

    @classmethod
    def _of(
        cls,
        catalog: Catalog,
        recipe: Recipe,
        whole: tuple[Sequence[str], Sequence[str]],
        folds: Iterable[tuple[Sequence[str], Sequence[str]]],
        val: Subset | None,
        cache: bool | None,
        workers: int,
    ) -> RunData:
        reader = TitleReader.of(recipe)

        def parts(train: Sequence[str], calibration: Sequence[str]) -> Parts:
            return Parts(
                Subset(catalog, train, "train", reader),
                Subset(catalog, calibration, "calibration", reader) if calibration else None,
            )

        photos_px = cache_px(catalog, recipe.input_px, cache) if recipe.trained_stages == "all" else None
        return cls(catalog, recipe, parts(*whole), tuple(parts(*fold) for fold in folds), val, photos_px, workers)

    @property
    def learned(self) -> Learned:
        """The photos that the run is trained or calibrated on: those of whole groups, as train has whole groups."""
        train, calibration = self.whole
        return train.learned if calibration is None else train.learned | calibration.learned

    def examples(self, network: Network, preprocess: Preprocess, parts: Parts) -> StageData:
        """The data of both stages: photos, or what is cached of them for a backbone that is wholly or partly frozen."""
        examples_of = self._maker(network, preprocess)
        calibration = None if parts.calibration is None else examples_of(parts.calibration, "none")
        train = examples_of(parts.train, self.recipe.augment)
        val = calibration if self.val is None else examples_of(self.val, "none")
        assert val is not None  # folds have calibration products
        return StageData(train, val, calibration, self.recipe, self.workers)

    def _maker(self, network: Network, preprocess: Preprocess) -> Callable[[Subset, str], Examples]:
        """A function from products and the name of an augmentation to examples; what is cached is not augmented."""
        recipe, catalog, workers = self.recipe, self.catalog, self.workers
        if recipe.trained_stages == "all":
            photos = cache_photos(catalog, self.photos_px) if self.photos_px else None
            return lambda subset, augment: subset.photo_examples(preprocess, augment, photos)
        if recipe.trained_stages == 0:
            embeddings = catalog_embeddings(catalog, network, recipe.backbone, preprocess, workers)
            return lambda subset, _: subset.embedding_examples(embeddings)
        views = catalog_views(catalog, network, recipe, preprocess, workers)
        return lambda subset, _: subset.view_examples(views)


def cache_px(catalog: Catalog, size_px: tuple[int, int], wanted: bool | None) -> int | None:
    """The resolution of the photo cache to use for inputs of `size_px`, None to decode the photos.

    `wanted=None`: the smallest existing cache that is large enough and complete. True: the smallest existing cache that
    is large enough, or else a new one, a seventh larger than the input to leave room for random crops. False: no cache.
    """
    if wanted is False:
        return None
    large_enough = [px for px in cached_px(catalog) if px >= max(size_px)]
    if wanted:
        return large_enough[0] if large_enough else round(max(size_px) * 8 / 7)
    photos = catalog.photos["sha256"].to_list()
    complete = (cache.px for cache in caches(catalog) if cache.px in large_enough and (cache.rows(photos) >= 0).all())
    return next(complete, None)


def hold_out(catalog: Catalog, ids: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Divide `ids` into products to train on and a calibration set of about `share` of them; groups stay together.

    If `share` is positive, both get at least one group. Raises `CatalogError` if there is only one group.
    """
    group, groups = shuffled_groups(catalog, ids, seed)
    if not share or not len(groups):
        return list(ids), []
    if len(groups) == 1:
        raise CatalogError(
            f"{catalog.path}: the train split is a single group of products, so there is none left for the "
            "calibration set. Split it again, check the groups in the feed, or use calibration = 0 in the recipe."
        )
    held_out = set(groups[: min(max(1, round(share * len(groups))), len(groups) - 1)].tolist())
    return [id for id in ids if group[id] not in held_out], [id for id in ids if group[id] in held_out]


def without_audited(catalog: Catalog, ids: Sequence[str]) -> list[str]:
    """Those of `ids` that may be trained on: the others measure the precision of filled values (`Catalog.audited`)."""
    kept = [id for id in ids if id not in catalog.audited]
    if ids and not kept:
        raise CatalogError(
            f"{catalog.path}: every product that could be trained on, or calibrated on, is in the random sample of "
            "attire review. Use a smaller sample (--audit) with a new store, or ingest more products."
        )
    return kept


def default_workers() -> int:
    """Half of the available cores, divided among the training processes on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def _expected_draws(category: torch.Tensor, sampling: float) -> NDArray[np.float64]:
    """float64[N]: expected draws of each product per epoch, 1 on average and for products of unknown category."""
    weight = balanced_weight(category, max(1, int(category.max()) + 1), sampling)
    return torch.where(category < 0, 1, weight[category]).double().numpy()
