"""What a run trains on: products with a readable photo, as seeded batches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe
from attire.errors import CatalogError
from attire.labels import Targets
from attire.model.losses import balanced_weight
from attire.model.network import Network
from attire.pixels import torchvision_ops  # noqa: F401
from attire.pixels.augment import AUGMENTS
from attire.pixels.dataset import DrawSampler, EmbeddingDataset, PhotoDataset, PhotoFiles
from attire.pixels.photo_cache import CachedPhotos, PhotoCache, cache_photos, cached_px, caches
from attire.pixels.preprocess import Preprocess
from attire.titles import TitleReader
from attire.training.embeddings import catalog_embeddings

import lightning as L  # isort: skip  (after ops)

Examples = PhotoDataset | EmbeddingDataset
Batch = tuple[torch.Tensor, Targets] | tuple[torch.Tensor, Targets, torch.Tensor]  # inputs, targets, titles if read


class Subset:
    """Products of a catalog that have a readable photo, with what a network is trained on, one row each.

    photos: the photos of each product; digests: their SHA-256; views: int64, their positions among all photos of the
    catalog, end to end; targets: `Targets` of each product; text: each product's title as `reader` encodes it, or None
    """

    def __init__(self, catalog: Catalog, ids: Sequence[str], name: str, reader: TitleReader | None = None) -> None:
        """`name` is for messages. Raises `CatalogError` if none of `ids` has a readable photo."""
        photos = catalog.photo_paths()
        rows = np.array([row for row in catalog.rows_of(ids).tolist() if photos[row]], dtype=np.int64)
        if not len(rows):
            raise CatalogError(
                f"{catalog.path}: the {name} split has no product with a readable photo. Split it again."
            )
        self.photos: list[tuple[Path, ...]] = [photos[row] for row in rows.tolist()]
        digests = catalog.photo_digests()
        self.digests = [digests[row] for row in rows.tolist()]
        stops = np.cumsum([len(views) for views in photos])
        self.views = np.concatenate([np.arange(stops[row] - len(photos[row]), stops[row]) for row in rows.tolist()])
        self.targets = Targets(*(column[rows] for column in catalog.targets()))
        self.text = reader(catalog.products["title"].gather(rows).to_list()) if reader else None

    def photo_examples(self, preprocess: Preprocess, augment: str, cache: PhotoCache | None = None) -> PhotoDataset:
        """Examples from the photos, from `cache` or decoded from their files."""
        photos = (
            PhotoFiles([path for views in self.photos for path in views], preprocess.size_px)
            if cache is None
            else CachedPhotos(cache, [digest for views in self.digests for digest in views])
        )
        counts = [len(views) for views in self.photos]
        return PhotoDataset(photos, counts, self.targets, preprocess, AUGMENTS[augment](preprocess), self.text)

    def embedding_examples(self, embeddings: NDArray[np.float32]) -> EmbeddingDataset:
        """Examples from the `embeddings` of all photos of the catalog (`catalog_embeddings`)."""
        return EmbeddingDataset(embeddings[self.views], [len(views) for views in self.photos], self.targets, self.text)


class StageData(L.LightningDataModule):
    """Train batches drawn at random, val batches in order; each process gets its share of both.

    With `sampling` in the recipe, products of rare categories are drawn more often (Mahajan et al., "Exploring the
    Limits of Weakly Supervised Pretraining", ECCV 2018; theirs is 0.5).
    """

    def __init__(
        self, train: Examples, val: Examples, calibration: Examples | None, recipe: Recipe, workers: int
    ) -> None:
        """`calibration` is not trained on; None where the recipe sets nothing aside."""
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
        workers = 0 if isinstance(examples, EmbeddingDataset) else self.workers  # a lookup is cheaper than a message
        sampler = DrawSampler(len(examples), seed, rank, world, expected)
        batch_size = max(1, self.recipe.batch_size // world)
        return DataLoader(
            examples,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Batch norm has no statistics of a single example: where one is left over, another one each epoch waits.
            drop_last=seed is not None and len(sampler) % batch_size == 1 < len(sampler),
        )


@dataclass(frozen=True, slots=True)
class RunData:
    """The products of a run: to learn from, to score each epoch, and to calibrate on.

    calibration: None if the recipe keeps nothing out; photos_px: the photo cache to use, None to decode files.
    """

    catalog: Catalog
    recipe: Recipe
    train: Subset
    val: Subset
    calibration: Subset | None
    photos_px: int | None
    workers: int

    @classmethod
    def of(cls, catalog: Catalog, splits: Splits, recipe: Recipe, cache: bool | None, workers: int) -> RunData:
        """Raises `CatalogError` if a split has no product with a readable photo, or too few to calibrate on."""
        # The split's seed decides, not the recipe's: a run that starts from another one keeps the same products out.
        train, calibration = hold_out(catalog, splits.train, recipe.calibration, splits.seed)
        reader = TitleReader.of(recipe)
        return cls(
            catalog,
            recipe,
            Subset(catalog, train, "train", reader),
            Subset(catalog, splits.val, "val", reader),
            Subset(catalog, calibration, "calibration", reader) if calibration else None,
            cache_px(catalog, recipe.size_px, cache) if recipe.train_backbone else None,
            workers,
        )

    def examples(self, network: Network, preprocess: Preprocess) -> StageData:
        """What both stages train on: photos, or the embeddings of a backbone that does not change."""
        recipe = self.recipe
        photos = cache_photos(self.catalog, self.photos_px) if self.photos_px else None
        embeddings = (
            None
            if recipe.train_backbone
            else catalog_embeddings(self.catalog, network, recipe.backbone, preprocess, self.workers)
        )

        def of(subset: Subset, augment: str) -> Examples:
            if embeddings is not None:
                return subset.embedding_examples(embeddings)
            return subset.photo_examples(preprocess, augment, photos)

        calibration = None if self.calibration is None else of(self.calibration, "none")
        return StageData(of(self.train, recipe.augment), of(self.val, "none"), calibration, recipe, self.workers)


def cache_px(catalog: Catalog, size_px: tuple[int, int], wanted: bool | None) -> int | None:
    """The px of the photo cache to train a network of `size_px` from, None to decode the photos.

    `wanted=None`: the smallest one that is large enough and holds every photo of the catalog, if there is one. True:
    the smallest one that is large enough, which is then completed; if there is none, a seventh more than the network's
    input, which leaves room for random crops. False: none.
    """
    if wanted is False:
        return None
    enough = [px for px in cached_px(catalog) if px >= max(size_px)]
    if wanted:
        return enough[0] if enough else round(max(size_px) * 8 / 7)
    photos = catalog.photos["sha256"].to_list()
    complete = (cache.px for cache in caches(catalog) if cache.px in enough and (cache.rows(photos) >= 0).all())
    return next(complete, None)


def hold_out(catalog: Catalog, ids: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Divide `ids` into products to learn from and about `share` of them to calibrate on; a group stays together.

    With a `share`, both sides get at least one group. Raises `CatalogError` if there is only one group.
    """
    group = dict(zip(catalog.ids, catalog.products["group"].to_list(), strict=True))
    groups = np.random.default_rng(seed).permutation(sorted({group[id] for id in ids}))
    if not share or not len(groups):
        return list(ids), []
    if len(groups) == 1:
        raise CatalogError(
            f"{catalog.path}: the train split is a single group of products, so none can be kept out to calibrate on. "
            "Split it again, check the groups in the feed, or use calibration = 0 in the recipe."
        )
    out = set(groups[: min(max(1, round(share * len(groups))), len(groups) - 1)].tolist())
    return [id for id in ids if group[id] not in out], [id for id in ids if group[id] in out]


def default_workers() -> int:
    """Half of the cores that this process may use, and its share of them where several train on one machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def _expected_draws(category: torch.Tensor, sampling: float) -> NDArray[np.float64]:
    """float64[N]: how often each product is drawn in an epoch, 1 on average; nobody knows if an unknown one is rare."""
    weight = balanced_weight(category, max(1, int(category.max()) + 1), sampling)
    return torch.where(category < 0, 1, weight[category]).double().numpy()
