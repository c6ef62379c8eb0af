"""Embeddings of a catalog's photos by what is frozen of a network, computed once for each photo and cached."""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from attire.catalog.store import Catalog
from attire.config import Recipe
from attire.errors import StorageError
from attire.labels import Targets
from attire.model.backbone import fastest_precision, weights_digest
from attire.model.colour import VERSION as COLOURS
from attire.model.last_stages import FirstStages
from attire.model.network import Network
from attire.pixels.augment import AUGMENTS
from attire.pixels.content_cache import cache_folder
from attire.pixels.dataset import Draw, IngestedFiles, PhotoDataset
from attire.pixels.embedding_cache import (
    DAMAGE,
    EMBEDDINGS,
    FLOAT16,
    FLOAT32,
    EmbeddingCache,
    cache_embeddings,
    embedding_folder,
)
from attire.pixels.normalise import Normalise
from attire.pixels.preprocess import Preprocess
from attire.progress import tracking

PLAIN, MIRRORED = "plain", "mirrored"  # views of a photo
BATCH = 32  # divides the cache's chunks, so that a resumed run has the same batches as an uninterrupted one


def catalog_embeddings(
    catalog: Catalog, network: Network, name: str, preprocess: Preprocess, workers: int
) -> EmbeddingCache:
    """The network's features of all photos of the catalog, by their SHA-256; only new photos are computed.

    `name` is the backbone's timm name. New photos are computed in the order of the products, in batches of `BATCH`.
    The last bits of an embedding may depend on the other photos of its batch, and more on the machine (bf16), so a
    cache that grew may differ by that much from one that is computed at once.
    """
    photos = _Photos(catalog, preprocess, workers)
    identity = _features_identity(network, name, preprocess)
    return photos.cached(_Features(network), identity, f"embedding with {name}", FLOAT32)


def cached_embeddings(catalog: Catalog, network: Network, name: str, preprocess: Preprocess) -> EmbeddingCache | None:
    """What `catalog_embeddings` has cached, for whichever photos; None if that is nothing, or damaged."""
    try:
        folder = embedding_folder(cache_folder(catalog), _features_identity(network, name, preprocess))
        return EmbeddingCache.open(folder)
    except DAMAGE:
        return None


def catalog_views(
    catalog: Catalog, network: Network, recipe: Recipe, preprocess: Preprocess, workers: int
) -> list[EmbeddingCache]:
    """What `FirstStages` makes of views of all photos: as they are, mirrored, and the recipe's augmented ones.

    Cached as float16; only new photos are computed. Raises `StorageError` if the disk has too little room for them.
    """
    assert recipe.trained_stages != "all"
    first = FirstStages(network, recipe.trained_stages)
    photos = _Photos(catalog, preprocess, workers, recipe.augment)
    identity = _identity(network, recipe.backbone, preprocess) | {"trained_stages": recipe.trained_stages}
    views = [PLAIN, MIRRORED, *(f"{recipe.augment} {number}" for number in range(1, recipe.views + 1))]
    identities = [identity | {"view": view} for view in views]
    with torch.inference_mode():
        width = first.eval()(torch.zeros(1, 3, *preprocess.size_px)).shape[1]
    _check_room(cache_folder(catalog), identities, 2 * width * len(set(photos.sha256)))
    return [
        photos.cached(first, of_view, f"view {number} of {len(views)}", FLOAT16, view)
        for number, (view, of_view) in enumerate(zip(views, identities, strict=True), 1)
    ]


def _check_room(parent: Path, identities: Sequence[dict[str, Any]], size: int) -> None:
    """Raise `StorageError` if there is no room for caches of `size` bytes each, before hours are spent on them."""
    parent.mkdir(parents=True, exist_ok=True)
    files = [embedding_folder(parent, identity) / EMBEDDINGS for identity in identities]
    missing = sum(max(0, size - file.stat().st_size if file.exists() else size) for file in files)
    if (free := shutil.disk_usage(parent).free) < missing:
        raise StorageError(
            f"{parent}: the cached views of the photos need {missing / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are "
            "free. Set ATTIRE_CACHE to a folder on a larger disk, use fewer views (--set views=0) or a smaller "
            "backbone, or the recipe frozen."
        )


def _features_identity(network: Network, name: str, preprocess: Preprocess) -> dict[str, Any]:
    """What decides the network's features of a photo."""
    return _identity(network, name, preprocess) | {"flip": network.flip}


def _identity(network: Network, name: str, preprocess: Preprocess) -> dict[str, Any]:
    """What decides the output of a frozen network, but for what part of it is used."""
    return {
        "backbone": name,
        "weights": weights_digest(network.backbone),
        "preprocess": preprocess.model_dump(mode="json"),
        **({} if network.colours is None else {"colours": COLOURS}),
        **({"own": True} if getattr(network.backbone, "own", False) else {}),  # not in the names of the weights
    }


class _Features(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network.features(pixels)


class _Photos:
    """The photos of a catalog."""

    def __init__(self, catalog: Catalog, preprocess: Preprocess, workers: int, augment: str = "none") -> None:
        self.catalog, self.preprocess, self.workers = catalog, preprocess, workers
        self.augment = AUGMENTS[augment](preprocess)
        self.sha256 = [photo for views in catalog.photo_digests() for photo in views]

    @cached_property
    def path_of(self) -> dict[str, Path]:
        """The file of each photo, which only new photos need."""
        return dict(zip(self.sha256, (p for views in self.catalog.photo_paths() for p in views), strict=True))

    def cached(
        self, network: nn.Module, identity: dict[str, Any], title: str, dtype: str, view: str = PLAIN
    ) -> EmbeddingCache:
        """The output of `network` for a view of all photos; only new photos are computed."""

        def embed(new: Sequence[str]) -> Iterator[NDArray[np.float32]]:
            with tracking(title, len(self.path_of), "photos", done=len(self.path_of) - len(new)) as tracker:
                for batch in self._embedded(network, new, view):
                    yield batch
                    tracker.advance(len(batch))

        return cache_embeddings(cache_folder(self.catalog), identity, self.sha256, embed, dtype)

    def _embedded(self, network: nn.Module, photos: Sequence[str], view: str) -> Iterator[NDArray[np.float32]]:
        """Batches float32[B, F] of the network's output for a view of the photos, in order."""
        files = IngestedFiles([self.path_of[photo] for photo in photos], photos, self.preprocess.size_px)
        no_targets = Targets(*(np.zeros((len(photos), 0), dtype) for dtype in (np.int64, np.bool_, np.int8)))
        examples = PhotoDataset(files, [1] * len(photos), no_targets, self.preprocess, self.augment)
        random = view not in (PLAIN, MIRRORED)
        draws = [Draw(i, _seed(photo, view) if random else None) for i, photo in enumerate(photos)]
        loader = DataLoader(examples, BATCH, sampler=draws, num_workers=self.workers)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # A copy: what goes on with the network itself expects it where it is.
        placed = copy.deepcopy(network).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        normalise = Normalise(self.preprocess).to(device)
        half = torch.autocast(device.type, torch.bfloat16, enabled=fastest_precision() == "bf16-mixed")
        for pixels, _ in loader:
            with torch.inference_mode(), half:
                batch = normalise(pixels.to(device, memory_format=torch.channels_last))
                yield placed(batch.flip(3) if view == MIRRORED else batch).float().cpu().numpy()


def _seed(photo: str, view: str) -> int:
    """The seed of a photo's augmentation, by its content, so that a cache is the same in whatever order it grew."""
    return int(hashlib.sha256(f"{photo} {view}".encode()).hexdigest()[:7], 16)
